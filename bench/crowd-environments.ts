/** Execution environments of the crowd: each is a process with the packaged function. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Order, Outcome } from './crowd-child.ts';

const root = join(import.meta.dirname, '..');
const script = join(root, '.build/bench/crowd-child.cjs');

export type Environment = ChildProcess & { ask(order: Order): Promise<Outcome | undefined> };

/**
 * @param file the packaged function
 * @param variables the variables of each, in addition to PATH
 */
export async function startAll(count: number, file: string, variables: Record<string, string>): Promise<Environment[]> {
  await build({
    absWorkingDir: root,
    entryPoints: ['bench/crowd-child.ts'],
    outfile: script,
    bundle: true,
    packages: 'external',
    platform: 'node',
  });
  const all: Environment[] = [];
  for (let made = 0; made < count; made += 1) {
    const child = fork(script, [file], { env: { PATH: process.env['PATH'], ...variables } });
    await once(child, 'message');
    child.setMaxListeners(0);
    const gone = once(child, 'exit').then(() => undefined);
    const ask = (order: Order) => {
      const answered = new Promise<Outcome>((resolve) => {
        const take = (outcome: Outcome) => {
          if (outcome.at !== order.at) return;
          child.off('message', take);
          resolve(outcome);
        };
        child.on('message', take);
      });
      child.send(order);
      return Promise.race([answered, gone]);
    };
    all.push(Object.assign(child, { ask }));
  }
  return all;
}

export const endAll = async (environments: Environment[]) => {
  for (const child of environments) child.kill('SIGKILL');
  await Promise.all(
    environments.map((child) => child.exitCode === null && child.signalCode === null && once(child, 'exit')),
  );
};
