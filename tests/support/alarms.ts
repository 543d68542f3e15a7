/**
 * The deployed alarms over test data. The function's own metrics are those that it really writes for each outcome, those of
 * waits come from the deployed state machines, and the deployed filters count lines of the logs: the function's, those that
 * Lambda writes itself, and the API's.
 */

import { beforeAll } from 'vitest';
import type { FailureName } from '#contract';
import { accessLogFormat } from '../../deploy/api.ts';
import { startEmbeddedDynamoDB } from '../../embedded/dynamodb.ts';
import { failureNames, kindOf } from '../../lib/core/failure.ts';
import {
  type Alarm,
  type Change,
  type CompositeAlarm,
  createAlarms,
  createFilters,
  createMetrics,
  type Metric,
  type MetricFilter,
  type Metrics,
} from './cloudwatch.ts';
import { allIsWell, ask, captureOutput, coldStart, type DoorName, secretsManager } from './harness.ts';
import { bringAbout } from './scenarios.ts';
import { ofType, partsOf } from './template.ts';
import { ids, topic, type World, wait } from './wait.ts';

const service = 'atlas-live-migration-dev';

const report = (status: string) =>
  `REPORT RequestId: 276ff3b9\tDuration: 95.78 ms\tBilled Duration: 96 ms\tMemory Size: 512 MB\tMax Memory Used: 99 MB${status}`;
const startReport = (phase: 'init' | 'invoke', status: string) =>
  `INIT_REPORT Init Duration: 99.66 ms\tPhase: ${phase}\tStatus: ${status}`;
const unknown = 'error\tError Type: Runtime.Unknown';

/** How an invocation dies, in the words of Lambda, which may write the type of what a module throws in any of three lines. */
export const deaths = {
  'does not load': [startReport('init', unknown), startReport('invoke', unknown), report(`\tStatus: ${unknown}`)],
  'does not load, and the call has no status': [startReport('init', unknown), report('')],
  'lacks a module': [report('\tStatus: error\tError Type: Runtime.ImportModuleError')],
  exits: [report('\tStatus: error\tError Type: Runtime.ExitError')],
  'runs out of memory': [report('\tStatus: error\tError Type: Runtime.OutOfMemory')],
  'times out': [report('\tStatus: timeout')],
  'times out, and has no status': ['2026-11-28T01:49:43.078Z 276ff3b9 Task timed out after 20.02 seconds', report('')],
  'is lost by Lambda': [report('\tStatus: error\tError Type: Sandbox.Timedout')],
};
export type Death = keyof typeof deaths;
export const deathNames = Object.keys(deaths) as Death[];

/** How a call ends: by one of the outcomes, or in a way that the function can't tell. */
export type Ending =
  | 'Answered'
  | 'table fails'
  | 'table works'
  | FailureName
  | 'secret denied'
  | 'stale secret'
  | Death
  | 'starts slowly'
  | 'may not be invoked'
  | 'throttled'
  | 'refused by the API';

const isDeath = (ending: Ending): ending is Death => Object.hasOwn(deaths, ending);
const neverInvoked: Ending[] = ['may not be invoked', 'throttled', 'refused by the API'];

type Emf = Record<string, unknown> & {
  _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] };
};

/** The lines that the function writes for one call that ends like that. */
async function linesOf(ending: Ending, door: DoorName): Promise<Emf[]> {
  if (isDeath(ending) || neverInvoked.includes(ending)) return [];
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
    if (outcomeOf(ending) !== 'Answered') bringAbout(ending as FailureName);
    await ask(handler, door, ending === 'InvalidRequest' ? { groupId: 'x' } : {}, 3000);
  }
  const lines = output.lines().filter((line) => '_aws' in line) as Emf[];
  // Before the last call, a stale secret needs one that reads it.
  const last = lines.findLastIndex(({ outcome }) => outcome !== undefined);
  if (lines[last]?.['outcome'] !== outcomeOf(ending)) throw new Error(`${ending} ended as ${lines[last]?.['outcome']}`);
  return lines.slice(last);
}

/** What the log line calls an ending. */
function outcomeOf(ending: Ending) {
  if (ending === 'secret denied') return 'ProjectNotFound';
  return failureNames.find((name) => name === ending) ?? 'Answered';
}

