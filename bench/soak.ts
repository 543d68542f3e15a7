/**
 * `npm run soak`: 10,000 invocations of the packaged function in one process, 64 at a time, while one upstream request in
 * ten hangs, nonces expire, the key is rotated and some invocations have hardly any time. The exit code is 1 where an
 * answer is lost or mixed up, invocations share state, or memory, sockets or timers grow.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { demoGroupId as groupId } from '../embedded/demo-migrations.ts';
import { functionTimeoutMs } from '../embedded/lambda-invoke.ts';
import { packageService, unpack } from '../scripts/package-service.ts';
import { table } from './figures.ts';
import type { Figures, Order, Outcome } from './soak-child.ts';
import { isReached, sentence, type Target, targetsTable } from './targets.ts';
import { startUpstream } from './upstream.ts';

const { values: options } = parseArgs({ options: { calls: { type: 'string', default: '10000' } } });
const calls = Number(options.calls);
if (!Number.isInteger(calls) || calls < 100) {
  console.error('--calls must be a whole number from 100.');
  process.exit(2);
}
const atOnce = 64;
const attemptMs = 500;
/** One invocation in so many has only this long, of which the function keeps 500 ms for its answer. */
const hurried = { every: 20, timeoutMs: 600 };
const hangEvery = 10;
const rotateEvery = 1000;
const nonceRules = { lifeMs: 1000, maxUses: 1000, inOrder: false };

const upstream = await startUpstream();
const { atlas, secretsManager } = upstream;

/** The document of each live migration has a lag of its own, so that an answer that was mixed up is noticed. */
const idOf = (call: number) => call.toString(16).padStart(24, '0');
const lagOf = (id: string) => Number.parseInt(id, 16);
atlas.projects = {
  [groupId]: (id) => () => ({ _id: id, status: 'WORKING', lagTimeSeconds: lagOf(id), migrationHosts: [] }),
};
atlas.nonceRules = nonceRules;

let rotations = 0;
function rotate() {
  rotations += 1;
  const [publicKey, privateKey] = [`key${rotations}`, `PRIVATE-KEY-${rotations}`];
  atlas.keys = { [publicKey]: privateKey };
  secretsManager.secrets['atlas/bench'] = JSON.stringify({ publicKey, privateKey });
}

const hung = { atlas: 0, secretsManager: 0 };
const peak = { sockets: 0 };
const open = new Set<object>();
/** Takes over, and never answers, every tenth request that an upstream gets. */
const hangs = (upstreamName: keyof typeof hung) => {
  let requests = 0;
  return ({ socket }: IncomingMessage) => {
    if (!open.has(socket)) {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      peak.sockets = Math.max(peak.sockets, open.size);
    }
    requests += 1;
    const hang = requests % hangEvery === 0;
    if (hang) hung[upstreamName] += 1;
    return hang;
  };
};
atlas.intercept = hangs('atlas');
secretsManager.intercept = hangs('secretsManager');

const { zip } = await packageService();
const { taskRoot, remove } = unpack(zip);
const child = fork(
  fileURLToPath(new URL('./soak-child.ts', import.meta.url)),
  [`${taskRoot}/functions/get-live-migration.js`],
  {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: {
      ...upstream.environment,
      ATLAS_TIMEOUT_MS: String(attemptMs),
      AWS_LAMBDA_MAX_CONCURRENCY: String(atOnce),
    },
  },
);
let isOver = false;
const exited = once(child, 'exit').then(() => {
  remove();
  if (isOver) return;
  console.error(['The process of the function has ended.', ...noise.slice(0, 5)].join('\n'));
  process.exit(1);
});

/** What the function wrote: its lines, which are JSON, and nothing else. */
const lines: Record<string, unknown>[] = [];
const noise: string[] = [];
for (const stream of [child.stdout, child.stderr]) {
  createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
    if (line.startsWith('{')) lines.push(JSON.parse(line));
    else noise.push(line);
  });
}

const waiting = new Map<string, (outcome: Outcome) => void>();
/** Answers without a question, or that came twice. */
let stray = 0;
let takeFigures: (figures: Figures) => void = () => undefined;
await once(child, 'message');
child.on('message', (message: Outcome | Figures) => {
  if (!('requestId' in message)) return takeFigures(message);
  const settle = waiting.get(message.requestId);
  if (!settle) stray += 1;
  waiting.delete(message.requestId);
  return settle?.(message);
});
const send = (order: Order) => child.send(order);
const figures = () =>
  new Promise<Figures>((resolve) => {
    takeFigures = resolve;
    send('figures');
  });

const read = (name: string) => JSON.parse(readFileSync(new URL(`../events/${name}.json`, import.meta.url), 'utf8'));
const [httpApi, restApi] = [read('http-api'), read('rest-api')];
const eventFor = (call: number, ids: { groupId: string; liveMigrationId: string }) =>
  [ids, { ...httpApi, pathParameters: ids }, { ...restApi, pathParameters: ids }][call % 3];

type Answer = { id: string; outcome: string };
const answers = new Map<string, Answer>();
let mixedUp = 0;

