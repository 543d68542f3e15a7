/**
 * `npm run crowd`: many callers of the packaged function, each execution environment a process of its own, with shared
 * answers and without. The first part lets 1,000 callers ask about one live migration while the table, Atlas or an
 * environment fails; the exit code is 1 where a caller gets no answer, or Atlas more questions than it may. The second one
 * lets 10 to 10,000 callers ask once a minute about twenty, while Atlas limits the rate. The third one starts cold environments
 * with a service account.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { atlasError } from '../embedded/atlas.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { packageService, unpack } from '../scripts/package-service.ts';
import type { Order, Outcome } from './crowd-child.ts';
import { type Environment, endAll, startAll } from './crowd-environments.ts';
import { percentile, table } from './figures.ts';
import { startUpstream } from './upstream.ts';

const { values: options } = parseArgs({
  options: {
    part: { type: 'string' },
    short: { type: 'boolean' },
  },
});
if (options.part !== undefined && !['crowd', 'load', 'tokens'].includes(options.part)) {
  console.error('--part must be crowd, load or tokens.');
  process.exit(2);
}
const FRESHNESS = 5;
const upstream = await startUpstream();
const dynamoDB = await startEmbeddedDynamoDB();
const { atlas } = upstream;
const unpacked = unpack((await packageService()).zip);

const hex = (number: number) => number.toString(16).padStart(24, '0');
const entityOf = (_id: string) => ({ _id, status: 'WORKING', readyForCutover: false, lagTimeSeconds: 42 });

const startEnvironments = (count: number, freshness: number, tableName = dynamoDB.table) =>
  startAll(count, join(unpacked.taskRoot, 'functions/get-live-migration.js'), {
    ...upstream.environment,
    AWS_ENDPOINT_URL_DYNAMODB: dynamoDB.origin,
    ANSWER_FRESHNESS_SECONDS: String(freshness),
    ANSWER_TABLE: tableName,
  });

/** Answers after so long, as Atlas does. */
const takes = (ms: number) => {
  atlas.intercept = (request, response) => {
    setTimeout(() => atlas.answer(request, response), ms);
    return true;
  };
};

function figuresOf(outcomes: (Outcome | undefined)[]) {
  const all = outcomes.filter((outcome) => outcome !== undefined);
  const times = all.map(({ ms }) => ms);
  return {
    answers: all.length,
    failed: all.filter(({ failure }) => failure).length,
    failures: [...new Set(all.flatMap(({ failure }) => failure ?? []))].join(' '),
    oldest: Math.max(0, ...all.map(({ ageSeconds = 0 }) => ageSeconds)),
    times: [0.5, 0.99, 1].map((share) => Math.round(percentile(times, share))).join(' / '),
  };
}

/** Questions to Atlas, and requests to the table. */
const traffic = () => ({ requests: atlas.counters.authenticated, ofTable: dynamoDB.counters.requests });
const trafficSince = ({ requests, ofTable }: ReturnType<typeof traffic>) => ({
  requests: atlas.counters.authenticated - requests,
  ofTable: dynamoDB.counters.requests - ofTable,
});

let orders = 0;
const order = (groupId: string, liveMigrationId: string): Order => {
  orders += 1;
  return { at: orders, groupId, liveMigrationId };
};

/** Of the first part; `--short` is for CI. */
const { count, callersOfEach, rounds } = options.short
  ? { count: 8, callersOfEach: 5, rounds: 2 }
  : { count: 50, callersOfEach: 20, rounds: 5 };
const ROUND = 3000;
/** Questions about one live migration in all rounds, at the most, of those who share their answers. */
const mostQuestions = Math.ceil((rounds * ROUND) / 1000 / FRESHNESS) + 1;

