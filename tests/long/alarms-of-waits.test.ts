/** The alarms over waits in virtual time: what rings, within how many minutes, and what stays silent. */

import { describe, expect, test } from 'vitest';
import { countedBy, firstOf, judge, judgeWait, QUIET_HOURS, rung } from '../support/alarms.ts';
import { fails, ids, says, type World, wait } from '../support/wait.ts';

describe.each([60, 300, 1800, 3600])('a wait with a poll in %i s', (pollSeconds) => {
  /** Long enough for each alarm to be on, and at frequent polls no longer. */
  const hoursLong = QUIET_HOURS + (pollSeconds < 1800 ? 3 : 8);
  const working: World['atlas'] = () => says('WORKING', false);
  const between = (hours: number, from: number, to: number) => hours >= from && hours < to;

  test('rings when Atlas is down, and after an hour once more', async () => {
    const changes = await judgeWait(
      { atlas: ({ hours }) => (hours >= QUIET_HOURS ? fails('AtlasUnavailable') : says('WORKING', false)) },
      { pollSeconds },
      hoursLong,
    );
    expect(rung(changes).sort()).toEqual(['Unanswered', 'WaitsWithoutAnswer']);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual(pollSeconds / 60 + 15);
    expect(changes).toHaveLength(2);
  });

  test.each(['Lambda.TooManyRequestsException', 'States.Timeout', 'Anything else'])(
    'rings when polls fail with %s for an hour, although the function writes nothing',
    async (name) => {
      const { counted } = await wait(
        { atlas: ({ hours }) => (hours >= QUIET_HOURS ? fails(name) : says('WORKING', false)) },
        { ...ids, pollSeconds },
        { hours: hoursLong },
      );
      const changes = judge([], hoursLong, countedBy(counted));
      expect(rung(changes)).toEqual(['WaitsWithoutAnswer']);
      expect(firstOf(changes)).toBeGreaterThanOrEqual((QUIET_HOURS + 1) * 60);
      expect(firstOf(changes)).toBeLessThanOrEqual((QUIET_HOURS + 1) * 60 + (2 * pollSeconds) / 60 + 15);
      expect(changes).toHaveLength(1);
    },
  );

  test('rings when events are refused for an hour, also before it ends', async () => {
    const changing: World['atlas'] = ({ hours }) => says(hours < QUIET_HOURS ? 'NEW' : 'WORKING', false);
    const bus: World['bus'] = ({ hours }) => (hours >= QUIET_HOURS ? fails('EventBridge.FailedEntry') : undefined);
    const going = await judgeWait({ atlas: changing, bus }, { pollSeconds }, hoursLong);
    expect(rung(going)).toEqual(['EventsRefused']);
    expect(firstOf(going) - QUIET_HOURS * 60).toBeLessThanOrEqual((3 * pollSeconds) / 60 + 2);
    expect(going).toHaveLength(1);
    const ending = await judgeWait(
      { atlas: ({ hours }) => says(hours < QUIET_HOURS ? 'WORKING' : 'COMPLETE', false), bus },
      { pollSeconds },
      hoursLong,
    );
    expect(rung(ending)).toEqual(['EventsRefused']);
  });

  test('rings when a reminder can not be started, and not when that happens once', async () => {
    const refusing = (most: number): World => ({
      atlas: ({ hours }) => says('WORKING', hours >= QUIET_HOURS),
      start: ({ executions }, machine) => {
        const isRefused = machine === 'remindOfCutover' && refused < most && executions.length > 0;
        refused += Number(isRefused);
        return isRefused ? fails('StepFunctions.ThrottlingException') : undefined;
      },
    });
    let refused = 0;
    const changes = await judgeWait(refusing(1000), { pollSeconds }, hoursLong);
    expect(changes.map(({ alarm }) => alarm)).toEqual(['RemindersRefused']);
    expect(firstOf(changes) - QUIET_HOURS * 60).toBeLessThanOrEqual((3 * pollSeconds) / 60 + 2);
    refused = 0;
    expect(await judgeWait(refusing(1), { pollSeconds }, hoursLong)).toEqual([]);
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
    expect(await judgeWait({ atlas: working }, { pollSeconds }, hoursLong)).toEqual([]);
    expect(
      await judgeWait(
        {
          atlas: ({ hours }) =>
            between(hours, QUIET_HOURS, QUIET_HOURS + 0.003) ? fails('AtlasTimedOut') : says('NEW'),
        },
        { pollSeconds },
        hoursLong,
      ),
    ).toEqual([]);
  });

  test.each(['FAILED', 'EXPIRED', 'COMPLETE'] as const)(
    'is silent when the live migration ends as %s',
    async (status) => {
      expect(
        await judgeWait(
          { atlas: ({ hours }) => says(hours < QUIET_HOURS ? 'WORKING' : status) },
          { pollSeconds },
          hoursLong,
        ),
      ).toEqual([]);
    },
  );

  test.each(['InvalidRequest', 'ProjectNotFound', 'LiveMigrationNotFound'])(
    'is silent when it was started with a mistyped id: %s',
    async (name) => {
      expect(await judgeWait({ atlas: () => fails(name) }, { pollSeconds }, hoursLong)).toEqual([]);
    },
  );

  test('is silent when a live migration is ready for cutover, and eleven others are', async () => {
    expect(
      await judgeWait({ atlas: () => says('WORKING', true), waits: 12 }, { pollSeconds }, pollSeconds < 1800 ? 5 : 30),
    ).toEqual([]);
  });

  test('is silent while Atlas is down for two minutes', async () => {
    for (const seconds of [0, 55]) {
      const begin = QUIET_HOURS + seconds / 3600;
      const atlas: World['atlas'] = ({ hours }) =>
        between(hours, begin, begin + 2 / 60) ? fails('AtlasUnavailable') : says('WORKING', false);
      expect(await judgeWait({ atlas }, { pollSeconds }, hoursLong)).toEqual([]);
    }
  });

  test('rings once when the bus refuses three times, and is silent when it refuses twice', async () => {
    const bus =
      (times: number): World['bus'] =>
      ({ count }) =>
        count <= times ? fails('EventBridge.FailedEntry') : undefined;
    expect(await judgeWait({ atlas: working, bus: bus(3) }, { pollSeconds }, hoursLong)).toHaveLength(2);
    expect(await judgeWait({ atlas: working, bus: bus(2) }, { pollSeconds }, hoursLong)).toEqual([]);
  });

  test('is silent when the bus refuses one event once', async () => {
    const bus: World['bus'] = ({ count }) => (count === 1 ? fails('EventBridge.FailedEntry') : undefined);
    expect(await judgeWait({ atlas: working, bus }, { pollSeconds }, hoursLong)).toEqual([]);
  });
});
