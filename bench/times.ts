/** The measurements that take time and tell time: each takes contenders in turn and returns figures. */

import { startRuntime } from '../embedded/lambda-runtime.ts';
import { type Contender, startContender } from './contender.ts';
import { type Figure, figure, inTurns } from './figures.ts';
import type { Upstream } from './upstream.ts';

/** Calls that let the compiler do its work before anything is measured. */
const WARM_UP = 1000;

const figures = (measured: Record<string, number[]>): Figure[] =>
  Object.entries(measured).map(([name, values]) => figure(name, values));

const flat = (measured: Record<string, number[][]>) =>
  Object.fromEntries(Object.entries(measured).map(([name, values]) => [name, values.flat()]));

/** Warm invocations, in processes that live through many rounds; several each, as compilers decide by chance. */
export async function timeWarm(contenders: Contender[], upstream: Upstream, lives = 6, rounds = 10, calls = 100) {
  const all: Record<string, number[]>[] = [];
  for (let life = 0; life < lives; life += 1) {
    const running = contenders.map((contender) => ({ name: contender.name, ...startContender(contender) }));
    for (const { inTurn } of running) await inTurn(WARM_UP);
    const measured = await inTurns(rounds, running, async ({ inTurn }) => {
      upstream.forget();
      // What the others did meanwhile has cooled the machine's caches down.
      await inTurn(10);
      return inTurn(calls);
    });
    all.push(flat(measured));
    for (const { end } of running) await end();
  }
  return contenders.map(({ name }) =>
    figure(
      name,
      all.flatMap((measured) => measured[name] ?? []),
    ),
  );
}

/** Answers a second with 64 calls at a time, and the heap after the first and after the last round of the first contender. */
export async function measureThroughput(contenders: Contender[], upstream: Upstream, rounds = 12, calls = 2000) {
  const running = contenders.map((contender) => ({ name: contender.name, ...startContender(contender) }));
  for (const { throughput } of running) await throughput(5 * calls);
  const [first] = running;
  const heapUsed = [(await first?.memory())?.heapUsed ?? Number.NaN];
  const measured = await inTurns(rounds, running, ({ throughput }) => {
    upstream.forget();
    return throughput(calls);
  });
  heapUsed.push((await first?.memory())?.heapUsed ?? Number.NaN);
  for (const { end } of running) await end();
  return { perSecond: figures(measured), heapUsed };
}

/** The first answer of a process that has loaded everything, and those that follow. */
export async function timeFirstAndNext(contenders: Contender[], rounds = 20, calls = 6) {
  const measured = await inTurns(rounds, contenders, async (contender) => {
    const process = startContender(contender);
    await process.loadMs();
    const first = await process.inTurn(1);
    const next = await process.inTurn(calls);
    await process.end();
    return { first, next };
  });
  return Object.entries(measured).flatMap(([name, values]) => [
    figure(
      `${name}, first`,
      values.flatMap(({ first }) => first),
    ),
    figure(
      `${name}, warm`,
      values.flatMap(({ next }) => next),
    ),
  ]);
}

/** From the start of a process to its module being loaded, or to its first answer. */
export async function timeColdStart(contenders: Contender[], answering: Contender[], rounds = 40) {
  const measured = await inTurns(rounds, contenders, async (contender) => {
    const start = performance.now();
    const process = startContender(contender);
    const load = await process.loadMs();
    if (answering.includes(contender)) await process.inTurn(1);
    const whole = performance.now() - start;
    await process.end();
    return { load, whole };
  });
  const of = (select: 'load' | 'whole', among: Contender[]) =>
    among.map(({ name }) =>
      figure(
        name,
        (measured[name] ?? []).map((value) => value[select]),
      ),
    );
  return { load: of('load', contenders), firstAnswer: of('whole', answering) };
}

/** From the start of AWS's runtime client to its request for the first event. */
export async function timeUnderRuntime(
  functions: { name: string; taskRoot: string; handler: string; environment: Record<string, string> }[],
  rounds = 20,
) {
  return figures(
    await inTurns(rounds, functions, async ({ taskRoot, handler, environment }) => {
      const start = performance.now();
      const runtime = await startRuntime(taskRoot, handler, environment);
      await runtime.ready();
      const ms = performance.now() - start;
      await runtime.end();
      return ms;
    }),
  );
}

/** Bytes after some warm invocations and after ten times as many, garbage collected. */
export async function measureMemory(contender: Contender, upstream: Upstream, calls = 1000) {
  const process = startContender(contender);
  const after: { calls: number; heapUsed: number; rss: number }[] = [];
  for (let made = calls; made <= 10 * calls; made += calls) {
    await process.inTurn(calls);
    upstream.forget();
    if (made === calls || made === 10 * calls) after.push({ calls: made, ...(await process.memory()) });
  }
  await process.end();
  return after;
}
