/** The alarms over calls: what rings, within how many minutes, and what stays silent. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  type Call,
  type Death,
  deathNames,
  type Ending,
  firstOf,
  judge,
  judgeWait,
  moments,
  QUIET_HOURS,
  rates,
  rung,
  traffic,
} from './support/alarms.ts';
import { type Alarm, type Change, createAlarms, createFilters, createMetrics } from './support/cloudwatch.ts';
import type { DoorName } from './support/harness.ts';
import { ofType, partsOf } from './support/template.ts';
import { fails, says, type World } from './support/wait.ts';

const runbook = readFileSync(new URL('../docs/operate.md', import.meta.url), 'utf8').split('\n');

type Scene = {
  name: string;
  course: (n: number) => Ending;
  rings: string[];
  doors?: DoorName[];
  quietHours?: number;
};

const dies = (n: number) => deathNames[Math.max(0, n) % deathNames.length] as Death;
const scenes: Scene[] = [
  {
    name: 'the function does not start, dies, or runs into its time-out',
    course: dies,
    rings: ['FunctionFails', 'ApiFails'],
  },
  { name: 'the same, called by other Lambdas', course: dies, rings: ['FunctionFails'], doors: ['direct'] },
  {
    name: 'the API may not invoke the function',
    course: () => 'may not be invoked',
    rings: ['ApiFails'],
    doors: ['http-api'],
  },
  { name: 'Atlas is down', course: () => 'AtlasUnavailable', rings: ['Unanswered'] },
  {
    name: 'the same, since the first question after the deployment',
    course: () => 'AtlasUnavailable',
    rings: ['Unanswered'],
    quietHours: 0,
  },
  { name: 'Atlas does not answer in time', course: () => 'AtlasTimedOut', rings: ['Unanswered'] },
  { name: 'Atlas limits the rate of every question', course: () => 'AtlasRateLimited', rings: ['Unanswered'] },
  { name: 'Secrets Manager is down', course: () => 'SecretUnavailable', rings: ['Unanswered'] },
  { name: 'the secrets of projects are denied', course: () => 'secret denied', rings: ['Unanswered'] },
  { name: 'Atlas refuses the key', course: () => 'AtlasCredentialsRejected', rings: ['Errors'] },
  { name: 'the key may not see the project', course: () => 'AtlasAccessDenied', rings: ['Errors'] },
  { name: 'the secret is not valid', course: () => 'SecretInvalid', rings: ['Errors'] },
  { name: 'Atlas answers something else', course: () => 'AtlasUnexpectedAnswer', rings: ['Errors'] },
  { name: 'the function meets an unexpected error', course: () => 'InternalError', rings: ['Errors'] },
];

/** The first minute of an alarm after the first call that is not answered, at its latest. */
function ringsAfter({ course, rings, doors = ['http-api'], quietHours = QUIET_HOURS }: Scene, every: number): number {
  let latest = 0;
  for (const door of doors)
    for (const moment of moments) {
      const hours = quietHours + 5;
      const changes = judge(traffic(every, hours, course, { door, ...moment, quietHours }), hours);
      expect(rung(changes).sort()).toEqual([...rings].sort());
      for (const alarm of rings)
        latest = Math.max(latest, firstOf(changes.filter((change) => change.alarm === alarm)) - quietHours * 60);
      // It rings once for as long as this lasts.
      expect(changes).toHaveLength(rings.length);
    }
  return latest;
}

