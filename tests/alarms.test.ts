/** The alarms over calls: what rings, within how many minutes, and what stays silent. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  allowed,
  type Call,
  type Ending,
  firstOf,
  judge,
  judgeWait,
  moments,
  ofAws,
  QUIET_HOURS,
  rates,
  rung,
  traffic,
} from './support/alarms.ts';
import type { Change } from './support/cloudwatch.ts';
import type { DoorName } from './support/harness.ts';
import { fails, says, type World } from './support/wait.ts';

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
    for (const every of [...rates, 0.5])
      for (const door of ['http-api', 'direct'] as const)
        for (const moment of moments)
          expect(judge(traffic(every, QUIET_HOURS + 3, course, { door, ...moment }), QUIET_HOURS + 3)).toEqual([]);
  });

  test("API Gateway's own 4xx, with no call of the function", () => {
    const changes = judge([], 14, (metrics) => {
      for (let minute = 0; minute < 14 * 60; minute += 1) metrics.record(ofAws['4xx'], minute * 60, 1);
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
