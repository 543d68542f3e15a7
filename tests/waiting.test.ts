/** The state machine that waits: the deployed definitions in virtual time, and what its caller and the bus see of it. */

import { beforeEach, describe, expect, test } from 'vitest';
import type { LiveMigration } from '#contract';
import { atlasError, type Reply } from '../embedded/atlas.ts';
import { allIsWell, asTask, atlas, coldStart, groupId, liveMigrationId } from './support/harness.ts';
import { changesOf, fails, ids, says, type World, wait } from './support/wait.ts';

beforeEach(allIsWell);

/** The real function and an embedded Atlas, which says one thing after the other, the last one for ever. */
async function waitWithFunction(answers: (object | Reply)[], input: unknown = ids, world: Partial<World> = {}) {
  const handler = await coldStart();
  let asked = 0;
  atlas.reply = () => {
    const answer = answers[Math.min(asked, answers.length - 1)] ?? {};
    return 'body' in answer ? (answer as Reply) : { status: 200, body: { _id: liveMigrationId, ...answer } };
  };
  const ask = asTask(handler, 1500);
  return wait(
    {
      atlas: () =>
        ask(ids).finally(() => {
          asked += 1;
        }) as never,
      ...world,
    },
    input,
  );
}

const working = (lagTimeSeconds: number | null, readyForCutover: boolean | null = false) => ({
  status: 'WORKING',
  lagTimeSeconds,
  readyForCutover,
});