describe('rings', () => {
  test.each(scenes)('$name', (scene) => {
    const minutes = rates.map((every) => ringsAfter(scene, every));
    expect(Math.min(...minutes)).toBeGreaterThan(0);
    const row = `| ${scene.name} | ${scene.rings.map((name) => `\`${name}\``).join(', ')} | ${minutes.join(' | ')} |`;
    expect(runbook).toContain(row);
  });

  test.each(deathNames)('at the first call that dies among answers, over HTTPS and called directly: %s', (death) => {
    for (const [door, expected] of [
      ['http-api', ['ApiFails', 'FunctionFails']],
      ['direct', ['FunctionFails']],
    ] as const)
      expect(
        rung(
          judge(
            traffic(1, 8, (n) => (n === 0 ? death : 'Answered'), { door }),
            8,
          ),
        ).sort(),
      ).toEqual(expected);
  });
});

test('docs/operate.md says of each alarm what it says itself', async () => {
  const template = await partsOf({ freshnessSeconds: '5' });
  const alarms = ['AWS::CloudWatch::Alarm', 'AWS::CloudWatch::CompositeAlarm'].flatMap((type) =>
    ofType(template, type),
  );
  let count = 0;
  for (const { Properties } of alarms) {
    const { AlarmDescription, AlarmName } = Properties as { AlarmDescription: string; AlarmName: string };
    const [, wrong, name] = /^(.*) Runbook: .*, section (\w+)\.$/.exec(AlarmDescription) ?? [];
    if (!wrong) continue;
    expect(AlarmName).toBe(`atlas-live-migration-dev-${name}`);
    expect(runbook).toContain(`| [\`${name}\`](#${name?.toLowerCase()}) | ${wrong} |`);
    count += 1;
  }
  expect(count).toBe(11);
});

