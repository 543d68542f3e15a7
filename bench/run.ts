/**
 * `npm run bench`: what an answer costs in time, requests, connections and memory, next to the least it could
 * cost and to the usual implementation. With `--short`, only what is counted, judged by the exit code.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runtimeIsBuilt } from '../embedded/lambda-runtime.ts';
import { makeBuilds } from './builds.ts';
import type { Contender } from './contender.ts';
import { countLog, countTraffic, trafficTable, trafficTargets } from './counts.ts';
import { type Figure, figuresTable, table } from './figures.ts';
import { startDistantTls } from './latency.ts';
import { isReached, sentence, type Target, targetsTable } from './targets.ts';
import {
  measureMemory,
  measureThroughput,
  timeColdStart,
  timeFirstAndNext,
  timeUnderRuntime,
  timeWarm,
} from './times.ts';
import { startUpstream } from './upstream.ts';

const ATLAS_ROUND_TRIP_MS = 40;
/** It is in the same region as the Lambda. */
const SECRETS_MANAGER_ROUND_TRIP_MS = 15;
const MAX_ZIP_BYTES = 150_000;
/** CloudWatch Logs charges for 26 bytes an event more. */
const MAX_LOG_BYTES = 1100;
/** What the compiler and the collector leave behind varies by less; a leak of 50 bytes an invocation is more. */
const MAX_HEAP_GROWTH_KB = 400;

const { values: options } = parseArgs({ options: { short: { type: 'boolean', default: false } } });
const report: Record<string, unknown> = { node: process.version, platform: `${process.platform} ${process.arch}` };
const show = (text: string) => console.log(`${text}\n`);

const upstream = await startUpstream();
const builds = await makeBuilds();
const contender = (name: string, module: string, environment: Record<string, string> = {}): Contender => ({
  name,
  module,
  environment: { ...upstream.environment, ...environment },
});
const product = contender('the packaged function', builds.product);
const usual = contender('what people would write', builds.module('usual'));
const floor = contender('the floor', builds.module('floor'));
const bareClient = contender('the bare Secrets Manager client', builds.module('bare-client'));
const bareMiddy = contender('bare Middy', builds.module('bare-middy'));

const targets: Target[] = [];

async function count() {
  const ofProduct = await countTraffic(product, upstream);
  const traffic = { [product.name]: ofProduct, [usual.name]: await countTraffic(usual, upstream) };
  const { zipBytes } = builds;
  show(trafficTable(traffic));
  targets.push(...trafficTargets(ofProduct));
  const log = await countLog(product);
  targets.push({ what: 'bytes of the log for an answer', wanted: MAX_LOG_BYTES, found: Math.round(log.bytes) });
  targets.push({ what: 'events of the log for an answer', wanted: 1, found: log.events, exactly: true });
  targets.push({ what: 'bytes of the zip', wanted: MAX_ZIP_BYTES, found: zipBytes });
  Object.assign(report, { traffic, log, zipBytes });
}

const firstOf = ({ name, ...rest }: Contender): Contender => ({ ...rest, name: `${name}, first` });

function compare(what: string, figures: Figure[], one: Contender, other: Contender, wanted: number) {
  const p50 = ({ name }: Contender) => figures.find(({ what: named }) => named === name)?.p50 ?? Number.NaN;
  targets.push({ what: `${what} divided by that of ${other.name}`, wanted, found: p50(one) / p50(other) });
}