/** Callers of one live migration, of which each asks once in each round. */
async function crowd(arrange: (environments: Environment[]) => unknown, tableName?: string) {
  takes(120);
  const [groupId, liveMigrationId] = [hex(1), hex(2)];
  atlas.projects = { [groupId]: (id) => () => entityOf(id) };
  atlas.reply = undefined;
  const environments = await startEnvironments(count, FRESHNESS, tableName);
  // Each of them has a key and a connection.
  await Promise.all(environments.map((one, at) => one.ask(order(groupId, hex(1000 + at)))));
  await arrange(environments);
  const before = traffic();
  const start = performance.now();
  const callers = environments.flatMap((environment) => Array.from({ length: callersOfEach }, () => environment));
  const outcomes = await Promise.all(
    callers.map(async (environment) => {
      const mine: (Outcome | undefined)[] = [];
      await sleep(Math.random() * ROUND);
      for (let round = 1; round <= rounds; round += 1) {
        mine.push(await environment.ask(order(groupId, liveMigrationId)));
        await sleep(Math.max(0, start + round * ROUND - performance.now()));
      }
      return mine;
    }),
  );
  await endAll(environments);
  dynamoDB.intercept = undefined;
  upstream.forget();
  return { ...figuresOf(outcomes.flat()), ...trafficSince(before) };
}

/** Ends the first environment while it asks Atlas, and so holds the lease. */
async function killHolder(environments: Environment[]) {
  const isAsked = new Promise<void>((resolve) => {
    atlas.intercept = ({ headers }) => {
      if (headers.authorization) resolve();
      return true;
    };
  });
  const [holder] = environments.splice(0, 1);
  void holder?.ask(order(hex(1), hex(2)));
  await isAsked;
  holder?.kill('SIGKILL');
  takes(120);
}

const throttle = () => {
  dynamoDB.intercept = (_request, response) => {
    response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' });
    response.end('{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}');
    return true;
  };
};
const hang = () => {
  dynamoDB.intercept = () => true;
};
/** What happens, and the most questions to Atlas. */
const scenes: [string, () => ReturnType<typeof crowd>, number][] = [
  ['the table works, Atlas takes 120 ms', () => crowd(() => undefined), mostQuestions],
  ['Atlas takes 3.5 s', () => crowd(() => takes(3500)), mostQuestions],
  ['the environment that asks is killed', () => crowd(killHolder), mostQuestions],
  ['the table is throttled', () => crowd(throttle), count * mostQuestions],
  ['the table hangs', () => crowd(hang), count * mostQuestions],
  ['there is no table', () => crowd(() => undefined, 'missing'), count * mostQuestions],
];

/** Atlas's token bucket of each project: 1,200 requests at most, and 500 more a minute. It begins nearly empty. */
function limitRates() {
  const buckets = new Map<string, { level: number; at: number }>();
  atlas.reply = ({ url = '' }) => {
    const project = url.split('/')[5] ?? '';
    const now = Date.now();
    const { level, at } = buckets.get(project) ?? { level: 20, at: now };
    const filled = Math.min(1200, level + ((now - at) * 500) / 60_000);
    buckets.set(project, { level: filled >= 1 ? filled - 1 : filled, at: now });
    return filled >= 1 ? undefined : { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '1' } };
  };
}