describe('rings on, for as long as it lasts', () => {
  test.each<Ending>(['AtlasCredentialsRejected', 'exits', 'AtlasUnavailable'])(
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

  test('Atlas is down for hours, at a question in one minute to 62: one ring', () => {
    for (let every = 1; every <= 62; every += 1)
      for (const quietHours of [0, QUIET_HOURS]) {
        const hours = quietHours + 7;
        const changes = judge(
          traffic(every, hours, () => 'AtlasTimedOut', { quietHours }),
          hours,
        );
        expect(changes, `${every}`).toMatchObject([{ alarm: 'Unanswered', isAlarm: true }]);
      }
  });

  test('every second question is not answered, at one in one minute to 16: one ring', () => {
    for (let every = 1; every <= 16; every += 1)
      expect(
        judge(
          traffic(every, QUIET_HOURS + 6, (n) => (n % 2 ? 'Answered' : 'AtlasUnavailable')),
          QUIET_HOURS + 6,
        ),
        `${every}`,
      ).toMatchObject([{ alarm: 'Unanswered', isAlarm: true }]);
  });

  test.each([1, 5, 30, 60])('and turns off within 70 minutes after the fault, at a question in %i min', (every) => {
    for (const after of ['Answered', 'InvalidRequest'] as const) {
      const changes = judge(
        traffic(every, QUIET_HOURS + 8, (n) => (n * every < 240 ? 'AtlasUnavailable' : after)),
        QUIET_HOURS + 8,
      );
      expect(changes.map(({ isAlarm }) => isAlarm)).toEqual([true, false]);
      expect(changes[1]?.minute).toBeLessThan((QUIET_HOURS + 4) * 60 + 70);
    }
  });

  test('and turns off within 70 minutes after the last question', () => {
    const calls = traffic(5, QUIET_HOURS + 4, () => 'AtlasUnavailable');
    const changes = judge(calls, QUIET_HOURS + 8);
    expect(changes.map(({ isAlarm }) => isAlarm)).toEqual([true, false]);
    expect(changes[1]?.minute).toBeLessThan((QUIET_HOURS + 4) * 60 + 70);
  });

  test('and turns off within 90 minutes after an error', () => {
    const changes = judge(
      traffic(1, 14, (n) => (n < 60 ? 'SecretInvalid' : 'Answered')),
      14,
    );
    expect(changes.map(({ alarm, isAlarm }) => [alarm, isAlarm])).toEqual([
      ['Errors', true],
      ['Errors', false],
    ]);
    expect(changes[1]?.minute).toBeLessThan((QUIET_HOURS + 1) * 60 + 90);
  });
});

/** How often each alarm changes its state, at the most. */
const mostChanges = (changes: Change[]) =>
  Math.max(0, ...rung(changes).map((name) => changes.filter(({ alarm }) => alarm === name).length));

describe('changes its state once for each fault, and back', () => {
  const during = (from: number, to: number, ending: Ending) => (n: number) =>
    n >= from && n < to ? ending : 'Answered';

  test.each<Ending>(['AtlasUnavailable', 'exits', 'stale secret', 'AtlasRateLimited', 'throttled'])(
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
      for (const ending of ['exits', 'AtlasTimedOut', 'stale secret', 'throttled'] as const)
        for (const calls of [1, 2])
          expect(mostChanges(judge(traffic(every, 8, during(0, calls, ending)), 8))).toBeLessThanOrEqual(2);
    },
  );

  test.each<[string, number, (n: number) => Ending, string[]]>([
    ['nine of ten calls die', 1, (n) => (n % 10 ? 'exits' : 'Answered'), ['FunctionFails', 'ApiFails']],
    ['one of fifty calls dies', 1, (n) => (n % 50 ? 'Answered' : 'exits'), ['FunctionFails', 'ApiFails']],
    ['every second call dies', 5, (n) => (n % 2 ? 'exits' : 'Answered'), ['FunctionFails', 'ApiFails']],
    ['every call is limited', 6, () => 'AtlasRateLimited', ['Unanswered']],
    ['every second call finds no secret', 1, (n) => (n % 2 ? 'SecretUnavailable' : 'Answered'), ['Unanswered']],
  ])('a fault that lasts for ten hours rings once: %s', (_, every, course, expected) => {
    const changes = judge(traffic(every, QUIET_HOURS + 10, course), QUIET_HOURS + 10);
    expect(changes.map(({ alarm }) => alarm).sort()).toEqual([...expected].sort());
  });

  test.each([1, 2, 3, 4])('a bus that refuses %i times (fewer than three ring nothing)', async (times) => {
    for (const pollSeconds of [240, 600]) {
      const bus: World['bus'] = ({ count }) => (count <= times ? fails('EventBridge.FailedEntry') : undefined);
      const changes = await judgeWait({ atlas: () => says('WORKING'), bus }, { pollSeconds }, 6);
      expect(changes).toHaveLength(times < 3 ? 0 : 2);
    }
  });

  test('a wait rings nothing where one poll in eight is answered at the second attempt, and once where each is', async () => {
    const polls = (eachOf: number): World['atlas'] => {
      let asked = 0;
      let polled = 0;
      return () => {
        asked += 1;
        const isSecond = asked === 2;
        polled += Number(!isSecond);
        if (isSecond || polled % eachOf > 0) asked = 0;
        return asked === 1 ? fails('AtlasTimedOut') : says('WORKING');
      };
    };
    expect(await judgeWait({ atlas: polls(8) }, { pollSeconds: 300 }, 14)).toEqual([]);
    expect(await judgeWait({ atlas: polls(1) }, { pollSeconds: 300 }, 14)).toMatchObject([{ alarm: 'Unanswered' }]);
  });

  test('a wait rings nothing where Atlas is down for two minutes', async () => {
    for (const seconds of [0, 50, 55]) {
      const begin = QUIET_HOURS + seconds / 3600;
      const atlas: World['atlas'] = ({ hours }) =>
        hours >= begin && hours < begin + 2 / 60 ? fails('AtlasUnavailable') : says('WORKING', false);
      expect(await judgeWait({ atlas }, { pollSeconds: 3600 }, QUIET_HOURS + 4), `${seconds}`).toEqual([]);
    }
  });

  test('and nothing where it is down for the first two minutes of the wait, and nobody has asked before', async () => {
    const atlas: World['atlas'] = ({ hours }) => (hours < 2 / 60 ? fails('AtlasUnavailable') : says('WORKING', false));
    expect(await judgeWait({ atlas }, { pollSeconds: 3600 }, 4)).toEqual([]);
  });
});