describe('until TERMINAL', () => {
  test('NEW, WORKING, ready for cutover, COMPLETE: the document, and one event for each change', async () => {
    const { ending, changes, entries } = await waitWithFunction([
      { status: 'NEW' },
      { status: 'NEW' },
      working(600),
      working(300),
      working(1, true),
      working(1, true),
      working(null, null),
      { status: 'COMPLETE' },
    ]);
    expect(ending).toMatchObject({ document: { id: liveMigrationId, groupId, status: 'COMPLETE', terminal: true } });
    expect(changesOf(changes)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'WORKING', false],
      ['WORKING', 'WORKING', true],
      ['WORKING', 'WORKING', null],
      ['WORKING', 'COMPLETE', null],
    ]);
    expect(changes[2]).toEqual({
      id: liveMigrationId,
      groupId,
      status: 'WORKING',
      reportedStatus: 'WORKING',
      terminal: false,
      readyForCutover: true,
      lagTimeSeconds: 1,
      migrationHosts: [],
      previousStatus: 'WORKING',
    });
    const entry = {
      EventBusName: 'default',
      Source: 'atlas.live-migration',
      DetailType: 'Live Migration Status Changed',
    };
    expect(entries).toEqual(Array(5).fill(entry));
  });

  test('FAILED ends as LiveMigrationFailed, with the document as the cause', async () => {
    const { ending, changes } = await waitWithFunction([working(10), { status: 'FAILED' }]);
    expect(ending).toMatchObject({ error: 'LiveMigrationFailed' });
    expect(JSON.parse((ending as { cause: string }).cause)).toMatchObject({ id: liveMigrationId, status: 'FAILED' });
    expect(changesOf(changes)).toEqual([
      [null, 'WORKING', false],
      ['WORKING', 'FAILED', null],
    ]);
  });

  test('EXPIRED ends as LiveMigrationExpired', async () => {
    const { ending } = await waitWithFunction([working(1, true), { status: 'EXPIRED' }]);
    expect(ending).toMatchObject({ error: 'LiveMigrationExpired' });
  });

  test('ready for cutover is not the end', async () => {
    const { ending, polls } = await waitWithFunction([working(1, true), working(1, true), { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(polls).toHaveLength(3);
  });

  test('an unknown status does not end the wait', async () => {
    const { ending } = await waitWithFunction([{ status: 'PENDING' }, { status: null }, { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });

  test('the function is asked for the two ids and nothing else', async () => {
    const { payloads } = await waitWithFunction([{ status: 'NEW' }, { status: 'COMPLETE' }], { ...ids, other: 'x' });
    expect(payloads).toEqual([ids, ids]);
  });
});

describe('until READY_FOR_CUTOVER', () => {
  const input = { ...ids, until: 'READY_FOR_CUTOVER' };

  test('ends as soon as it is true', async () => {
    const { ending, changes, polls } = await waitWithFunction(
      [{ status: 'NEW' }, working(9), working(1, true), { status: 'COMPLETE' }],
      input,
    );
    expect(ending).toMatchObject({ document: { status: 'WORKING', readyForCutover: true } });
    expect(polls).toHaveLength(3);
    expect(changesOf(changes).at(-1)).toEqual(['WORKING', 'WORKING', true]);
  });

  test.each([
    ['COMPLETE', { document: { status: 'COMPLETE' } }],
    ['FAILED', { error: 'LiveMigrationFailed' }],
    ['EXPIRED', { error: 'LiveMigrationExpired' }],
  ])('ends on %s too', async (status, expected) => {
    const { ending } = await waitWithFunction([working(9), { status }], input);
    expect(ending).toMatchObject(expected);
  });

  test.each([
    ['FAILED', 'LiveMigrationFailed'],
    ['EXPIRED', 'LiveMigrationExpired'],
  ])('%s is a failure even where Atlas still says ready', async (status, error) => {
    const { ending } = await waitWithFunction([{ status, readyForCutover: true }], input);
    expect(ending).toMatchObject({ error });
  });
});

describe('failures of the function', () => {
  test.each([
    ['a key without access', atlasError(403, 'ACCESS_FORBIDDEN'), 'AtlasAccessDenied'],
    ['an unknown project', atlasError(404, 'GROUP_NOT_FOUND'), 'ProjectNotFound'],
    ['an unknown live migration', atlasError(404, 'RESOURCE_NOT_FOUND'), 'LiveMigrationNotFound'],
    ['an answer not understood', { status: 200, body: 'x' }, 'AtlasUnexpectedAnswer'],
  ])('%s ends a wait that has no answer yet, under its own name', async (_, answer, error) => {
    const { ending, polls } = await waitWithFunction([answer]);
    expect(ending).toMatchObject({ error });
    expect(JSON.parse((ending as { cause: string }).cause)).toMatchObject({
      errorType: error,
      errorMessage: expect.stringMatching(/\.$/),
    });
    expect(polls).toHaveLength(1);
  });

  test('one HTML page with status 200 does not end a wait that had an answer', async () => {
    const { ending } = await waitWithFunction([working(9), { status: 200, body: '<html>' }, { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });

  test('a refused key ends a wait that has no answer yet', async () => {
    atlas.keys = {};
    expect((await waitWithFunction([{}])).ending).toMatchObject({ error: 'AtlasCredentialsRejected' });
  });

  const minutes = (polls: number[]) => polls.map((hours) => Math.round(hours * 60 * 100) / 100);
  const complete = says('COMPLETE');

  test.each([
    [60, [0, 1, 1 + 1 / 6, 1.5, 2 + 1 / 6, 3 + 1 / 6]],
    [1, [0, 1 / 60, 2 / 60, 3 / 60, 4 / 60, 5 / 60]],
    [3600, [0, 60, 60 + 1 / 6, 60.5, 61 + 1 / 6, 62.5]],
  ])(
    'with a poll each %i s, it asks again after 10 s, 20 s, 40 s, …, but not less often',
    async (pollSeconds, expected) => {
      const { polls } = await wait(
        {
          atlas: ({ count }) => (count === 1 ? says('NEW') : count < 6 ? fails('AtlasUnavailable') : complete),
        },
        { ...ids, pollSeconds },
      );
      expect(minutes(polls)).toEqual(expected.map((minute) => Math.round(minute * 100) / 100));
    },
  );

  test.each([
    [1, 60],
    [60, 60],
    [90, 90],
    [3600, 3600],
  ])('after a rate limit with a poll each %i s, it asks after %i s', async (pollSeconds, expected) => {
    const { polls } = await wait(
      { atlas: ({ count }) => (count === 1 ? fails('AtlasRateLimited') : complete) },
      { ...ids, pollSeconds },
    );
    expect(polls.map((hours) => Math.round(hours * 3600))).toEqual([0, expected]);
  });
});

describe('events', () => {
  const bus =
    (refused: number, name = 'EventBridge.FailedEntry'): World['bus'] =>
    ({ count }) =>
      count <= refused ? fails(name) : undefined;
  /** NEW, WORKING a quarter of an hour later, COMPLETE after another one. */
  const course: World['atlas'] = ({ hours }) => says(hours < 0.25 ? 'NEW' : hours < 0.5 ? 'WORKING' : 'COMPLETE');

  test.each(['EventBridge.FailedEntry', 'EventBridge.ResourceNotFoundException', 'States.Timeout', 'Nonsense'])(
    'one that the bus refuses with %s is put again with the next poll, and counted',
    async (name) => {
      const { changes, counts, ending } = await wait({ atlas: course, bus: bus(3, name) });
      expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
      expect(changesOf(changes)).toEqual([
        [null, 'NEW', null],
        ['NEW', 'WORKING', null],
        ['WORKING', 'COMPLETE', null],
      ]);
      expect(counts).toEqual({ EventsRefused: 3 });
    },
  );

  test('changes that the bus missed are reported as one, from the last status that it took', async () => {
    const refusing: World['bus'] = ({ hours }) =>
      hours > 0.1 && hours < 0.85 ? fails('EventBridge.FailedEntry') : undefined;
    const { changes, ending, endedAfterHours } = await wait({ atlas: course, bus: refusing });
    expect(changesOf(changes)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'COMPLETE', null],
    ]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(endedAfterHours).toBeGreaterThan(0.85);
    expect(endedAfterHours).toBeLessThan(0.95);
  });

  test('it is put again once a minute at most, also at a poll a second', async () => {
    const threeMinutes: World['atlas'] = ({ hours }) => says(hours < 0.05 ? 'NEW' : 'COMPLETE');
    const { counts, changes } = await wait({ atlas: threeMinutes, bus: bus(2) }, { ...ids, pollSeconds: 1 });
    expect(counts).toEqual({ EventsRefused: 2 });
    // After two refusals, a minute each.
    expect(changes[0]).toMatchObject({ status: 'NEW', previousStatus: null });
    const { counts: tooMany } = await wait({ atlas: threeMinutes, bus: bus(1000) }, { ...ids, pollSeconds: 1 });
    // Three minutes of polls, and the hour after the end, in which it is tried every two minutes.
    expect(tooMany['EventsRefused']).toBeGreaterThanOrEqual(3 + 29);
    expect(tooMany['EventsRefused']).toBeLessThanOrEqual(3 + 31);
  });

  test.each<[string, World['atlas'], object]>([
    ['COMPLETE', () => says('COMPLETE'), { document: { status: 'COMPLETE' } }],
    ['FAILED', () => says('FAILED'), { error: 'LiveMigrationFailed' }],
    ['EXPIRED', () => says('EXPIRED'), { error: 'LiveMigrationExpired' }],
    [
      'the live migration is gone',
      ({ count }) => (count < 3 ? says('NEW') : fails('LiveMigrationNotFound')),
      { error: 'LiveMigrationNotFound' },
    ],
  ])('before a wait ends, its last event is tried for an hour: %s', async (_, atlasSays, expected) => {
    const gone = await wait({ atlas: atlasSays, bus: () => fails('EventBridge.FailedEntry') });
    expect(gone.ending).toMatchObject(expected);
    expect(gone.endedAfterHours).toBeGreaterThanOrEqual(1);
    expect(gone.endedAfterHours).toBeLessThan(1.1);
    expect(gone.changes).toEqual([]);
    const back = await wait({
      atlas: atlasSays,
      bus: ({ hours }) => (hours < 0.7 ? fails('EventBridge.FailedEntry') : undefined),
    });
    expect(back.ending).toMatchObject(expected);
    expect(back.endedAfterHours).toBeLessThan(0.75);
    expect(back.changes).toHaveLength(1);
  });

  test('an event that is refused while the first answer is handed over is not lost', async () => {
    const { changes } = await wait({ atlas: ({ count }) => says(count < 3 ? 'NEW' : 'COMPLETE'), bus: bus(1) });
    expect(changesOf(changes)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'COMPLETE', null],
    ]);
  });

  test('an unreported event is still put when Atlas does not answer any more', async () => {
    const { changes } = await wait({
      atlas: ({ count }) => (count === 1 ? says('NEW') : count < 40 ? fails('AtlasUnavailable') : says('COMPLETE')),
      bus: ({ hours }) => (hours < 0.3 ? fails('EventBridge.FailedEntry') : undefined),
    });
    expect(changesOf(changes)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'COMPLETE', null],
    ]);
  });

  test('a metric that is refused changes nothing', async () => {
    const { changes, ending } = await wait({
      atlas: course,
      bus: bus(3),
      metrics: () => fails('CloudWatch.InternalServiceFaultException'),
    });
    expect(changes).toHaveLength(3);
    expect(ending).toMatchObject({ document: {} });
  });

  /** As long as an answer may be, with one, two and three bytes for a character. */
  const large = (status: LiveMigration['status'], character: string) => ({
    ...says(status),
    migrationHosts: [character.repeat(Math.floor((15.7 * 1024) / Buffer.byteLength(character)))],
  });

  test.each(['x', 'ü', '漢'])(
    'a document of 16 KiB of "%s" is told, and is no obstacle to the wait',
    async (character) => {
      const { changes, ending, counts, started } = await wait({
        atlas: ({ count }) => large(count < 30 ? 'NEW' : 'COMPLETE', character),
        bus: ({ count }) => (count === 1 ? fails('EventBridge.FailedEntry') : undefined),
        roundEvents: 200,
      });
      // One ended when the first event was told, and one when it was full.
      expect(started('pollLiveMigration')).toHaveLength(3);
      expect(changesOf(changes)).toEqual([
        [null, 'NEW', null],
        ['NEW', 'COMPLETE', null],
      ]);
      expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
      expect(counts).toEqual({ EventsRefused: 1 });
    },
  );

  test('a document of 16 KiB is reported at once, also where no other answer follows', async () => {
    const { changes } = await wait({
      atlas: ({ count }) =>
        count === 1
          ? large('NEW', '漢')
          : count === 2
            ? { ...large('WORKING', '漢'), readyForCutover: true }
            : fails('LiveMigrationNotFound'),
    });
    expect(changesOf(changes)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'WORKING', true],
    ]);
  });

  test('a document of 16 KiB is the cause of a failure as it is', async () => {
    const { ending, changes } = await wait({ atlas: ({ count }) => large(count < 3 ? 'NEW' : 'FAILED', 'x') });
    expect(ending).toMatchObject({ error: 'LiveMigrationFailed' });
    expect(JSON.parse((ending as { cause: string }).cause)).toEqual(large('FAILED', 'x'));
    expect(changes).toHaveLength(2);
  });

  test('a document of 16 KiB that the bus refuses for days costs no round, and is reported at last', async () => {
    const { changes, ending, counts, started } = await wait(
      {
        atlas: ({ hours }) => large(hours < 10 ? 'NEW' : hours < 110 ? 'WORKING' : 'COMPLETE', '漢'),
        bus: ({ hours }) => (hours < 100 ? fails('EventBridge.FailedEntry') : undefined),
        roundEvents: 600,
      },
      { ...ids, pollSeconds: 3600 },
    );
    expect(started('pollLiveMigration').length).toBeGreaterThan(3);
    expect(changesOf(changes)).toEqual([
      [null, 'WORKING', null],
      ['WORKING', 'COMPLETE', null],
    ]);
    expect(ending).toMatchObject({ document: {} });
    expect(counts['LostRounds']).toBeUndefined();
  });
});

