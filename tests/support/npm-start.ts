/** `npm start` in a process of its own, on ports that are free. It ends with the tests of the file at the latest. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';

export const root = join(import.meta.dirname, '../..');
const running: ChildProcess[] = [];

afterAll(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

/** @returns what it has printed when it was ready or had ended, and the addresses in it */
export async function start(args: string[] = [], environment: Record<string, string> = {}) {
  const { PATH = '', NODE_COMPILE_CACHE = '' } = process.env;
  // As package.json starts it. Of an option that is given twice, the last one counts.
  const program = ['--import', './scripts/installed.js', 'scripts/start.ts', '--port', '0', '--lambda-port', '0'];
  const child = spawn(process.execPath, [...program, ...args], {
    cwd: root,
    env: { PATH, NODE_COMPILE_CACHE, ...environment },
  });
  return { child, ...(await untilReady(child)) };
}

export async function untilReady(child: ChildProcess) {
  running.push(child);
  let output = '';
  await new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        output += chunk;
        if (/ follows?\.\r?\n$/.test(output)) resolve();
      });
    }
    child.on('close', () => resolve());
  });
  const addressOf = (name: string) => new RegExp(`${name} +(http://\\S+)\n`).exec(output)?.[1] ?? '';
  return { output, http: addressOf('HTTP API'), invoke: addressOf('Lambda invoke endpoint') };
}

/** @returns the commands that it offers, under the last comment before them */
export async function commandsOf({ http, invoke }: { http: string; invoke: string }) {
  const [port, lambdaPort] = [http, invoke].map((origin) => new URL(origin).port);
  const args = ['scripts/start.ts', '--commands', '--port', String(port), '--lambda-port', String(lambdaPort)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  return [...stdout.matchAll(/# (.*)\n((?: {2}curl .*\n)+)/g)].flatMap(([, comment = '', commands = '']) =>
    commands
      .trim()
      .split('\n')
      .map((command) => ({ comment, command: command.trim() })),
  );
}

export const portsAreKnown = existsSync('/proc/self/net/tcp');

/** The ports at which a process listens, as Linux knows them. */
export function portsOf(pid = 0): number[] {
  const linkOf = (descriptor: string) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${descriptor}`);
    } catch {
      // Closed meanwhile.
      return '';
    }
  };
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(linkOf));
  return ['tcp', 'tcp6'].flatMap((family) =>
    readFileSync(`/proc/${pid}/net/${family}`, 'utf8')
      .split('\n')
      .map((row) => row.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => state === '0A' && open.has(`socket:[${inode}]`))
      .map(([, address = '']) => Number.parseInt(address.split(':')[1] ?? '', 16)),
  );
}