describe('rings when a part of the calls fails, at many calls', () => {
  const everySecond = (course: (n: number) => Ending) => {
    const calls: Call[] = [];
    for (let n = 0; n < 3600; n += 1) calls.push({ seconds: n, ending: n < 1200 ? 'Answered' : course(n) });
    return judge(calls, 1);
  };

  test.each<[string, number, (n: number) => Ending]>([
    ['nine of ten time out', 15, (n) => (n % 10 ? 'AtlasTimedOut' : 'Answered')],
    ['every second one finds no secret', 25, (n) => (n % 2 ? 'SecretUnavailable' : 'Answered')],
  ])('%s', (_, minutes, course) => {
    const changes = everySecond(course);
    expect(rung(changes)).toEqual(['Unanswered']);
    expect(firstOf(changes) - 20).toBeLessThanOrEqual(minutes);
  });

  test('nine of ten die', () => {
    expect(rung(everySecond((n) => (n % 10 ? 'exits' : 'Answered'))).sort()).toEqual(['ApiFails', 'FunctionFails']);
  });

  test('not when one of ten does', () => {
    expect(everySecond((n) => (n % 10 ? 'Answered' : 'AtlasTimedOut'))).toEqual([]);
  });
});

describe('the table of shared answers', () => {
  const fault = (minutes: number, ending: (n: number) => Ending = () => 'table fails') =>
    traffic(1, 14, (n) => (n < minutes ? ending(n) : 'table works'));

  test.each([
    [1, 17],
    [2, 31],
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
    expect(rung(changes)).toEqual(['Unanswered']);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual(25);
  });

  test('not where Atlas limits one question in ten', () => {
    expect(
      judge(
        traffic(0.1, 8, (n) => (n % 10 ? 'Answered' : 'AtlasRateLimited')),
        8,
      ),
    ).toEqual([]);
  });

  test.each<[string, Ending, string, number]>([
    ['and the execution environment has no secret', 'SecretUnavailable', 'Unanswered', 65],
    ['and the execution environment has an old one', 'stale secret', 'StaleSecret', 25],
  ])('Secrets Manager fails every second time at ten-minute polls, %s', (_, ending, alarm, minutes) => {
    const changes = judge(
      traffic(10, 14, (n) => (n % 2 ? 'Answered' : ending), { door: 'direct' }),
      14,
    );
    expect(rung(changes)).toEqual([alarm]);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual(minutes);
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
});

describe('stays silent', () => {
  const quiet: [string, (n: number) => Ending][] = [
    ['malformed ids', () => 'InvalidRequest'],
    ['unknown projects', () => 'ProjectNotFound'],
    ['unknown live migrations', () => 'LiveMigrationNotFound'],
    ['answers', () => 'Answered'],
    ["the API's own refusals", () => 'refused by the API'],
    ['starts that Lambda has to repeat', () => 'starts slowly'],
    ['one AtlasUnavailable among answers', (n) => (n === 2 ? 'AtlasUnavailable' : 'Answered')],
    ['one AtlasTimedOut among answers', (n) => (n === 2 ? 'AtlasTimedOut' : 'Answered')],
    ['one AtlasRateLimited among answers', (n) => (n === 2 ? 'AtlasRateLimited' : 'Answered')],
    ['one SecretUnavailable among answers', (n) => (n === 2 ? 'SecretUnavailable' : 'Answered')],
    ['one old secret among answers', (n) => (n === 2 ? 'stale secret' : 'Answered')],
    ['mistyped projects beside answers', (n) => (n % 3 ? 'Answered' : 'ProjectNotFound')],
  ];
  test.each(quiet)('%s, at any rate, over HTTPS and called directly', (_, course) => {
    for (const every of [...rates, 0.5])
      for (const door of ['http-api', 'direct'] as const)
        for (const moment of moments)
          expect(judge(traffic(every, QUIET_HOURS + 3, course, { door, ...moment }), QUIET_HOURS + 3)).toEqual([]);
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

describe('the alarms hold under every reading of what AWS leaves open', () => {
  const metric = (MetricName: string) => ({ Namespace: 'N', MetricName, Dimensions: [] });
  const alarm = (Expression: string, EvaluationPeriods = 1): Alarm => ({
    AlarmName: 'a',
    AlarmActions: ['topic'],
    EvaluationPeriods,
    Threshold: 1,
    ComparisonOperator: 'GreaterThanOrEqualToThreshold',
    TreatMissingData: 'notBreaching',
    Metrics: [
      ...['f', 'g'].map((Id) => ({
        Id,
        ReturnData: false,
        MetricStat: { Metric: metric(Id), Period: 600, Stat: 'Sum' },
      })),
      { Id: 'result', Expression, ReturnData: true },
    ],
  });
  const run = (expression: string, evaluationPeriods?: number) => {
    const metrics = createMetrics();
    metrics.record(metric('f'), 600, 1);
    return createAlarms([alarm(expression, evaluationPeriods)], [])(metrics, 30);
  };

  test.each([
    ['a sum with a metric that may not exist', 'f >= 1 AND FILL(g, 0) == 0', 1],
    ['a comparison with what is missing', 'f > g', 1],
    ['a value that some of the windows do not have', 'f', 2],
  ])('which refuses %s', (_, expression, evaluationPeriods) => {
    expect(() => run(expression, evaluationPeriods)).toThrow('depends on how CloudWatch reads what is missing');
  });

  test('which refuses the absence of a metric', () => {
    expect(() => createAlarms([alarm('FILL(f, 0) == 0')], [])).toThrow('depends on how CloudWatch reads');
    expect(() => createAlarms([alarm('IF(1, 1, f)')], [])).toThrow('fires without any data');
  });

  test.each(['DIFF(f)', 'f % 2', 'RUNNING_SUM(f)'])('which refuses %s, that it does not know', (expression) => {
    expect(() => run(expression)).toThrow('is not known here');
  });

  test('and takes a filled metric', () => {
    expect(run('FILL(f, 0)').map(({ minute, isAlarm }) => [minute, isAlarm])).toEqual([
      [13, true],
      [21, false],
    ]);
  });
});

test('CloudWatch takes each of them, in all forms: ten metrics and ten expressions at most, within a day', async () => {
  for (const parameters of [{}, { freshnessSeconds: '5' }, { api: 'rest' }, { api: 'none' }])
    for (const { Properties } of ofType(await partsOf(parameters), 'AWS::CloudWatch::Alarm')) {
      const { Metrics, EvaluationPeriods } = Properties as Alarm;
      expect(Metrics.filter(({ MetricStat }) => MetricStat).length).toBeLessThanOrEqual(10);
      expect(Metrics.filter(({ Expression }) => Expression).length).toBeLessThanOrEqual(10);
      for (const { MetricStat } of Metrics)
        expect((MetricStat?.Period ?? 0) * EvaluationPeriods).toBeLessThanOrEqual(86400);
    }
});

describe('the filters match lines as CloudWatch Logs does', () => {
  const matches = (FilterPattern: string, line: string) => {
    const MetricTransformations = [{ MetricNamespace: 'N', MetricName: 'M', MetricValue: '1' }];
    return createFilters([{ LogGroupName: { Ref: 'G' }, FilterPattern, MetricTransformations }])('G', line).length > 0;
  };

  test.each([
    ['"a b" "c"', 'c, a b', true],
    ['"a b" "c"', 'a b', false],
    ['"a" -"b"', 'a', true],
    ['"a" -"b"', 'b a', false],
    ['?"a" ?"b"', 'b', true],
    ['?"a" ?"b"', 'c', false],
    ['{ ($.s >= 500) && ($.e != "-") }', '{"s":503,"e":"x"}', true],
    ['{ ($.s >= 500) && ($.e != "-") }', '{"s":403,"e":"x"}', false],
    ['{ ($.s >= 500) && ($.e != "-") }', '{"s":503,"e":"-"}', false],
    ['{ ($.s >= 500) && ($.e != "-") }', '{"s":503}', false],
    ['{ ($.s >= 500) && ($.e != "-") }', 'no JSON', false],
  ])('%s, %s: %s', (pattern, line, expected) => {
    expect(matches(pattern, line)).toBe(expected);
  });

  test.each(['"a" ?"b"', 'a b', '{ $.s = 1 }'])('%s is not known', (pattern) => {
    expect(() => matches(pattern, '')).toThrow('is not known here');
  });
});
