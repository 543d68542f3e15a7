/** Nothing ends a wait but what the contract names: every error, at the first poll and later, and rounds that are lost. */

import { describe, expect, test } from 'vitest';
import { failureNames } from '../lib/core/failure.ts';
import { changesOf, fails, type Happening, ids, says, type World, wait } from './support/wait.ts';

const ofLambda = [
  ...['ServiceException', 'AWSLambdaException', 'SdkClientException', 'TooManyRequestsException', 'Unknown'],
  ...['ClientExecutionTimeoutException', 'ResourceNotReadyException', 'EC2ThrottledException'],
  ...['ENILimitReachedException', 'ResourceNotFoundException', 'AccessDeniedException', 'KMSDisabledException'],
].map((name) => `Lambda.${name}`);

const names = [
  ...failureNames,
  ...ofLambda,
  ...['Runtime.ExitError', 'Runtime.OutOfMemory', 'Sandbox.Timedout', 'Error', 'An unknown one'],
  ...['States.Timeout', 'States.TaskFailed', 'States.Permissions', 'States.QueryEvaluationError'],
];

/** As the contract has it. */
const alwaysTheEnd = ['InvalidRequest', 'LiveMigrationNotFound'];
const theEndBeforeAnAnswer = [
  ...alwaysTheEnd,
  ...['ProjectNotFound', 'AtlasAccessDenied', 'AtlasCredentialsRejected', 'AtlasUnexpectedAnswer'],
  ...['SecretInvalid', 'InternalError'],
];

describe.each([...names.map((name) => [name, 2] as const), ['AtlasUnavailable', 100] as const])(
  '%s, %i times,',
  (name, times) => {
    test('at the first poll ends the wait only if the contract says so', async () => {
      const { ending, polls } = await wait({
        atlas: ({ count }) => (count <= times ? fails(name) : says('COMPLETE')),
      });
      if (theEndBeforeAnAnswer.includes(name)) {
        expect(ending).toMatchObject({ error: name });
        expect(polls).toHaveLength(1);
      } else {
        expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
        expect(polls).toHaveLength(times + 1);
      }
    });

    test('after an answer ends the wait only if the contract says so', async () => {
      const { ending, polls, changes } = await wait({
        atlas: ({ count }) => (count > 1 && count <= times + 1 ? fails(name) : says(count === 1 ? 'NEW' : 'COMPLETE')),
      });
      if (alwaysTheEnd.includes(name)) {
        expect(ending).toMatchObject({ error: name });
        expect(polls).toHaveLength(2);
      } else {
        expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
        expect(polls).toHaveLength(times + 2);
        expect(changesOf(changes)).toEqual([
          [null, 'NEW', null],
          ['NEW', 'COMPLETE', null],
        ]);
      }
    });
  },
);