/** Callers that ask once a minute, spread evenly, about 20 live migrations in 4 projects; for a minute. */
async function load(callers: number, freshness: number) {
  takes(120);
  limitRates();
  atlas.projects = Object.fromEntries(
    [1, 2, 3, 4].map((project) => [hex(project), (id: string) => () => entityOf(id)]),
  );
  const environments = await startEnvironments(Math.min(40, callers), freshness);
  const before = traffic();
  // Of those that are idle, Lambda takes the one that was used last. Where none is, it starts another one; here, the one that
  // does least does more at a time.
  const recent = [...environments];
  const busy = new Map(environments.map((environment) => [environment, 0]));
  const workOf = (environment: Environment) => busy.get(environment) ?? 0;
  const outcomes: Promise<Outcome | undefined>[] = [];
  const start = performance.now();
  for (let caller = 0; caller < callers; caller += 1) {
    await sleep(Math.max(0, start + (caller * 60_000) / callers - performance.now()));
    const migration = caller % 20;
    const asked = order(hex(1 + (migration % 4)), hex(100 + migration));
    const chosen = recent.reduce((best, one) => (workOf(one) < workOf(best) ? one : best));
    busy.set(chosen, workOf(chosen) + 1);
    outcomes.push(
      chosen.ask(asked).finally(() => {
        busy.set(chosen, workOf(chosen) - 1);
        recent.splice(recent.indexOf(chosen), 1);
        recent.unshift(chosen);
      }),
    );
  }
  const figures = figuresOf(await Promise.all(outcomes));
  await endAll(environments);
  upstream.forget();
  return { ...figures, ...trafficSince(before) };
}

/** Cold environments with a service account, each of which asks about another live migration, all at once. */
async function tokens(environmentCount: number, freshness: number) {
  takes(120);
  atlas.reply = undefined;
  atlas.serviceAccounts = { mdb_sa_id_crowd: 'mdb_sa_sk_CROWD' };
  upstream.secretsManager.secrets[upstream.environment.ATLAS_SECRET_ID] = JSON.stringify({
    clientId: 'mdb_sa_id_crowd',
    clientSecret: 'mdb_sa_sk_CROWD',
  });
  atlas.projects = { [hex(1)]: (id) => () => entityOf(id) };
  const environments = await startEnvironments(environmentCount, freshness);
  const before = traffic();
  const tokensBefore = atlas.counters.tokens;
  const outcomes = await Promise.all(environments.map((one, at) => one.ask(order(hex(1), hex(10_000 + at)))));
  await endAll(environments);
  return { ...figuresOf(outcomes), ...trafficSince(before), tokens: atlas.counters.tokens - tokensBefore };
}

const columns = [
  'answers',
  'failed',
  'questions to Atlas',
  'requests to the table',
  'oldest, s',
  'p50 / p99 / max, ms',
  'failures',
];
const row = (
  name: string,
  { answers, failed, requests, ofTable, oldest, times, failures }: Awaited<ReturnType<typeof crowd>>,
) => [name, ...[answers, failed, requests, ofTable, oldest].map(String), times, failures];

if (options.part === undefined || options.part === 'crowd') {
  const rows: string[][] = [];
  for (const [name, run, most] of scenes) {
    const found = await run();
    rows.push(row(name, found));
    if (found.failed > 0 || found.requests > most || found.oldest > FRESHNESS) process.exitCode = 1;
  }
  const who = `${count * callersOfEach} callers in ${count} environments`;
  const title = `${who}, one live migration, ${FRESHNESS} s of freshness, ${(rounds * ROUND) / 1000} s`;
  console.log(table(title, columns, rows));
}
if (options.part === 'load' || (options.part === undefined && !options.short)) {
  const rows: string[][] = [];
  for (const callers of [10, 100, 1000, 10_000])
    for (const freshness of [0, FRESHNESS])
      rows.push(
        row(`${callers} callers, ${freshness ? `${freshness} s` : 'nothing shared'}`, await load(callers, freshness)),
      );
  console.log(table('Callers that ask once a minute, 20 live migrations in 4 projects, one minute', columns, rows));
}
if (options.part === undefined || options.part === 'tokens') {
  const rows: string[][] = [];
  for (const freshness of [0, FRESHNESS]) {
    const found = await tokens(options.short ? 10 : 60, freshness);
    rows.push([...row(freshness ? `${freshness} s` : 'nothing shared', found), String(found.tokens)]);
    if (found.failed > 0 || (freshness > 0 && found.tokens > 1)) process.exitCode = 1;
  }
  console.log(table('Cold environments with a service account', [...columns, 'tokens'], rows));
}
unpacked.remove();
await Promise.all([upstream.close(), dynamoDB.close()]);
