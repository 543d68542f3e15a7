/** Starts contenders: each in a process of the same kind, with its own variables and nothing else of this environment. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Task } from './child.ts';

export type Contender = { name: string; module: string; environment: Record<string, string> };

/** Made by `builds.ts`: plain JavaScript, so that no process spends time and memory on stripping types. */
const script = fileURLToPath(new URL('../.build/bench/child.cjs', import.meta.url));

export function startContender({ name, module, environment }: Contender) {
  const child = fork(script, [module], {
    env: { PATH: process.env['PATH'], ...environment },
    execArgv: ['--expose-gc'],
    // What it logs goes to /dev/null.
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');

  const ask = async (task: Task): Promise<number[]> => {
    child.send(task);
    const gone = exited.then(() => {
      throw new Error(`The process of "${name}" ended.`);
    });
    const [figures] = await Promise.race([once(child, 'message'), gone]);
    return figures;
  };

  return {
    /** Milliseconds that loading the module took. */
    loadMs: async () => (await ask({ name: 'load', calls: 0 }))[0] ?? Number.NaN,
    /** Milliseconds of each call, made one after the other. */
    inTurn: (calls: number) => ask({ name: 'inTurn', calls }),
    /** Milliseconds of each call, made all at once. */
    atOnce: (calls: number) => ask({ name: 'atOnce', calls }),
    /** Answers a second, 64 calls at a time. */
    throughput: async (calls: number) => (await ask({ name: 'throughput', calls }))[0] ?? Number.NaN,
    /** Bytes and events of the log for each of so many calls. */
    async log(calls: number) {
      const [bytes = Number.NaN, events = Number.NaN] = await ask({ name: 'log', calls });
      return { bytes, events };
    },
    /** Bytes after a full garbage collection. */
    async memory() {
      const [heapUsed = Number.NaN, rss = Number.NaN] = await ask({ name: 'memory', calls: 0 });
      return { heapUsed, rss };
    },
    async end() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
