/**
 * The deployed alarms over test data: what rings, within how many minutes, and what stays silent. The function's own
 * metrics are those that it really writes for each outcome, and those of waits come from the deployed state machines.
 */

import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { FailureName } from '#contract';
import { packageService } from '../deploy/package-service.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import { type Alarm, type Change, changesOfState, createMetrics, type Metrics } from './support/cloudwatch.ts';
import { allIsWell, ask, captureOutput, coldStart, type DoorName, secretsManager } from './support/harness.ts';
import { bringAbout } from './support/scenarios.ts';
import { fails, ids, says, type World, wait } from './support/wait.ts';

const service = 'atlas-live-migration-dev';
const topic = 'arn:aws:sns:us-east-1:123456789012:alarms';

/** How a call ends: by one of the outcomes, or in a way that the function can't tell. */
type Ending =
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
async function metricsOf(ending: Ending, door: DoorName): Promise<Emf[]> {
  if (['dies', 'may not be invoked', 'throttled'].includes(ending)) return [];
  allIsWell();
  const environment = {
    POWERTOOLS_METRICS_DISABLED: 'false',
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
  return lines.slice(last);
}

const endings: Ending[] = [
  ...(['Answered', 'table fails', 'table works', ...failureNames, 'secret denied', 'stale secret'] as const),
  ...(['dies', 'may not be invoked', 'throttled'] as const),
];
const written: Record<string, Emf[]> = {};
let alarms: Alarm[];
beforeAll(async () => {
  for (const ending of endings)
    for (const door of ['http-api', 'direct'] as const) written[`${ending} ${door}`] = await metricsOf(ending, door);
  const { template } = await packageService({ alarmTopicArn: topic, freshnessSeconds: '5' });
  alarms = Object.values(template.Resources)
    .filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm')
    .map(({ Properties }) => Properties as Alarm);
}, 60_000);

type Call = { seconds: number; lasts?: number; ending: Ending; door?: DoorName };

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

/** What one call leaves: Lambda's metrics and the API's carry the time of its beginning, ours that of its end. */
function record(metrics: Metrics, { seconds, lasts = 0.3, ending, door = 'http-api' }: Call) {
  const ofFunction = (name: string, value = 1) => {
    const metric = named('AWS/Lambda', name, 'FunctionName', { Ref: 'GetLiveMigrationLambdaFunction' });
    metrics.record(metric, seconds, value);
  };
  const lines = written[`${ending} ${door}`] ?? [];
  if (ending === 'throttled') ofFunction('Throttles');
  else if (ending !== 'may not be invoked') {
    ofFunction('Invocations');
    ofFunction('Duration', lasts * 1000);
    if (ending === 'dies' || (door === 'direct' && ending !== 'Answered')) ofFunction('Errors');
  }
  if (door === 'http-api' && statusOf(ending) >= 400) {
    const name = statusOf(ending) < 500 ? '4xx' : '5xx';
    metrics.record(named('AWS/ApiGateway', name, 'ApiId', { Ref: 'HttpApi' }), seconds, 1);
  }
  for (const line of lines) {
    for (const { Namespace, Dimensions, Metrics: ofLine } of line._aws.CloudWatchMetrics)
      for (const dimensions of Dimensions)
        for (const { Name } of ofLine)
          metrics.record(
            { Namespace, MetricName: Name, Dimensions: dimensions.map((name) => ({ Name: name, Value: line[name] })) },
            seconds + lasts,
            Number(line[Name]),
          );
  }
}

const short = (alarm: string) => alarm.slice(service.length + 1);

function judge(calls: Call[], hours: number, more: (metrics: Metrics) => void = () => undefined) {
  const metrics = createMetrics();
  for (const call of calls) record(metrics, call);
  more(metrics);
  const changes = changesOfState(alarms, metrics, hours * 60);
  return changes.map(({ alarm, ...change }) => ({ alarm: short(alarm), ...change }));
}

const QUIET_HOURS = 4;

/** Calls at a steady rate: answers at first, and then what a course says for the nth call. */
function traffic(
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
const moments = [
  { at: 7, lasts: 0.3 },
  { at: 55, lasts: 9 },
];
const rates = [1, 5, 30, 60];
const allowed = (every: number) => (every <= 5 ? 15 : 2 * every + 15);
const rung = (changes: Change[]) => [...new Set(changes.filter(({ isAlarm }) => isAlarm).map(({ alarm }) => alarm))];
const firstOf = (changes: Change[]) =>
  Math.min(...changes.filter(({ isAlarm }) => isAlarm).map(({ minute }) => minute));

type Scene = {
  name: string;
  course: (n: number) => Ending;
  rings: string[];
  doors?: DoorName[];
};

const scenes: Scene[] = [
  {
    name: 'the function does not start, dies, or runs into its time-out',
    course: () => 'dies',
    rings: ['FunctionFails', 'ApiFails'],
  },
  { name: 'the same, called by other Lambdas', course: () => 'dies', rings: ['FunctionFails'], doors: ['direct'] },
  {
    name: 'the API may not invoke the function',
    course: () => 'may not be invoked',
    rings: ['ApiFails'],
    doors: ['http-api'],
  },
  { name: 'the secrets of projects are denied', course: () => 'secret denied', rings: ['NoAnswers'] },
  { name: 'Atlas is down', course: () => 'AtlasUnavailable', rings: ['NoAnswers'] },
  { name: 'Atlas does not answer in time', course: () => 'AtlasTimedOut', rings: ['NoAnswers'] },
  { name: 'Secrets Manager is down', course: () => 'SecretUnavailable', rings: ['NoAnswers'] },
  { name: 'Atlas limits the rate of every question', course: () => 'AtlasRateLimited', rings: ['NoAnswers'] },
  { name: 'Atlas refuses the key', course: () => 'AtlasCredentialsRejected', rings: ['CredentialsRejected'] },
  { name: 'the key may not see the project', course: () => 'AtlasAccessDenied', rings: ['AccessDenied'] },
  { name: 'the secret is not valid', course: () => 'SecretInvalid', rings: ['SecretInvalid'] },
  { name: 'Atlas answers something else', course: () => 'AtlasUnexpectedAnswer', rings: ['AtlasUnexpectedAnswer'] },
  { name: 'the function meets an unexpected error', course: () => 'InternalError', rings: ['InternalError'] },
];

/** The first minute of an alarm after the first call that is not answered, at its latest. */
function ringsAfter({ course, rings, doors = ['http-api'] }: Scene, every: number): number {
  let latest = 0;
  for (const door of doors)
    for (const moment of moments) {
      const changes = judge(traffic(every, QUIET_HOURS + 5, course, { door, ...moment }), QUIET_HOURS + 5);
      const expected = every <= 5 && course(0) === 'AtlasRateLimited' ? [...rings, 'RateLimited'] : rings;
      expect(rung(changes).sort()).toEqual([...expected].sort());
      for (const alarm of rings)
        latest = Math.max(latest, firstOf(changes.filter((change) => change.alarm === alarm)) - QUIET_HOURS * 60);
      // It rings once for as long as this lasts.
      expect(changes).toHaveLength(expected.length);
    }
  return latest;
}

describe('rings', () => {
  test.each(scenes)('$name', (scene) => {
    const minutes = rates.map((every) => ringsAfter(scene, every));
    for (const [at, every] of rates.entries()) {
      expect(minutes[at]).toBeGreaterThan(0);
      expect(minutes[at], `at a question in ${every} minutes`).toBeLessThanOrEqual(allowed(every));
    }
    const row = `| ${scene.name} | ${scene.rings.map((name) => `\`${name}\``).join(', ')} | ${minutes.join(' | ')} |`;
    expect(readFileSync(new URL('../docs/operate.md', import.meta.url), 'utf8')).toContain(row);
  });
});

describe('rings on, for as long as it lasts', () => {
  test.each<Ending>(['AtlasCredentialsRejected', 'dies', 'AtlasUnavailable'])(
    'a day of hourly questions that end as %s changes the state six times at most',
    (ending) => {
      for (const every of [60, 61, 45]) {
        const changes = judge(
          traffic(every, QUIET_HOURS + 24, () => ending),
          QUIET_HOURS + 24,
        );
        expect(changes.length).toBeGreaterThan(0);
        for (const alarm of rung(changes))
          expect(changes.filter((change) => change.alarm === alarm).length).toBeLessThanOrEqual(6);
      }
    },
  );

  test.each([5, 10, 15, 20, 25, 40, 60])('Atlas is down for a day, at a question in %i minutes: one ring', (every) => {
    const changes = judge(
      traffic(every, QUIET_HOURS + 24, () => 'AtlasTimedOut'),
      QUIET_HOURS + 24,
    );
    expect(changes).toHaveLength(1);
  });

  test('and turns off within 140 minutes after the fault', () => {
    const changes = judge(
      traffic(1, 14, (n) => (n < 60 ? 'AtlasUnavailable' : 'Answered')),
      14,
    );
    expect(changes.map(({ alarm, isAlarm }) => [alarm, isAlarm])).toEqual([
      ['NoAnswers', true],
      ['NoAnswers', false],
    ]);
    expect(changes[1]?.minute).toBeLessThan((QUIET_HOURS + 1) * 60 + 140);
  });
});

/** How often each alarm changes its state, at the most. */
const mostChanges = (changes: Change[]) =>
  Math.max(0, ...rung(changes).map((name) => changes.filter(({ alarm }) => alarm === name).length));

describe('changes its state once for each fault, and back', () => {
  const during = (from: number, to: number, ending: Ending) => (n: number) =>
    n >= from && n < to ? ending : 'Answered';

  test.each<Ending>(['AtlasUnavailable', 'dies', 'stale secret', 'AtlasRateLimited', 'throttled'])(
    'a fault of one to twenty minutes, at a call a minute: %s',
    (ending) => {
      const after = (minutes: number) => judge(traffic(1, 8, during(0, minutes, ending)), 8);
      for (const minutes of [1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15])
        expect(mostChanges(after(minutes)), `${minutes}`).toBeLessThanOrEqual(2);
      expect(mostChanges(after(20))).toBe(2);
    },
  );

  test.each([2, 3, 4, 5, 6, 7, 8, 9, 12, 25])(
    'one or two calls of a kind among answers, a call in %i minutes',
    (every) => {
      for (const ending of ['dies', 'AtlasTimedOut', 'stale secret', 'throttled'] as const)
        for (const calls of [1, 2])
          expect(mostChanges(judge(traffic(every, 8, during(0, calls, ending)), 8))).toBeLessThanOrEqual(2);
    },
  );

  test.each<[string, number, (n: number) => Ending, string[]]>([
    ['nine of ten calls die', 1, (n) => (n % 10 ? 'dies' : 'Answered'), ['FunctionFails', 'ApiFails']],
    ['every second call dies', 5, (n) => (n % 2 ? 'dies' : 'Answered'), ['FunctionFails', 'ApiFails']],
    ['every call is limited', 6, () => 'AtlasRateLimited', ['NoAnswers', 'RateLimited']],
    // Fewer than twenty questions in a quarter of an hour are too few for ManyUnanswered.
    ['every second call finds no secret', 1, (n) => (n % 2 ? 'SecretUnavailable' : 'Answered'), []],
  ])('a fault that lasts for ten hours rings once: %s', (_, every, course, expected) => {
    const changes = judge(traffic(every, QUIET_HOURS + 10, course), QUIET_HOURS + 10);
    expect(changes.map(({ alarm }) => alarm)).toEqual(expected);
  });

  test.each([1, 2, 3, 4])('a bus that refuses %i times (fewer than three ring nothing)', async (times) => {
    for (const pollSeconds of [60, 240, 600]) {
      const bus: World['bus'] = ({ count }) => (count <= times ? fails('EventBridge.FailedEntry') : undefined);
      const changes = await judgeWait({ atlas: () => says('WORKING'), bus }, { pollSeconds }, 6);
      expect(changes).toHaveLength(times < 3 ? 0 : 2);
    }
  });

  test('a wait whose polls are answered at the second attempt rings nothing', async () => {
    const atlas: World['atlas'] = ({ count }) => (count % 2 ? fails('AtlasTimedOut') : says('WORKING'));
    expect(await judgeWait({ atlas }, { pollSeconds: 300 }, 14)).toEqual([]);
  });
});

describe('rings when a part of the calls fails, at many calls', () => {
  const everySecond = (course: (n: number) => Ending) => {
    const calls: Call[] = [];
    for (let n = 0; n < 3600; n += 1) calls.push({ seconds: n, ending: n < 1200 ? 'Answered' : course(n) });
    return judge(calls, 1);
  };

  test.each<[string, (n: number) => Ending]>([
    ['nine of ten time out', (n) => (n % 10 ? 'AtlasTimedOut' : 'Answered')],
    ['every second one finds no secret', (n) => (n % 2 ? 'SecretUnavailable' : 'Answered')],
  ])('%s', (_, course) => {
    const changes = everySecond(course);
    expect(rung(changes)).toEqual(['ManyUnanswered']);
    expect(firstOf(changes) - 20).toBeLessThanOrEqual(15);
  });

  test('nine of ten die', () => {
    expect(rung(everySecond((n) => (n % 10 ? 'dies' : 'Answered')))).toEqual(['FunctionFails', 'ApiFails']);
  });

  test('not when one of ten does', () => {
    expect(everySecond((n) => (n % 10 ? 'Answered' : 'AtlasTimedOut'))).toEqual([]);
  });
});

describe('the table of shared answers', () => {
  const fault = (minutes: number, ending: (n: number) => Ending = () => 'table fails') =>
    traffic(1, 14, (n) => (n < minutes ? ending(n) : 'table works'));

  test.each([
    [1, 16],
    [2, 30],
  ])('rings after a quarter of an hour of failures, at a question in %i min, and once', (every, minutes) => {
    const changes = judge(
      traffic(every, 14, () => 'table fails'),
      14,
    );
    expect(changes).toMatchObject([{ alarm: 'TableFails', isAlarm: true }]);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBe(minutes);
  });

  test('rings where it fails for most environments, and ends when it works again', () => {
    const changes = judge(
      fault(300, (n) => (n % 4 ? 'table fails' : 'table works')),
      14,
    );
    expect(changes.map(({ alarm, isAlarm }) => [alarm, isAlarm])).toEqual([
      ['TableFails', true],
      ['TableFails', false],
    ]);
    expect(changes[1]?.minute).toBeLessThan((QUIET_HOURS + 5) * 60 + 40);
  });

  test.each<[string, Call[]]>([
    ['while it is throttled for some minutes', fault(14)],
    ['where it fails for one environment of three', fault(300, (n) => (n % 3 ? 'table works' : 'table fails'))],
    ['where it is used twice an hour', traffic(30, 14, () => 'table fails')],
  ])('stays silent %s', (_, calls) => {
    expect(judge(calls, 14)).toEqual([]);
  });
});

describe('rings, at other rates', () => {
  test('Atlas limits the rate for an hour, with answers beside', () => {
    const changes = judge(
      traffic(1, 14, (n) => (n < 180 && n % 3 > 0 ? 'AtlasRateLimited' : 'Answered')),
      14,
    );
    expect(rung(changes)).toEqual(['RateLimited']);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual(60);
  });

  test('not where Atlas limits one question in ten', () => {
    expect(
      judge(
        traffic(0.1, 8, (n) => (n % 10 ? 'Answered' : 'AtlasRateLimited')),
        8,
      ),
    ).toEqual([]);
  });

  test.each<[string, Ending, string]>([
    ['and the execution environment has no secret', 'SecretUnavailable', 'NoAnswers'],
    ['and the execution environment has an old one', 'stale secret', 'StaleSecret'],
  ])('Secrets Manager fails every second time at ten-minute polls, %s', (_, ending, alarm) => {
    const changes = judge(
      traffic(10, 14, (n) => (n % 2 ? 'Answered' : ending), { door: 'direct' }),
      14,
    );
    expect(rung(changes)).toEqual([alarm]);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual(2 * 10 + 15);
    expect(changes).toHaveLength(1);
  });

  test('Secrets Manager fails at hourly questions', () => {
    const changes = judge(
      traffic(60, 14, () => 'stale secret'),
      14,
    );
    expect(changes.map(({ alarm }) => alarm)).toEqual(['StaleSecret']);
  });

  test('Lambda turns calls away', () => {
    expect(
      rung(
        judge(
          traffic(5, 14, () => 'throttled'),
          14,
        ),
      ),
    ).toEqual(['ApiFails', 'Throttles']);
  });

  test('answers take longer than ten seconds; one in three, or hourly ones, ring nothing', () => {
    const calls = traffic(5, 14, () => 'Answered').map((call) => ({
      ...call,
      lasts: call.seconds > 6 * 3600 ? 11 : 1,
    }));
    const changes = judge(calls, 14);
    expect(rung(changes)).toEqual(['Latency']);
    expect(firstOf(changes) - 6 * 60).toBeLessThanOrEqual(45);
    const once = calls.map((call, at) => (at % 3 ? { ...call, lasts: 1 } : call));
    expect(judge(once, 14)).toEqual([]);
    const hourly = traffic(60, 14, () => 'Answered').map((call) => ({ ...call, lasts: 11 }));
    expect(judge(hourly, 14)).toEqual([]);
  });
});

type Counted = Awaited<ReturnType<typeof wait>>['counted'];
/** What the state machines count. */
const countedBy = (counted: Counted) => (metrics: Metrics) => {
  for (const { hours, MetricName } of counted)
    metrics.record(named('AtlasLiveMigration', MetricName, 'service', service), hours * 3600, 1);
};

/** A wait in virtual time as CloudWatch sees it: its polls, and what the state machines count. */
async function judgeWait(world: World, input: object, hours: number) {
  const { outcomes, counted } = await wait(world, { ...ids, ...input }, { hours });
  const calls = outcomes.map(({ hours: at, outcome }) => ({
    seconds: at * 3600,
    ending: outcome as Ending,
    door: 'direct' as const,
  }));
  return judge(calls, hours, countedBy(counted));
}

describe.each([60, 300, 1800, 3600])('a wait with a poll in %i s', (pollSeconds) => {
  const working: World['atlas'] = () => says('WORKING', false);
  const between = (hours: number, from: number, to: number) => hours >= from && hours < to;

  test('rings when Atlas is down, and after an hour once more', async () => {
    const changes = await judgeWait(
      { atlas: ({ hours }) => (hours >= 6 ? fails('AtlasUnavailable') : says('WORKING', false)) },
      { pollSeconds },
      14,
    );
    expect(rung(changes)).toEqual(['NoAnswers', 'WaitsWithoutAnswer']);
    expect(firstOf(changes) - 6 * 60).toBeLessThanOrEqual(Math.max(15, (2 * pollSeconds) / 60 + 15));
    expect(changes).toHaveLength(2);
  });

  test.each(['Lambda.TooManyRequestsException', 'States.Timeout', 'Anything else'])(
    'rings when polls fail with %s for an hour, although the function writes nothing',
    async (name) => {
      const { counted } = await wait(
        { atlas: ({ hours }) => (hours >= 6 ? fails(name) : says('WORKING', false)) },
        { ...ids, pollSeconds },
        { hours: 14 },
      );
      const changes = judge([], 14, countedBy(counted));
      expect(rung(changes)).toEqual(['WaitsWithoutAnswer']);
      expect(firstOf(changes)).toBeGreaterThanOrEqual(7 * 60);
      expect(firstOf(changes)).toBeLessThanOrEqual(7 * 60 + (2 * pollSeconds) / 60 + 15);
      expect(changes).toHaveLength(1);
    },
  );

  test('rings when events are refused for an hour, also before it ends', async () => {
    const changing: World['atlas'] = ({ hours }) => says(hours < 6 ? 'NEW' : 'WORKING', false);
    const bus: World['bus'] = ({ hours }) => (hours >= 6 ? fails('EventBridge.FailedEntry') : undefined);
    const going = await judgeWait({ atlas: changing, bus }, { pollSeconds }, 14);
    expect(rung(going)).toEqual(['EventsRefused']);
    expect(firstOf(going) - 6 * 60).toBeLessThanOrEqual((3 * pollSeconds) / 60 + 2);
    expect(going).toHaveLength(1);
    const ending = await judgeWait(
      { atlas: ({ hours }) => says(hours < 6 ? 'WORKING' : 'COMPLETE', false), bus },
      { pollSeconds },
      14,
    );
    expect(rung(ending)).toEqual(['EventsRefused']);
  });

  test('rings when a reminder can not be started, and not when that happens once', async () => {
    const refusing = (most: number): World => ({
      atlas: ({ hours }) => says('WORKING', hours >= 6),
      start: ({ executions }, machine) => {
        const isRefused = machine === 'remindOfCutover' && refused < most && executions.length > 0;
        refused += Number(isRefused);
        return isRefused ? fails('StepFunctions.ThrottlingException') : undefined;
      },
    });
    let refused = 0;
    const changes = await judgeWait(refusing(1000), { pollSeconds }, 14);
    expect(changes.map(({ alarm }) => alarm)).toEqual(['RemindersRefused']);
    expect(firstOf(changes) - 6 * 60).toBeLessThanOrEqual((3 * pollSeconds) / 60 + 2);
    refused = 0;
    expect(await judgeWait(refusing(1), { pollSeconds }, 14)).toEqual([]);
  });

  test('rings once when no round can be started for days, and not when that happens once', async () => {
    const refusing = (most: number): World => ({
      atlas: working,
      start: ({ count }) => (count <= most ? fails('StepFunctions.ThrottlingException') : undefined),
    });
    const changes = await judgeWait(refusing(1000), { pollSeconds }, 100);
    expect(changes.map(({ alarm }) => alarm)).toEqual(['LostRounds']);
    expect(firstOf(changes)).toBeLessThanOrEqual(15);
    expect(await judgeWait(refusing(1), { pollSeconds }, 6)).toEqual([]);
  });

  test('is silent while all is well, and when one poll fails', async () => {
    expect(await judgeWait({ atlas: working }, { pollSeconds }, 14)).toEqual([]);
    expect(
      await judgeWait(
        { atlas: ({ hours }) => (between(hours, 6, 6.003) ? fails('AtlasTimedOut') : says('NEW')) },
        { pollSeconds },
        14,
      ),
    ).toEqual([]);
  });

  test.each(['FAILED', 'EXPIRED', 'COMPLETE'] as const)(
    'is silent when the live migration ends as %s',
    async (status) => {
      expect(
        await judgeWait({ atlas: ({ hours }) => says(hours < 6 ? 'WORKING' : status) }, { pollSeconds }, 14),
      ).toEqual([]);
    },
  );

  test.each(['InvalidRequest', 'ProjectNotFound', 'LiveMigrationNotFound'])(
    'is silent when it was started with a mistyped id: %s',
    async (name) => {
      expect(await judgeWait({ atlas: () => fails(name) }, { pollSeconds }, 14)).toEqual([]);
    },
  );

  test('is silent when a live migration is ready for cutover, and eleven others are', async () => {
    expect(await judgeWait({ atlas: () => says('WORKING', true), waits: 12 }, { pollSeconds }, 30)).toEqual([]);
  });

  test('is silent when the bus refuses one event once', async () => {
    const bus: World['bus'] = ({ count }) => (count === 1 ? fails('EventBridge.FailedEntry') : undefined);
    expect(await judgeWait({ atlas: working, bus }, { pollSeconds }, 14)).toEqual([]);
  });
});

describe('stays silent', () => {
  const quiet: [string, (n: number) => Ending][] = [
    ['malformed ids', () => 'InvalidRequest'],
    ['unknown projects', () => 'ProjectNotFound'],
    ['unknown live migrations', () => 'LiveMigrationNotFound'],
    ['answers', () => 'Answered'],
    ['one AtlasUnavailable among answers', (n) => (n === 2 ? 'AtlasUnavailable' : 'Answered')],
    ['one AtlasTimedOut among answers', (n) => (n === 2 ? 'AtlasTimedOut' : 'Answered')],
    ['one AtlasRateLimited among answers', (n) => (n === 2 ? 'AtlasRateLimited' : 'Answered')],
    ['one SecretUnavailable among answers', (n) => (n === 2 ? 'SecretUnavailable' : 'Answered')],
    ['one old secret among answers', (n) => (n === 2 ? 'stale secret' : 'Answered')],
    ['mistyped projects beside answers', (n) => (n % 3 ? 'Answered' : 'ProjectNotFound')],
  ];
  test.each(quiet)('%s, at any rate, over HTTPS and called directly', (_, course) => {
    for (const every of [...rates, 0.1])
      for (const door of ['http-api', 'direct'] as const)
        for (const moment of moments)
          expect(judge(traffic(every, QUIET_HOURS + 3, course, { door, ...moment }), QUIET_HOURS + 3)).toEqual([]);
  });

  test("API Gateway's own 4xx, with no call of the function", () => {
    const changes = judge([], 14, (metrics) => {
      for (let minute = 0; minute < 14 * 60; minute += 1)
        metrics.record(named('AWS/ApiGateway', '4xx', 'ApiId', { Ref: 'HttpApi' }), minute * 60, 1);
    });
    expect(changes).toEqual([]);
  });

  test('no traffic for two days', () => {
    expect(
      judge(
        traffic(5, QUIET_HOURS, () => 'Answered'),
        54,
      ),
    ).toEqual([]);
  });
});
