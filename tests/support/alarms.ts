/**
 * The deployed alarms over test data. The function's own metrics are those that it really writes for each outcome, and
 * those of waits come from the deployed state machines.
 */

import { beforeAll } from 'vitest';
import type { FailureName } from '#contract';
import { startEmbeddedDynamoDB } from '../../embedded/dynamodb.ts';
import { failureNames, kindOf } from '../../lib/core/failure.ts';
import { type Alarm, type Change, createAlarms, createMetrics, type Metric, type Metrics } from './cloudwatch.ts';
import { allIsWell, ask, captureOutput, coldStart, type DoorName, secretsManager } from './harness.ts';
import { bringAbout } from './scenarios.ts';
import { ofType, partsOf } from './template.ts';
import { ids, topic, type World, wait } from './wait.ts';

const service = 'atlas-live-migration-dev';

/** How a call ends: by one of the outcomes, or in a way that the function can't tell. */
export type Ending =
  | 'Answered'
  | 'table fails'
  | 'table works'
  | FailureName
  | 'secret denied'
  | 'stale secret'
  | 'dies'
  | 'may not be invoked'
  | 'throttled';

type Emf = Record<string, unknown> & {
  _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] };
};

/** The metrics that the function writes for one call that ends like that. */
async function metricsOf(ending: Ending, door: DoorName) {
  if (['dies', 'may not be invoked', 'throttled'].includes(ending)) return [];
  allIsWell();
  const environment = {
    POWERTOOLS_SERVICE_NAME: service,
    ...(ending === 'AtlasTimedOut' ? { ATLAS_TIMEOUT_MS: '100' } : {}),
  };
  const output = captureOutput();
  if (ending === 'secret denied') {
    secretsManager.error = { status: 400, name: 'AccessDeniedException' };
    await ask(await coldStart({ ...environment, ATLAS_SECRET_ID: 'atlas/{groupId}' }), door);
  } else if (ending === 'table fails' || ending === 'table works') {
    const dynamoDB = await startEmbeddedDynamoDB();
    const table = {
      AWS_ENDPOINT_URL_DYNAMODB: dynamoDB.origin,
      ANSWER_TABLE: ending === 'table works' ? dynamoDB.table : 'none',
    };
    await ask(await coldStart({ ...environment, ...table, ANSWER_FRESHNESS_SECONDS: '5' }), door);
    await dynamoDB.close();
  } else if (ending === 'stale secret') {
    const handler = await coldStart({ ...environment, SECRET_MAX_AGE_SECONDS: '0' });
    await ask(handler, door);
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    await ask(handler, door);
  } else {
    const handler = await coldStart(environment);
    if (ending !== 'Answered') bringAbout(ending as FailureName);
    await ask(handler, door, ending === 'InvalidRequest' ? { groupId: 'x' } : {}, 3000);
  }
  const lines = output.lines().filter((line) => '_aws' in line) as Emf[];
  // Before the last call, a stale secret needs one that reads it.
  const last = lines.findLastIndex(({ outcome }) => outcome !== undefined);
  const asAnother = { 'table fails': 'Answered', 'table works': 'Answered', 'stale secret': 'Answered' };
  const expected = { ...asAnother, 'secret denied': 'ProjectNotFound' }[ending as string] ?? ending;
  if (lines[last]?.['outcome'] !== expected) throw new Error(`${ending} ended as ${lines[last]?.['outcome']}`);
  return lines.slice(last).flatMap((line) =>
    line._aws.CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics: ofLine }) =>
      Dimensions.flatMap((dimensions) =>
        ofLine.map(({ Name }) => ({
          metric: {
            Namespace,
            MetricName: Name,
            Dimensions: dimensions.map((name) => ({ Name: name, Value: line[name] })),
          },
          value: Number(line[Name]),
        })),
      ),
    ),
  );
}

const endings: Ending[] = [
  ...(['Answered', 'table fails', 'table works', ...failureNames, 'secret denied', 'stale secret'] as const),
  ...(['dies', 'may not be invoked', 'throttled'] as const),
];
const written: Record<string, { metric: Metric; value: number }[]> = {};
let changesOfState: ReturnType<typeof createAlarms>;
beforeAll(async () => {
  for (const ending of endings)
    for (const door of ['http-api', 'direct'] as const) written[`${ending} ${door}`] = await metricsOf(ending, door);
  const alarms = ofType(await partsOf({ alarmTopicArn: topic, freshnessSeconds: '5' }), 'AWS::CloudWatch::Alarm');
  changesOfState = createAlarms(alarms.map(({ Properties }) => Properties as Alarm));
});