async function ask(call: number) {
  const id = idOf(call);
  const requestId = crypto.randomUUID();
  const answered = new Promise<Outcome>((resolve) => waiting.set(requestId, resolve));
  send({
    requestId,
    event: eventFor(call, { groupId, liveMigrationId: id }),
    timeoutMs: call % hurried.every === 0 ? hurried.timeoutMs : functionTimeoutMs,
  });
  const outcome = await answered;
  if ('errorType' in outcome) {
    answers.set(requestId, { id, outcome: outcome.errorType });
    return;
  }
  const { body } = outcome.value as { body?: string };
  const said = body === undefined ? outcome.value : JSON.parse(body);
  if ('code' in said) {
    if (said.requestId !== requestId) mixedUp += 1;
    answers.set(requestId, { id, outcome: said.code });
    return;
  }
  if (said.id !== id || said.lagTimeSeconds !== lagOf(id)) mixedUp += 1;
  answers.set(requestId, { id, outcome: 'Answered' });
}

const memory: [string, Figures][] = [];
let made = 0;
/** Keeps 64 invocations under way until `last` of them were made. */
const askUntil = async (last: number) => {
  const worker = async () => {
    while (made < last) {
      made += 1;
      if (made % rotateEvery === 0) rotate();
      await ask(made);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  memory.push([`after ${made} invocations`, await figures()]);
};

const startedAt = performance.now();
rotate();
await askUntil(Math.floor(calls / 5));
await askUntil(calls);
const seconds = (performance.now() - startedAt) / 1000;
isOver = true;
child.kill('SIGTERM');
await exited;
await upstream.close();

const ownLine = new Set(
  lines
    .filter(({ function_request_id: requestId, xray_trace_id: traceId, liveMigrationId, outcome }) => {
      const answer = answers.get(String(requestId));
      return answer?.id === liveMigrationId && answer?.outcome === outcome && traceId === requestId;
    })
    .map(({ function_request_id: requestId }) => requestId),
);
const outcomes = new Map<string, number>();
for (const { outcome } of answers.values()) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
const counted = new Map<string, number>();
for (const { Requests, outcome } of lines) {
  if (Requests === 1) counted.set(String(outcome), (counted.get(String(outcome)) ?? 0) + 1);
}
const miscounted = [...new Set([...outcomes.keys(), ...counted.keys()])].filter(
  (outcome) => outcomes.get(outcome) !== counted.get(outcome),
);
/** What callers may get here: an attempt hangs twice, or a hurried one once. */
const expected = ['Answered', 'AtlasTimedOut', 'SecretUnavailable'];
const unexpected = [...outcomes].filter(([outcome]) => !expected.includes(outcome)).reduce((sum, [, n]) => sum + n, 0);

const targets: Target[] = [
  { what: 'invocations with one outcome', wanted: calls, found: answers.size, exactly: true },
  { what: 'outcomes without a question', wanted: 0, found: stray },
  { what: "answers with another call's id, figure or request id", wanted: 0, found: mixedUp },
  { what: `outcomes other than ${expected.join(', ')}`, wanted: 0, found: unexpected },
  { what: 'lines', wanted: calls, found: lines.length, exactly: true },
  { what: 'invocations with a line that fits', wanted: calls, found: ownLine.size, exactly: true },
  { what: 'outcomes that the metrics count otherwise', wanted: 0, found: miscounted.length },
  { what: 'lines that are no JSON', wanted: 0, found: noise.length },
  { what: 'lines of a cold start', wanted: 1, found: lines.filter((line) => line['cold_start']).length },
  { what: 'sockets at the same time', wanted: 2 * atOnce, found: peak.sockets },
  { what: 'sockets at the end', wanted: atOnce, found: memory.at(-1)?.[1].sockets ?? Number.NaN },
  { what: 'timers at the end', wanted: 0, found: memory.at(-1)?.[1].timers ?? Number.NaN },
  {
    what: 'growth of the heap after the first fifth',
    wanted: 1000,
    found: Math.round(((memory[1]?.[1].heapUsed ?? Number.NaN) - (memory[0]?.[1].heapUsed ?? Number.NaN)) / 1000),
    unit: ' kB',
  },
];

const show = (text: string) => console.log(`${text}\n`);
show(`${calls} invocations, ${atOnce} at a time, in ${seconds.toFixed(1)} s`);
show(
  table(
    'Answers',
    ['times'],
    [...outcomes].map(([outcome, times]) => [outcome, times]),
  ),
);
show(
  table(
    'Upstream',
    ['Atlas', 'Secrets Manager'],
    [
      ['requests', atlas.counters.requests, secretsManager.counters.reads],
      ['… that were left hanging', hung.atlas, hung.secretsManager],
      ['challenges answered', atlas.counters.challenges, ''],
      ['connections', atlas.counters.connections, ''],
      ['rotations of the key', rotations - 1, ''],
    ],
  ),
);
show(
  table(
    'The process',
    ['heap, kB', 'rss, kB', 'sockets', 'timers'],
    memory.map(([when, { heapUsed, rss, sockets, timers }]) => [
      when,
      Math.round(heapUsed / 1000),
      Math.round(rss / 1000),
      sockets,
      timers,
    ]),
  ),
);
show(targetsTable(targets));

const missed = targets.filter((target) => !isReached(target));
for (const text of [...noise.slice(0, 5), ...missed.map(sentence)]) console.error(text);
if (missed.length > 0) process.exitCode = 1;