async function time() {
  const warm = await timeWarm([product, floor, usual], upstream);
  show(figuresTable('Warm invocation, ms', warm, 3));
  compare('warm p50', warm, product, floor, 1.25);

  const abreast = await measureThroughput([product, floor], upstream);
  show(figuresTable('64 invocations at a time, answers a second', abreast.perSecond, 0));
  const [ofProduct, ofFloor] = abreast.perSecond.map(({ p50 }) => p50);
  targets.push({
    what: 'answers a second, 64 at a time, divided by those of the floor',
    wanted: 0.75,
    found: (ofProduct ?? Number.NaN) / (ofFloor ?? Number.NaN),
    atLeast: true,
  });
  const [before, after] = abreast.heapUsed;
  targets.push({
    what: 'growth of the heap by 24,000 invocations, 64 at a time',
    wanted: MAX_HEAP_GROWTH_KB,
    found: Math.round(((after ?? Number.NaN) - (before ?? Number.NaN)) / 1000),
    unit: ' kB',
  });

  const distant = await startDistantTls();
  const far: Figure[] = [];
  if (distant) {
    const environment = {
      ATLAS_BASE_URL: `${await distant.before(upstream.atlas, ATLAS_ROUND_TRIP_MS / 2)}/api/atlas/v1.0`,
      AWS_ENDPOINT_URL_SECRETS_MANAGER: await distant.before(
        upstream.secretsManager,
        SECRETS_MANAGER_ROUND_TRIP_MS / 2,
      ),
      NODE_EXTRA_CA_CERTS: distant.certificate,
    };
    far.push(
      ...(await timeFirstAndNext([product, usual].map(({ name, module }) => contender(name, module, environment)))),
    );
    distant.close();
    compare('first answer, Atlas 40 ms away, p50', far, firstOf(product), firstOf(usual), 0.46);
  }
  show(
    distant
      ? figuresTable(
          `TLS, Atlas ${ATLAS_ROUND_TRIP_MS} ms away, Secrets Manager ${SECRETS_MANAGER_ROUND_TRIP_MS} ms, ms`,
          far,
          1,
        )
      : 'With latency and TLS: skipped, there is no openssl to make a certificate with.',
  );

  const cold = await timeColdStart([product, bareClient, bareMiddy, usual], [product, usual]);
  show(figuresTable('Loading the module, ms', cold.load, 1));
  show(figuresTable('From the start of the process to the first answer, ms', cold.firstAnswer, 1));
  compare('loading p50', cold.load, product, bareClient, 0.8);

  const underRuntime = runtimeIsBuilt
    ? await timeUnderRuntime([
        { ...product, taskRoot: builds.taskRoot, handler: 'functions/get-live-migration.handler' },
        { ...bareClient, taskRoot: builds.outdir, handler: 'contenders/bare-client.handler' },
        { ...bareMiddy, taskRoot: builds.outdir, handler: 'contenders/bare-middy.handler' },
      ])
    : undefined;
  show(
    underRuntime
      ? figuresTable("From the start of AWS's runtime client to the first /next, ms", underRuntime, 1)
      : "Under AWS's runtime client: skipped, npm run build:ric builds it.",
  );

  const memory = await measureMemory(product, upstream);
  const [early, late] = memory.map(({ heapUsed }) => heapUsed);
  const growth = (late ?? Number.NaN) - (early ?? Number.NaN);
  show(
    table(
      'Memory after garbage collection, kB',
      ['heapUsed', 'rss'],
      memory.map(({ calls, heapUsed, rss }) => [
        `${calls} warm invocations`,
        Math.round(heapUsed / 1000),
        Math.round(rss / 1000),
      ]),
    ),
  );
  targets.push({
    what: 'growth of the heap by 9,000 warm invocations',
    wanted: MAX_HEAP_GROWTH_KB,
    found: Math.round(growth / 1000),
    unit: ' kB',
  });
  Object.assign(report, { warm, abreast, far, cold, underRuntime, memory });
}

try {
  await count();
  if (!options.short) await time();
} finally {
  builds.remove();
  await upstream.close();
}

show(targetsTable(targets));
const path = join(import.meta.dirname, '../.build/bench.json');
writeFileSync(path, `${JSON.stringify({ ...report, targets }, null, 2)}\n`);
console.log(`All figures: ${path}`);

const missed = targets.filter((target) => !isReached(target));
if (options.short && missed.length > 0) {
  for (const target of missed) console.error(sentence(target));
  process.exitCode = 1;
}