/** The lines that Lambda writes for a call. Of a failure that is thrown, it may say the worst that is not excluded. */
function platformLinesOf(ending: Ending, door: DoorName): string[] {
  if (neverInvoked.includes(ending)) return [];
  const begin = ['INIT_START Runtime Version: nodejs:24.v1', 'START RequestId: 276ff3b9 Version: $LATEST'];
  const end = 'END RequestId: 276ff3b9';
  if (isDeath(ending)) return [...begin, end, ...deaths[ending]];
  const isThrown = door === 'direct' && outcomeOf(ending) !== 'Answered';
  return [
    ...begin,
    ...(ending === 'starts slowly' ? [startReport('init', 'timeout')] : []),
    end,
    report(isThrown ? `\tStatus: ${unknown}` : ''),
  ];
}

/** The line of the API's access log. */
function accessLineOf(ending: Ending): string {
  const isUnusable = isDeath(ending) || ['may not be invoked', 'throttled'].includes(ending);
  const outcome = outcomeOf(ending);
  const status = isUnusable ? 503 : outcome === 'Answered' ? 200 : kindOf(outcome).status;
  const values: Record<string, string> = {
    status: `${ending === 'refused by the API' ? 403 : status}`,
    responseLatency: '312',
    integrationErrorMessage: isUnusable ? 'The Lambda function returned the following error: Unhandled.' : '-',
  };
  return accessLogFormat.replace(/\$context\.([\w.]+)/g, (_, name: string) => values[name] ?? '-');
}

/** What a line in the embedded metric format counts. */
const countsOf = (line: Emf) =>
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
  );

const endings: Ending[] = [
  ...(['Answered', 'table fails', 'table works', ...failureNames, 'secret denied', 'stale secret'] as const),
  ...deathNames,
  ...(['starts slowly', ...neverInvoked] as const),
];
/** What one call leaves in CloudWatch, by its ending and door. */
const left: Record<string, { metric: Metric; value: number }[]> = {};
let changesOfState: ReturnType<typeof createAlarms>;
beforeAll(async () => {
  const template = await partsOf({ alarmTopicArn: topic, freshnessSeconds: '5' });
  const ofResources = <T>(type: string) => ofType(template, type).map(({ Properties }) => Properties as T);
  changesOfState = createAlarms(
    ofResources<Alarm>('AWS::CloudWatch::Alarm'),
    ofResources<CompositeAlarm>('AWS::CloudWatch::CompositeAlarm'),
  );
  const count = createFilters(ofResources<MetricFilter>('AWS::Logs::MetricFilter'));
  for (const ending of endings)
    for (const door of ['http-api', 'direct'] as const) {
      const lines = await linesOf(ending, door);
      const log = [...lines.map((line) => JSON.stringify(line)), ...platformLinesOf(ending, door)];
      left[`${ending} ${door}`] = [
        ...lines.flatMap(countsOf),
        ...log.flatMap((line) => count('GetLiveMigrationLogGroup', line)),
        ...(door === 'direct' ? [] : count('HttpApiLogGroup', accessLineOf(ending))),
        ...(ending === 'throttled' ? [{ metric: throttles, value: 1 }] : []),
      ];
    }
});

export type Call = { seconds: number; lasts?: number; ending: Ending; door?: DoorName };

const named = (Namespace: string, MetricName: string, Name: string, Value: unknown) => ({
  Namespace,
  MetricName,
  Dimensions: [{ Name, Value }],
});

const throttles = named('AWS/Lambda', 'Throttles', 'FunctionName', { Ref: 'GetLiveMigrationLambdaFunction' });

const short = (alarm: string) => alarm.slice(service.length + 1);

export function judge(calls: Call[], hours: number, more: (metrics: Metrics) => void = () => undefined) {
  const metrics = createMetrics();
  for (const { seconds, lasts = 0.3, ending, door = 'http-api' } of calls)
    for (const { metric, value } of left[`${ending} ${door}`] ?? []) metrics.record(metric, seconds + lasts, value);
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
  { door = 'http-api' as DoorName, at = 7, lasts = 0.3, quietHours = QUIET_HOURS } = {},
) {
  const calls: Call[] = [];
  for (let minute = 0; minute < hours * 60; minute += every) {
    const n = Math.ceil((minute - quietHours * 60) / every);
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
export const rung = (changes: Change[]) => [
  ...new Set(changes.filter(({ isAlarm }) => isAlarm).map(({ alarm }) => alarm)),
];
export const firstOf = (changes: Change[]) =>
  Math.min(...changes.filter(({ isAlarm }) => isAlarm).map(({ minute }) => minute));

type Counted = Awaited<ReturnType<typeof wait>>['counted'];
const ofMachine = (name: string) => named('AtlasLiveMigration', name, 'service', service);
/** What the state machines count. */
export const countedBy = (counted: Counted) => (metrics: Metrics) => {
  for (const { hours, MetricName, Value } of counted) metrics.record(ofMachine(MetricName), hours * 3600, Value);
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