describe('rounds', () => {
  const untilHour =
    (end: number): World['atlas'] =>
    ({ hours }) =>
      says(hours < end ? 'WORKING' : 'COMPLETE');

  test.each([
    ...[
      'ExecutionLimitExceededException',
      'SdkClientException',
      'AWSStepFunctionsException',
      'ThrottlingException',
    ].map((name) => `StepFunctions.${name}`),
    ...['States.Timeout', 'States.TaskFailed', 'Nonsense'],
  ])('whose start is refused with %s for ten minutes are started again', async (name) => {
    const { ending, changes, counts } = await wait({
      atlas: untilHour(1 / 4),
      start: ({ hours }) => (hours < 1 / 6 ? fails(name) : undefined),
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(changesOf(changes)).toEqual([
      [null, 'WORKING', null],
      ['WORKING', 'COMPLETE', null],
    ]);
    // Pauses of 30 s, 60 s, 90 s, …
    expect(counts).toEqual({ LostRounds: 6 });
  });

  test('a start that is refused later costs no knowledge: an unanswered question then is no reason to end', async () => {
    const { ending, changes } = await wait({
      atlas: ({ count }) => (count === 1 ? says('WORKING') : count < 5 ? fails('AtlasAccessDenied') : says('COMPLETE')),
      start: ({ count }) => (count > 1 && count < 5 ? fails('StepFunctions.ThrottlingException') : undefined),
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(changes).toHaveLength(2);
  });

  test('a start that is refused between two rounds tells nothing twice', async () => {
    // The second round tells the first answer, and is full after an hour.
    const { changes, counts } = await wait({
      atlas: untilHour(2),
      roundEvents: 600,
      start: ({ count }) => (count === 3 ? fails('StepFunctions.ThrottlingException') : undefined),
    });
    expect(counts).toEqual({ LostRounds: 1 });
    expect(changes.map(({ status }) => status)).toEqual(['WORKING', 'COMPLETE']);
  });

  test.each([30, 3600])(
    'a start that is refused until the wait gives up after %i s hides no event and no reminder',
    async (seconds) => {
      const { changes, started, ending, endedAfterHours } = await wait(
        {
          atlas: () => says('WORKING', true),
          start: ({ count, hours }, machine) =>
            machine === 'pollLiveMigration' && count > 1 && hours < seconds / 3600
              ? fails('StepFunctions.ThrottlingException')
              : undefined,
        },
        { ...ids, pollSeconds: 10, giveUpAfterSeconds: seconds },
      );
      expect(ending).toMatchObject({ error: 'LiveMigrationWaitTimedOut' });
      expect(endedAfterHours * 3600).toBeLessThan(seconds + 1000);
      expect(changes).toHaveLength(1);
      expect(started('remindOfCutover')).toHaveLength(1);
    },
  );

  test('if none can be started in the hour after it, the wait ends', async () => {
    const { ending, endedAfterHours } = await wait(
      {
        atlas: () => says('WORKING', true),
        start: ({ count }) => (count > 1 ? fails('StepFunctions.ThrottlingException') : undefined),
      },
      { ...ids, giveUpAfterSeconds: 600 },
    );
    expect(ending).toMatchObject({ error: 'LiveMigrationWaitTimedOut' });
    expect(endedAfterHours).toBeGreaterThanOrEqual(1);
    expect(endedAfterHours).toBeLessThan(1.2 + 1 / 6);
  });

  test('one that is lost in the middle is followed by another, and the key may be refused meanwhile', async () => {
    const { ending, counts } = await wait({
      atlas: ({ count, executions }) => {
        if (count === 5) executions.at(-1)?.stop();
        return count === 6 ? fails('AtlasCredentialsRejected') : says(count < 10 ? 'WORKING' : 'COMPLETE');
      },
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(counts).toEqual({ LostRounds: 1 });
  });
});

describe('a round that is lost', () => {
  /** Ready for a while, and then, on the next day and after the first reminder was due, to the end. */
  const course: World['atlas'] = ({ hours }) =>
    hours < 28 ? says('WORKING', hours >= 2 && hours < 4.5) : says(hours < 29.5 ? 'WORKING' : 'COMPLETE', hours < 29.5);
  const expected = [
    ['WORKING', false],
    ['WORKING', true],
    ['WORKING', false],
    ['WORKING', true],
    ['COMPLETE', false],
  ];

  const lose = (executions: Happening['executions']) =>
    executions.findLast(({ machine, isRunning }) => machine === 'pollLiveMigration' && isRunning)?.stop();

  /** Loses the round that is at work when that service is called for the nth time. */
  async function loseAt(service: 'atlas' | 'bus' | 'start', nth: number) {
    const lost = ({ count, executions }: Happening) => {
      if (count === nth) lose(executions);
      return undefined;
    };
    const happened = await wait(
      {
        atlas: (now) => {
          if (service !== 'atlas') return course(now);
          lost(now);
          // A failure right after it is not one that lasts.
          return now.count === nth + 1 ? fails('AtlasUnavailable') : course(now);
        },
        bus: service === 'bus' ? lost : undefined,
        start: service === 'start' ? lost : undefined,
      },
      { ...ids, pollSeconds: 3600 },
      { hours: 160 },
    );
    const told = happened.changes.map(({ status, readyForCutover }) => [status, readyForCutover]);
    const isAgain = (at: number) => at > 0 && `${told[at]}` === `${told[at - 1]}`;
    return { ...happened, told, once: told.filter((_, at) => !isAgain(at)) };
  }

  const services = [
    // At the beginning, between two changes, and at each change.
    ...[1, 2, 3, 4, 6, 29, 31].map((nth) => ['atlas', nth] as const),
    ...[1, 2, 3, 4, 5].map((nth) => ['bus', nth] as const),
    // The start of the reminder; the others are those of rounds.
    ['start', 4] as const,
  ];

  test.each(services)(
    'at a call of %s, number %i, hides no change, and no reminder comes twice',
    async (service, nth) => {
      const { once, told, ending, started, counts, reminders } = await loseAt(service, nth);
      expect(counts).toEqual({ LostRounds: 1 });
      expect(once).toEqual(expected);
      expect(told.length).toBeLessThanOrEqual(expected.length + 2);
      expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
      expect(started('remindOfCutover')).toHaveLength(1);
      expect(reminders).toEqual([]);
    },
  );

  test('when it becomes ready again hides no reminder: the hours count from then', async () => {
    let isLost = false;
    const { reminders, started } = await wait(
      {
        atlas: ({ hours, executions }) => {
          if (!isLost && hours >= 36) {
            isLost = true;
            lose(executions);
          }
          return says('WORKING', (hours >= 1 && hours < 2) || hours >= 36);
        },
      },
      { ...ids, pollSeconds: 1200, giveUpAfterSeconds: 40 * 3600 },
      { hours: 170 },
    );
    expect(started('remindOfCutover')).toHaveLength(1);
    expect(reminders.map(({ hours, hoursLeft }) => [Math.round(hours), hoursLeft])).toEqual([
      [60, 96],
      [108, 48],
      [132, 24],
      [150, 6],
      [157, null],
    ]);
  });

  test('does not hide the status that the bus last took', async () => {
    const { changes } = await wait({
      atlas: ({ count, executions }) => {
        if (count === 20) lose(executions);
        return says(count < 10 ? 'NEW' : count < 20 ? 'WORKING' : 'COMPLETE');
      },
    });
    expect(changes.map(({ previousStatus, status }) => [previousStatus, status])).toEqual([
      [null, 'NEW'],
      ['NEW', 'WORKING'],
      ['WORKING', 'COMPLETE'],
    ]);
  });

  test('after a rate limit is followed by a poll when it would have come, or later', async () => {
    const { outcomes } = await wait(
      {
        atlas: ({ count }) => (count === 2 ? fails('AtlasRateLimited') : says(count < 4 ? 'NEW' : 'COMPLETE')),
        bus: ({ count, executions }) => {
          if (count === 2) lose(executions);
          return count < 3 ? fails('EventBridge.FailedEntry') : undefined;
        },
      },
      { ...ids, pollSeconds: 3600 },
    );
    const limited = outcomes.findIndex(({ outcome }) => outcome === 'AtlasRateLimited');
    expect((outcomes[limited + 1]?.hours ?? 0) - (outcomes[limited]?.hours ?? 0)).toBeGreaterThanOrEqual(1);
  });
});

describe('an answer that is no document', () => {
  test.each([null, 'text', 7, {}, [[]], { status: null }, { errorMessage: 'x' }])(
    '%j counts as a failure, also as the first one',
    async (answer) => {
      for (const at of [1, 3]) {
        const { ending, changes, polls } = await wait({
          atlas: ({ count }) => (count === at ? (answer as never) : says(count < 6 ? 'NEW' : 'COMPLETE')),
        });
        expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
        expect(changes.map(({ status }) => status)).toEqual(['NEW', 'COMPLETE']);
        expect(Math.round(((polls[at] ?? 0) - (polls[at - 1] ?? 0)) * 3600)).toBe(10);
      }
    },
  );
});

describe('polls that fail for an hour', () => {
  test('are counted, and what comes before is not', async () => {
    const counted = async (from: number, to: number) => {
      const { counts } = await wait(
        {
          atlas: ({ hours }) =>
            hours >= from && hours < to ? fails('AtlasUnavailable') : says(hours < to ? 'WORKING' : 'COMPLETE'),
        },
        { ...ids, pollSeconds: 100 },
      );
      return counts;
    };
    expect(await counted(0.1, 1)).toEqual({});
    // Every five minutes, from the end of the hour on.
    expect(await counted(0.1, 1.6)).toEqual({ PollsWithoutAnswer: 6 });
    expect(await counted(0, 2)).toEqual({ PollsWithoutAnswer: 12 });
  });

  test('begins with the first poll that failed: one failure between hourly answers is not counted', async () => {
    const { counts } = await wait(
      { atlas: ({ count }) => (count % 3 === 2 ? fails('AtlasUnavailable') : says(count < 20 ? 'NEW' : 'COMPLETE')) },
      { ...ids, pollSeconds: 3600 },
    );
    expect(counts).toEqual({});
  });
});

describe('rounds that are full', () => {
  const roundEvents = 300;
  /** A wait of at least three full rounds, until it is complete. */
  async function waitThroughRounds(pollSeconds: number, end: number, { atlas, ...world }: World) {
    const happened = await wait(
      { atlas: (now) => (now.hours >= end ? says('COMPLETE') : atlas(now)), ...world, roundEvents },
      { ...ids, pollSeconds },
    );
    const { ending, started, changes } = happened;
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    const rounds = started('pollLiveMigration');
    expect(rounds.filter(({ events }) => events > 0.8 * roundEvents).length).toBeGreaterThanOrEqual(3);
    // As 25,000 are more than 24,000.
    for (const { events } of rounds) expect(events).toBeLessThanOrEqual(roundEvents + 1000);
    expect(changes.every(({ previousStatus }, at) => previousStatus === (changes[at - 1]?.status ?? null))).toBe(true);
    return happened;
  }

  test.each<[string, World]>([
    ['quiet', { atlas: () => says('WORKING') }],
    ['all failing', { atlas: () => fails('AtlasTimedOut') }],
    ['a change at every poll', { atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING', count % 3 === 0) }],
    [
      'a change at every poll, and a bus that is down for 45 minutes every five hours',
      {
        atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING'),
        bus: ({ hours }) => (hours % 5 > 3 && hours % 5 < 3.75 ? fails('EventBridge.FailedEntry') : undefined),
      },
    ],
  ])('%s: it ends as COMPLETE, within each history', async (_, world) => {
    const end = 13;
    const { changes, endedAfterHours } = await waitThroughRounds(300, end, world);
    expect(changes.at(-1)).toMatchObject({ status: 'COMPLETE' });
    expect(endedAfterHours).toBeLessThan(end + 0.1);
  });

  test('a second between polls, a change at every poll and a bus that takes nothing: it ends as COMPLETE', async () => {
    await waitThroughRounds(1, 2.5, {
      atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING', count % 2 === 0),
      bus: () => fails('EventBridge.FailedEntry'),
      start: (_, machine) => (machine === 'remindOfCutover' ? fails('StepFunctions.ThrottlingException') : undefined),
    });
  });
});
