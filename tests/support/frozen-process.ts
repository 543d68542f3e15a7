/** An execution environment of its own process, which can be frozen and thawed as Lambda does between invocations. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The state letter of a Linux process: T is stopped. */
const stateOf = (pid: number) => /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];

/** Starts the function in a child, with the environment as it is now. */
export async function startFrozenProcess() {
  const child = fork(fileURLToPath(new URL('./frozen-process-child.ts', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  await once(child, 'message');
  const { pid = 0 } = child;

  return {
    /** Asks `burst` times at once, and returns the outcomes. */
    async ask(burst: number): Promise<unknown[]> {
      child.send(burst);
      const [outcomes] = await once(child, 'message');
      return outcomes;
    },
    async freeze() {
      child.kill('SIGSTOP');
      while (stateOf(pid) !== 'T') await new Promise(setImmediate);
    },
    thaw: () => child.kill('SIGCONT'),
    async end() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
