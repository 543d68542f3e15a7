/** Keys that a running program obeys, where its input is the terminal and it is in the foreground. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ReadStream } from 'node:tty';

/** To read from the terminal would stop a program in the background (`npm start &`). */
export function isInForeground(): boolean {
  try {
    if (process.platform === 'win32') return true;
    const [group, ofTerminal] =
      process.platform === 'linux'
        ? // After the name, which may hold anything: state, parent, group, session, terminal, its group.
          (readFileSync('/proc/self/stat', 'utf8')
            .split(') ')
            .at(-1)
            ?.split(' ')
            .filter((_, at) => at === 2 || at === 5) ?? [])
        : execFileSync('ps', ['-o', 'pgid=,tpgid=', '-p', String(process.pid)], { encoding: 'utf8' })
            .trim()
            .split(/\s+/);
    return group === ofTerminal;
  } catch {
    return false;
  }
}

/**
 * @param keys what each key does; Ctrl-C does what `q` does, and Ctrl-Z stops the program as always
 * @returns whether keys are obeyed
 */
export function obeyKeys(keys: Record<string, () => void>, input: ReadStream = process.stdin): boolean {
  if (!input.isTTY || !isInForeground()) return false;
  const begin = () => {
    input.setRawMode(true);
    input.resume();
  };
  const obey = (key: string) => {
    if (key === '\u0003') return keys['q']?.();
    if (key !== '\u001a') return Object.hasOwn(keys, key) ? keys[key]?.() : undefined;
    input.setRawMode(false);
    input.pause();
    // The whole group, npm among it.
    return void process.kill(0, 'SIGTSTP');
  };
  input.on('data', (typed: Buffer) => {
    for (const key of typed.toString().toLowerCase()) obey(key);
  });
  // After Ctrl-Z: in the foreground again, or in the background.
  process.on('SIGCONT', () => isInForeground() && begin());
  begin();
  // It keeps no process alive that would end.
  input.unref();
  return true;
}
