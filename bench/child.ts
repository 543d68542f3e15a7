/** The process that a contender runs in: loads its module as Lambda would, then does what it is told and sends figures. */

import { createRequire } from 'node:module';
import { type LambdaHandler, lambdaContext } from '../embedded/lambda-invoke.ts';

export type Task = { name: 'load' | 'inTurn' | 'atOnce' | 'throughput' | 'log' | 'memory'; calls: number };

/** Calls that are under way at any time while the throughput is measured. */
const ABREAST = 64;

const file = process.argv[2] ?? '';
const event = { groupId: process.env['BENCH_GROUP_ID'], liveMigrationId: process.env['BENCH_LIVE_MIGRATION_ID'] };

const before = performance.now();
const { handler } = createRequire(file)(file) as { handler: LambdaHandler };
const loadMs = performance.now() - before;

/** Milliseconds for one answer, which must be the right one: failures are fast. */
async function call(): Promise<number> {
  const context = lambdaContext();
  const start = performance.now();
  const answer = (await handler(event, context)) as { status?: unknown };
  const ms = performance.now() - start;
  if (answer.status !== 'WORKING') throw new Error(`${file} answered ${JSON.stringify(answer)}`);
  return ms;
}

const tasks: Record<Task['name'], (calls: number) => Promise<number[]>> = {
  load: async () => [loadMs],
  inTurn: async (calls) => {
    const times: number[] = [];
    for (let made = 0; made < calls; made += 1) times.push(await call());
    return times;
  },
  atOnce: (calls) => Promise.all(Array.from({ length: calls }, call)),
  /** Answers a second, with as many calls under way at any time. */
  throughput: async (calls) => {
    let left = calls;
    const start = performance.now();
    const keepAsking = async () => {
      while (left > 0) {
        left -= 1;
        await call();
      }
    };
    await Promise.all(Array.from({ length: ABREAST }, keepAsking));
    return [calls / ((performance.now() - start) / 1000)];
  },
  /** Bytes and events of the log for each call. */
  log: async (calls) => {
    const { write } = process.stdout;
    const written: string[] = [];
    process.stdout.write = (chunk: string | Uint8Array) => written.push(String(chunk)) > 0;
    for (let made = 0; made < calls; made += 1) await call();
    process.stdout.write = write;
    return [Buffer.byteLength(written.join('')) / calls, written.length / calls];
  },
  /** Bytes of live heap and of the process. */
  memory: async () => {
    for (let time = 0; time < 3; time += 1) {
      await new Promise(setImmediate);
      globalThis.gc?.();
    }
    const { heapUsed, rss } = process.memoryUsage();
    return [heapUsed, rss];
  },
};

process.on('message', async ({ name, calls }: Task) => process.send?.(await tasks[name](calls)));