export type Call = { seconds: number; lasts?: number; ending: Ending; door?: DoorName };

const named = (Namespace: string, MetricName: string, Name: string, Value: unknown) => ({
  Namespace,
  MetricName,
  Dimensions: [{ Name, Value }],
});

/** What the API answers. */
function statusOf(ending: Ending): number {
  if (['Answered', 'stale secret', 'table fails', 'table works'].includes(ending)) return 200;
  if (ending === 'secret denied') return kindOf('ProjectNotFound').status;
  return failureNames.includes(ending as FailureName) ? kindOf(ending as FailureName).status : 503;
}

const ofFunction = (name: string) =>
  named('AWS/Lambda', name, 'FunctionName', { Ref: 'GetLiveMigrationLambdaFunction' });
const ofApi = (name: string) => named('AWS/ApiGateway', name, 'ApiId', { Ref: 'HttpApi' });
export const ofAws = {
  throttles: ofFunction('Throttles'),
  invocations: ofFunction('Invocations'),
  duration: ofFunction('Duration'),
  errors: ofFunction('Errors'),
  '4xx': ofApi('4xx'),
  '5xx': ofApi('5xx'),
};

/** What one call leaves: Lambda's metrics and the API's carry the time of its beginning, ours that of its end. */
function record(metrics: Metrics, { seconds, lasts = 0.3, ending, door = 'http-api' }: Call) {
  if (ending === 'throttled') metrics.record(ofAws.throttles, seconds, 1);
  else if (ending !== 'may not be invoked') {
    metrics.record(ofAws.invocations, seconds, 1);
    metrics.record(ofAws.duration, seconds, lasts * 1000);
    if (ending === 'dies' || (door === 'direct' && ending !== 'Answered')) metrics.record(ofAws.errors, seconds, 1);
  }
  if (door === 'http-api' && statusOf(ending) >= 400)
    metrics.record(ofAws[statusOf(ending) < 500 ? '4xx' : '5xx'], seconds, 1);
  for (const { metric, value } of written[`${ending} ${door}`] ?? []) metrics.record(metric, seconds + lasts, value);
}

const short = (alarm: string) => alarm.slice(service.length + 1);

export function judge(calls: Call[], hours: number, more: (metrics: Metrics) => void = () => undefined) {
  const metrics = createMetrics();
  for (const call of calls) record(metrics, call);
  more(metrics);
  const changes = changesOfState(metrics, hours * 60);
  return changes.map(({ alarm, ...change }) => ({ alarm: short(alarm), ...change }));
}

export const QUIET_HOURS = 4;

/** Calls at a steady rate: answers at first, and then what a course says for the nth call. */
export function traffic(
  every: number,
  hours: number,
  course: (n: number) => Ending,
  { door = 'http-api' as DoorName, at = 7, lasts = 0.3 } = {},
) {
  const calls: Call[] = [];
  for (let minute = 0; minute < hours * 60; minute += every) {
    const n = Math.ceil((minute - QUIET_HOURS * 60) / every);
    calls.push({ seconds: minute * 60 + at, lasts, ending: n < 0 ? 'Answered' : course(n), door });
  }
  return calls;
}

/** Begins in the middle of a minute, or so late in it that each call ends in the next one. */
export const moments = [
  { at: 7, lasts: 0.3 },
  { at: 55, lasts: 9 },
];
export const rates = [1, 5, 30, 60];
export const allowed = (every: number) => (every <= 5 ? 15 : 2 * every + 15);
export const rung = (changes: Change[]) => [
  ...new Set(changes.filter(({ isAlarm }) => isAlarm).map(({ alarm }) => alarm)),
];
export const firstOf = (changes: Change[]) =>
  Math.min(...changes.filter(({ isAlarm }) => isAlarm).map(({ minute }) => minute));

type Counted = Awaited<ReturnType<typeof wait>>['counted'];
const ofMachine = (name: string) => named('AtlasLiveMigration', name, 'service', service);
/** What the state machines count. */
export const countedBy = (counted: Counted) => (metrics: Metrics) => {
  for (const { hours, MetricName } of counted) metrics.record(ofMachine(MetricName), hours * 3600, 1);
};

/** A wait in virtual time as CloudWatch sees it: its polls, and what the state machines count. */
export async function judgeWait(world: World, input: object, hours: number) {
  const { outcomes, counted } = await wait(world, { ...ids, ...input }, { hours });
  const calls = outcomes.map(({ hours: at, outcome }) => ({
    seconds: at * 3600,
    ending: outcome as Ending,
    door: 'direct' as const,
  }));
  return judge(calls, hours, countedBy(counted));
}