describe('giving up', () => {
  test.each([
    [1, 60, [0]],
    [120, 60, [0, 60]],
    [121, 60, [0, 60, 120]],
    [3, 1, [0, 1, 2]],
    [100, 3600, [0]],
  ])('after %i s with a poll each %i s: no poll comes later', async (giveUpAfterSeconds, pollSeconds, expected) => {
    const { ending, polls, endedAfterHours } = await wait(
      { atlas: () => says('WORKING') },
      { ...ids, giveUpAfterSeconds, pollSeconds },
    );
    expect(ending).toEqual({
      error: 'LiveMigrationWaitTimedOut',
      cause: expect.stringContaining('giveUpAfterSeconds'),
    });
    expect(polls.map((hours) => Math.round(hours * 3600))).toEqual(expected);
    expect(endedAfterHours * 3600).toBe(giveUpAfterSeconds);
  });

  test('the hour for the last event may follow', async () => {
    const { ending, polls, endedAfterHours, changes } = await wait(
      {
        atlas: () => says('WORKING'),
        bus: ({ hours }) => (hours < 0.5 ? fails('EventBridge.FailedEntry') : undefined),
      },
      { ...ids, giveUpAfterSeconds: 600 },
    );
    expect(ending).toMatchObject({ error: 'LiveMigrationWaitTimedOut' });
    expect(polls).toHaveLength(10);
    expect(endedAfterHours).toBeGreaterThanOrEqual(0.5);
    expect(changes).toHaveLength(1);
  });

  test.each<[string, World['atlas']]>([
    ['LiveMigrationFailed', ({ hours }) => says(hours < 0.4 ? 'WORKING' : 'FAILED')],
    ['LiveMigrationNotFound', ({ hours }) => (hours < 0.4 ? says('WORKING') : fails('LiveMigrationNotFound'))],
  ])(
    'an end that came before stays %s, also where the hour for its last event goes beyond',
    async (error, atlasSays) => {
      const bus = () => fails('EventBridge.FailedEntry');
      const { ending } = await wait({ atlas: atlasSays, bus }, { ...ids, giveUpAfterSeconds: 3600 });
      expect(ending).toMatchObject({ error });
    },
  );

  test('where no round can be started at all', async () => {
    const { ending, endedAfterHours } = await wait(
      { atlas: () => says('WORKING'), start: () => fails('StepFunctions.ExecutionLimitExceededException') },
      { ...ids, giveUpAfterSeconds: 86_400 },
    );
    expect(ending).toMatchObject({ error: 'LiveMigrationWaitTimedOut' });
    expect(endedAfterHours).toBe(24);
  });
});

