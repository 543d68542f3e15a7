/** The state machine that waits: the deployed ASL file under a local interpreter, the real handler, an embedded Atlas. */

import { beforeEach, describe, expect, test } from 'vitest';
import type { StatusChanged } from '#contract';
import { atlasError, type Reply } from '../embedded/atlas.ts';
import { definition, type Options, type Services, startExecution, TaskError } from '../embedded/state-machine.ts';
import { allIsWell, asTask, atlas, coldStart, groupId, liveMigrationId } from './support/harness.ts';

beforeEach(allIsWell);

const ids = { groupId, liveMigrationId };
/** No poll waits and no retry backs off; what the file says about that is tested below. */
const atOnce: Options = { waits: { Pause: 0 }, retries: { Ask: 0, Report: 0, Round: 0 } };

type Ending = { document: unknown } | { error: string; cause: string };

/** Lets Atlas say one thing after the other, the last one for ever, and waits for the end. */
async function wait(
  answers: (object | Reply)[],
  input: unknown = ids,
  { options = {} as Options, services = {} as Partial<Services> } = {},
) {
  const handler = await coldStart();
  const events: StatusChanged[] = [];
  const entries: object[] = [];
  let asked = 0;
  atlas.reply = () => {
    const answer = answers[Math.min(asked, answers.length - 1)] ?? {};
    return 'body' in answer ? (answer as Reply) : { status: 200, body: { _id: liveMigrationId, ...answer } };
  };
  const invoke = (payload: unknown) =>
    asTask(handler)(payload).finally(() => {
      asked += 1;
    });
  const putEvent: Services['putEvent'] = ({ Detail, ...entry }) => {
    events.push(Detail);
    entries.push(entry);
  };
  const ending = await startExecution(input, { invoke, putEvent, ...services }, { ...atOnce, ...options }).result.then(
    (document): Ending => ({ document }),
    (error: { cause: Error }): Ending => ({ error: error.cause.name, cause: error.cause.message }),
  );
  return { ending, events, entries, asked: () => asked };
}

const changes = (events: StatusChanged[]) =>
  events.map(({ previousStatus, status, readyForCutover }) => [previousStatus, status, readyForCutover]);

const working = (lagTimeSeconds: number | null, readyForCutover: boolean | null = false) => ({
  status: 'WORKING',
  lagTimeSeconds,
  readyForCutover,
});