describe('input', () => {
  test('the three optional fields have their defaults', async () => {
    const { started } = await wait({ atlas: () => says('COMPLETE') });
    const [round] = started('pollLiveMigration');
    expect(round?.input).toMatchObject({
      until: 'TERMINAL',
      pollSeconds: 60,
      endsAt: (round?.startedAt ?? 0) + 5_184_000_000,
    });
  });

  test.each([
    { pollSeconds: 1, giveUpAfterSeconds: 7_776_000 },
    { pollSeconds: 3600 },
    { giveUpAfterSeconds: 1 },
    { other: { requestContext: {} } },
    { until: 'READY_FOR_CUTOVER' },
    { wait: { polls: -2000 }, memory: { told: 'x', answered: true }, endsAt: 1, end: 'Succeeded' },
  ])('%j is taken', async (more) => {
    const { ending, polls } = await wait({ atlas: () => says('COMPLETE') }, { ...ids, ...more });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(polls).toHaveLength(1);
  });

  test('what else the input holds cannot change how it waits', async () => {
    const { polls } = await wait(
      { atlas: ({ count }) => says(count < 10 ? 'NEW' : 'COMPLETE') },
      { ...ids, wait: { polls: -2000 }, memory: { nextAt: 1 }, pollSeconds: 60, startedAt: 0, lostRounds: -1 },
    );
    expect(polls.map((hours) => Math.round(hours * 60))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test.each<unknown>([
    { ...ids, until: 'terminal' },
    { ...ids, until: null },
    { ...ids, until: 7 },
    { ...ids, until: ['TERMINAL', 'READY_FOR_CUTOVER'] },
    { ...ids, pollSeconds: 0 },
    { ...ids, pollSeconds: 1.5 },
    { ...ids, pollSeconds: '60' },
    { ...ids, pollSeconds: 3601 },
    { ...ids, pollSeconds: null },
    { ...ids, pollSeconds: [60] },
    { ...ids, pollSeconds: { seconds: 60 } },
    { ...ids, pollSeconds: true },
    { ...ids, giveUpAfterSeconds: '60' },
    { ...ids, giveUpAfterSeconds: 0 },
    { ...ids, giveUpAfterSeconds: 7_776_001 },
    { ...ids, pollSeconds: 0, wait: { polls: -2000 } },
    {},
    { groupId },
    { liveMigrationId },
    { groupId, liveMigrationId: null },
    { groupId: [groupId], liveMigrationId },
    { ...ids, groupId: 'x' },
    { ...ids, groupId: groupId.toUpperCase() },
    { ...ids, groupId: `${groupId}0` },
    { ...ids, groupId: `${groupId.slice(1)}\n` },
    { ...ids, liveMigrationId: `${liveMigrationId.slice(1)}g` },
    { ...ids, liveMigrationId: `${liveMigrationId.slice(1)}\u{1f600}` },
    [],
    [ids],
    'text',
    7,
    null,
  ])('%j is refused as InvalidRequest, and nothing is asked', async (input) => {
    const { ending, polls, executions } = await wait({ atlas: () => says('COMPLETE') }, input);
    expect(ending).toEqual({ error: 'InvalidRequest', cause: expect.stringContaining('pollSeconds a whole number') });
    expect(polls).toEqual([]);
    expect(executions).toHaveLength(1);
  });

  test.each(['groupId', 'liveMigrationId', 'until', 'pollSeconds'])(
    'is refused as InvalidRequest also where %s is as long as an input may be',
    async (field) => {
      const { ending, polls } = await wait({ atlas: () => says('COMPLETE') }, { ...ids, [field]: 'a'.repeat(261_700) });
      expect(ending).toMatchObject({ error: 'InvalidRequest' });
      expect(polls).toEqual([]);
    },
  );
});

test('the input of pollLiveMigration is an interface between releases: waits of the release before go on with it', async () => {
  const { started, ending } = await wait({
    atlas: ({ count }) => says(count < 100 ? 'NEW' : 'COMPLETE'),
    roundEvents: 600,
  });
  expect(ending).toMatchObject({ document: {} });
  const [first, second, third] = started('pollLiveMigration').map(({ input }) => input);
  const always = {
    AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID: expect.any(String),
    ...ids,
    until: 'TERMINAL',
    pollSeconds: 60,
    endsAt: expect.any(Number),
  };
  expect(first).toEqual({ ...always, memory: {}, document: null });
  const memory = (told: string | null) => ({
    answered: true,
    failingSince: 0,
    told: told ? `${told} null` : '',
    previousStatus: told,
    readyAt: 0,
    hasReminder: false,
    state: 'NEW null',
    putAgainAt: 0,
    remindAgainAt: 0,
    isNews: told === null,
    handOvers: 1,
    nextAt: expect.any(Number),
  });
  // The first answer is handed over before it is told.
  expect(second).toEqual({ ...always, memory: memory(null), document: says('NEW') });
  expect(third).toEqual({ ...always, memory: memory('NEW'), document: null });
});