describe('until TERMINAL', () => {
  test('NEW, WORKING, ready for cutover, COMPLETE: the document, and one event for each change', async () => {
    const { ending, events, entries } = await wait([
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
    expect(changes(events)).toEqual([
      [null, 'NEW', null],
      ['NEW', 'WORKING', false],
      ['WORKING', 'WORKING', true],
      ['WORKING', 'WORKING', null],
      ['WORKING', 'COMPLETE', null],
    ]);
    expect(events[2]).toEqual({
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
      EventBusName: expect.stringContaining('EventBusName'),
      Source: 'atlas.live-migration',
      DetailType: 'Live Migration Status Changed',
    };
    expect(entries).toEqual(Array(5).fill(entry));
  });

  test('FAILED ends as LiveMigrationFailed, with the document as the cause', async () => {
    const { ending, events } = await wait([working(10), { status: 'FAILED' }]);
    expect(ending).toMatchObject({ error: 'LiveMigrationFailed' });
    expect(JSON.parse((ending as { cause: string }).cause)).toMatchObject({ id: liveMigrationId, status: 'FAILED' });
    expect(changes(events)).toEqual([
      [null, 'WORKING', false],
      ['WORKING', 'FAILED', null],
    ]);
  });

  test('EXPIRED ends as LiveMigrationExpired', async () => {
    const { ending } = await wait([working(1, true), { status: 'EXPIRED' }]);
    expect(ending).toMatchObject({ error: 'LiveMigrationExpired' });
  });

  test('ready for cutover is not the end', async () => {
    const { ending, asked } = await wait([working(1, true), working(1, true), { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(asked()).toBe(3);
  });

  test('a status that nobody knows is waited out', async () => {
    const { ending } = await wait([{ status: 'PENDING' }, { status: null }, { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });
});

describe('until READY_FOR_CUTOVER', () => {
  const input = { ...ids, until: 'READY_FOR_CUTOVER' };

  test('ends as soon as it is true', async () => {
    const { ending, events, asked } = await wait(
      [{ status: 'NEW' }, working(9), working(1, true), { status: 'COMPLETE' }],
      input,
    );
    expect(ending).toMatchObject({ document: { status: 'WORKING', readyForCutover: true } });
    expect(asked()).toBe(3);
    expect(changes(events).at(-1)).toEqual(['WORKING', 'WORKING', true]);
  });

  test.each([
    ['COMPLETE', { document: { status: 'COMPLETE' } }],
    ['FAILED', { error: 'LiveMigrationFailed' }],
    ['EXPIRED', { error: 'LiveMigrationExpired' }],
  ])('ends on %s too', async (status, expected) => {
    const { ending } = await wait([working(9), { status }], input);
    expect(ending).toMatchObject(expected);
  });

  test('FAILED is a failure even where Atlas still says ready', async () => {
    const { ending } = await wait([{ status: 'FAILED', readyForCutover: true }], input);
    expect(ending).toMatchObject({ error: 'LiveMigrationFailed' });
  });
});

describe('failures of the adapter', () => {
  const unavailable = { status: 503, body: 'Server Error' };

  test('a spell of 503 does not end the wait, and reports nothing', async () => {
    const { ending, events, asked } = await wait([working(9), ...Array(10).fill(unavailable), { status: 'COMPLETE' }]);
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(changes(events)).toEqual([
      [null, 'WORKING', false],
      ['WORKING', 'COMPLETE', null],
    ]);
    expect(asked()).toBe(12);
  });

  test('each of them is asked for again three times before the next poll', () => {
    const { Ask } = definition.States as Record<
      string,
      { Retry: { ErrorEquals: string[]; MaxAttempts: number }[]; Catch: { ErrorEquals: string[] }[] }
    >;
    expect(Ask?.Retry).toMatchObject([{ MaxAttempts: 3 }]);
    expect(Ask?.Catch[0]?.ErrorEquals).toEqual(Ask?.Retry[0]?.ErrorEquals);
  });

  test('a time-out does not end the wait', async () => {
    let late = 2;
    const { ending } = await wait([{ status: 'COMPLETE' }], ids, {
      services: {
        invoke: () => {
          late -= 1;
          if (late >= 0) throw new TaskError('AtlasTimedOut', '{}');
          return Promise.resolve({ id: liveMigrationId, status: 'COMPLETE', readyForCutover: null });
        },
      },
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });

  const limit = (seconds: string) => ({ ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': seconds } });

  test.each([
    ['longer than a poll is waited out as Atlas asks', '3599', 60, 3599],
    ['shorter than a poll changes nothing', '59', 60, 60],
    ['as long as a poll changes nothing', '60', 60, 60],
  ])('a rate limit %s', async (_, retryAfter, pollSeconds, expected) => {
    const pauses: unknown[] = [];
    const observe: Options['observe'] = ({ type, state }) => {
      if (type === 'StateEntered' && state?.name === 'Pause')
        pauses.push((state.input as { wait: { pauseSeconds: number } }).wait.pauseSeconds);
    };
    const { ending } = await wait(
      [limit(retryAfter), working(9), { status: 'COMPLETE' }],
      { ...ids, pollSeconds },
      { options: { observe } },
    );
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(pauses).toEqual([expected, pollSeconds]);
  });

  test.each([
    ['a key without access', atlasError(403, 'ACCESS_FORBIDDEN'), 'AtlasAccessDenied'],
    ['an unknown project', atlasError(404, 'GROUP_NOT_FOUND'), 'ProjectNotFound'],
    ['an unknown live migration', atlasError(404, 'RESOURCE_NOT_FOUND'), 'LiveMigrationNotFound'],
    ['an answer not understood', { status: 200, body: 'x' }, 'AtlasUnexpectedAnswer'],
  ])('%s ends the wait under its own name', async (_, answer, error) => {
    const { ending, asked } = await wait([working(9), answer]);
    expect(ending).toMatchObject({ error });
    expect(JSON.parse((ending as { cause: string }).cause)).toMatchObject({
      errorType: error,
      errorMessage: expect.stringMatching(/\.$/),
    });
    expect(asked()).toBe(2);
  });

  test('a refused key ends the wait under its own name', async () => {
    atlas.keys = {};
    expect((await wait([{}])).ending).toMatchObject({ error: 'AtlasCredentialsRejected' });
  });
});

describe('events', () => {
  test('one that the bus does not take is put again, and nothing is remembered until it does', async () => {
    const events: StatusChanged[] = [];
    let refused = 0;
    const { ending } = await wait([working(9), working(9), working(1, true), { status: 'COMPLETE' }], ids, {
      services: {
        putEvent: ({ Detail }) => {
          // All four attempts of the first poll, and the first of the second.
          refused += 1;
          if (refused <= 5) throw new TaskError('EventBridge.FailedEntry', 'throttled');
          events.push(Detail);
        },
      },
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(changes(events)).toEqual([
      [null, 'WORKING', false],
      ['WORKING', 'WORKING', true],
      ['WORKING', 'COMPLETE', null],
    ]);
  });

  test('a bus that is gone does not keep the end from the caller', async () => {
    const { ending } = await wait([working(9), { status: 'COMPLETE' }], ids, {
      services: {
        putEvent: () => {
          throw new TaskError('EventBridge.ResourceNotFoundException', 'no such bus');
        },
      },
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });
});

describe('rounds', () => {
  test('a wait of 1,200 polls goes on through three executions, and reports no change twice', async () => {
    const inputs: unknown[] = [];
    let polls = 0;
    const { ending, events } = await wait([{}], ids, {
      services: {
        invoke: (payload) => {
          inputs.push(payload);
          polls += 1;
          const status = polls < 1200 ? 'WORKING' : 'COMPLETE';
          return Promise.resolve({ id: liveMigrationId, groupId, status, readyForCutover: null });
        },
      },
    });
    expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
    expect(changes(events)).toEqual([
      [null, 'WORKING', null],
      ['WORKING', 'COMPLETE', null],
    ]);
    expect(inputs).toEqual(Array(1200).fill(ids));
  }, 30_000);
});

test.each(['ExecutionLimitExceededException', 'SdkClientException', 'AWSStepFunctionsException'])(
  'a start that Step Functions refuses with %s is tried again',
  async (name) => {
    let refused = 0;
    const mayStart = () => {
      refused += 1;
      if (refused <= 6) throw new TaskError(`StepFunctions.${name}`, 'too many');
    };
    expect((await wait([{ status: 'COMPLETE' }], ids, { services: { mayStart } })).ending).toMatchObject({
      document: {},
    });
  },
);

describe('giving up', () => {
  test('after giveUpAfterSeconds, and the polling execution is stopped', async () => {
    let stopped: () => void;
    const pollingStopped = new Promise<void>((resolve) => {
      stopped = resolve;
    });
    const options: Options = {
      // Over as soon as it was asked once, without a clock; the poll would go on for a minute.
      waits: { UntilGivenUp: 600, Pause: 60_000 },
      observe: ({ type }) => {
        if (type === 'ExecutionAborted') stopped();
      },
    };
    const { ending, asked } = await wait([working(9)], { ...ids, giveUpAfterSeconds: 2 }, { options });
    expect(ending).toEqual({
      error: 'LiveMigrationWaitTimedOut',
      cause: expect.stringContaining('giveUpAfterSeconds'),
    });
    await pollingStopped;
    expect(asked()).toBe(1);
  });

  test('the time to give up is the one of the input', async () => {
    const entered: unknown[] = [];
    await wait(
      [{ status: 'COMPLETE' }],
      { ...ids, giveUpAfterSeconds: 77 },
      {
        options: {
          observe: ({ type, state }) => {
            if (type === 'StateEntered' && state?.name === 'WaitOrGiveUp')
              entered.push((state.input as { giveUpAfterSeconds: number }).giveUpAfterSeconds);
          },
        },
      },
    );
    expect(entered).toEqual([77]);
    const [, timer] =
      (definition.States as Record<string, { Branches: { States: Record<string, object> }[] }>)['WaitOrGiveUp']
        ?.Branches ?? [];
    expect(timer?.States['UntilGivenUp']).toMatchObject({ Type: 'Wait', SecondsPath: '$.giveUpAfterSeconds' });
  });
});

describe('input', () => {
  test('the three optional fields have their defaults', async () => {
    const states = definition.States as Record<string, { Parameters?: { defaults?: object } }>;
    expect(states['Defaults']?.Parameters?.defaults).toEqual({
      until: 'TERMINAL',
      pollSeconds: 60,
      giveUpAfterSeconds: 5_184_000,
    });
    expect((await wait([{ status: 'COMPLETE' }], ids)).ending).toMatchObject({ document: { status: 'COMPLETE' } });
  });

  test.each([
    { pollSeconds: 1, giveUpAfterSeconds: 777_600 },
    { pollSeconds: 10, giveUpAfterSeconds: 7_776_000 },
    { pollSeconds: 3600 },
    { giveUpAfterSeconds: 1 },
    { other: { requestContext: {} } },
    { until: 'READY_FOR_CUTOVER' },
  ])('%j is taken', async (more) => {
    expect((await wait([{ status: 'COMPLETE' }], { ...ids, ...more })).ending).toMatchObject({
      document: { status: 'COMPLETE' },
    });
  });

  test.each([
    { until: 'terminal' },
    { until: null },
    { until: 7 },
    { pollSeconds: 0 },
    { pollSeconds: '60' },
    { pollSeconds: 3601 },
    { pollSeconds: null },
    { giveUpAfterSeconds: '60' },
    { giveUpAfterSeconds: 0 },
    { giveUpAfterSeconds: 7_776_001 },
    { pollSeconds: 9, giveUpAfterSeconds: 777_601 },
    { pollSeconds: 1 },
  ])('%j is refused as InvalidRequest, and nothing is asked', async (more) => {
    const { ending, asked } = await wait([{}], { ...ids, ...more });
    expect(ending).toEqual({ error: 'InvalidRequest', cause: expect.stringContaining('until must be') });
    expect(asked()).toBe(0);
  });

  test.each([{}, { groupId }, { liveMigrationId }, [], [ids], 'text', 7])('%j has no ids', async (input) => {
    const { ending, asked } = await wait([{}], input);
    expect(ending).toEqual({ error: 'InvalidRequest', cause: expect.stringContaining('groupId and liveMigrationId') });
    expect(asked()).toBe(0);
  });

  test.each([
    { groupId: 'x', liveMigrationId },
    { groupId, liveMigrationId: null },
  ])('%j is refused by the function, under the same name', async (input) => {
    expect((await wait([{}], input)).ending).toMatchObject({
      error: 'InvalidRequest',
      cause: expect.stringContaining('24 hexadecimal digits'),
    });
    expect(atlas.counters.requests).toBe(0);
  });
});
