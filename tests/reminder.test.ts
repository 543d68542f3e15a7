/** The reminder, from when a live migration is ready for cutover until it is over, in virtual time. */

import { describe, expect, test } from 'vitest';
import type { LiveMigration } from '#contract';
import { fails, type Happening, ids, says, topic, type World, wait } from './support/wait.ts';

const { groupId, liveMigrationId } = ids;
const ready = says('WORKING', true);
const notReady = says('WORKING', false);
/** Ready from the second hour on, so that hours of readiness and of the wait differ. */
const readyFrom2: World['atlas'] = ({ hours }) => (hours < 2 ? notReady : ready);
const dueAt = [24, 72, 96, 114].map((hours) => hours + 2);

const rounded = (hours: number) => Math.round(hours * 100) / 100;
const between = (hours: number, from: number, to: number) => hours >= from && hours < to;

/** The wait gives up early, and leaves the reminder alone: here until the first 120 hours are over. */
async function remind(world: World, input: object = {}, hours = 122.5) {
  const happened = await wait(world, { ...ids, pollSeconds: 600, giveUpAfterSeconds: 3 * 3600, ...input }, { hours });
  return {
    ...happened,
    reminder: happened.started('remindOfCutover')[0],
    events: happened.reminders.map(({ hours, hoursLeft }) => [rounded(hours), hoursLeft]),
    sent: happened.messages.map(({ hours, Subject }) => [
      rounded(hours),
      /\d+/.test(Subject) ? Number(/\d+/.exec(Subject)?.[0]) : null,
    ]),
  };
}

test('four times, as long as it is ready: an event and a message', async () => {
  const { events, sent, reminders, messages, entries, reminder, started } = await remind({ atlas: readyFrom2 });
  expect(events).toEqual(dueAt.map((hours, at) => [hours, [96, 48, 24, 6][at]]));
  expect(sent).toEqual(events);
  const { hours: _, ...detail } = reminders[0] ?? { hours: 0 };
  expect(detail).toEqual({ ...ready, hoursLeft: 96 });
  expect(entries.filter(({ DetailType }) => DetailType === 'Live Migration Cutover Due')).toEqual(
    Array(4).fill({
      EventBusName: 'default',
      Source: 'atlas.live-migration',
      DetailType: 'Live Migration Cutover Due',
    }),
  );
  for (const { TopicArn, Message } of messages) {
    expect(TopicArn).toBe(topic);
    for (const text of [groupId, liveMigrationId, 'hours are left', 'start the cutover'])
      expect(Message).toContain(text);
  }
  for (const { Subject } of messages) expect(Subject).toMatch(/^[\x20-\x7e]{1,99}$/);
  expect(started('remindOfCutover')).toHaveLength(1);
  expect(reminder).toMatchObject({ name: liveMigrationId });
});

test('an extended cutover: one event and one message a day, for as long as Atlas says ready', async () => {
  const { events, sent, messages, reminder } = await remind(
    { atlas: (now) => (now.hours < 242 ? readyFrom2(now) : says('EXPIRED')) },
    {},
    270,
  );
  expect(events.slice(4)).toEqual([123, 147, 171, 195, 219].map((hours) => [hours, null]));
  expect(sent).toEqual(events);
  expect(messages.at(-1)?.Message).toContain('the time may have been extended. Only Atlas knows how long.');
  expect(messages.at(-1)?.Subject).toMatch(/^[\x20-\x7e]{1,99}$/);
  expect(reminder?.isRunning).toBe(false);
});

test('without a topic, events alone', async () => {
  const { events, sent } = await remind({ atlas: readyFrom2, alarmTopicArn: '' });
  expect(events).toHaveLength(4);
  expect(sent).toEqual([]);
});

test.each<[string, (hours: number) => LiveMigration, number]>([
  ['is complete', (hours) => (hours < 2 ? notReady : between(hours, 2, 100) ? ready : says('COMPLETE')), 3],
  ['is complete, and nothing else is said', (hours) => (hours < 80 ? ready : says('COMPLETE', null)), 2],
  ['is expired, and called ready', (hours) => (hours < 20 ? ready : says('EXPIRED', true)), 0],
])('ends when it %s', async (_, course, expected) => {
  const { events, sent, reminder } = await remind({ atlas: ({ hours }) => course(hours) });
  expect(events).toHaveLength(expected);
  expect(sent).toHaveLength(expected);
  expect(reminder?.isRunning).toBe(false);
});

describe('an answer that does not say', () => {
  test.each([
    says('WORKING', null),
    says('UNKNOWN', null),
    says('UNKNOWN', false),
    says('UNKNOWN', true),
    'text',
    null,
  ])('counts as none, in the reminder: %j', async (odd) => {
    const { events, sent } = await remind({
      atlas: (now) => (between(now.hours, 25.9, 26.1) ? (odd as LiveMigration) : readyFrom2(now)),
    });
    expect(events).toEqual(dueAt.map((hours, at) => [at === 0 ? 26.17 : hours, [96, 48, 24, 6][at]]));
    expect(sent).toEqual(events);
  });

  test.each([says('WORKING', null), says('UNKNOWN', null), says('UNKNOWN', false)])(
    'makes no hours count anew, in the wait: %j',
    async (odd) => {
      const refused = fails('StepFunctions.ThrottlingException');
      const { events } = await remind(
        {
          atlas: (now) => (between(now.hours, 3, 3.5) ? odd : readyFrom2(now)),
          start: ({ hours }, machine) => (machine === 'remindOfCutover' && hours < 4 ? refused : undefined),
        },
        { giveUpAfterSeconds: 6 * 3600 },
      );
      expect(events.map(([hours]) => hours)).toEqual(dueAt);
    },
  );

  test('starts no reminder, but where it ends the wait as ready, there is one', async () => {
    const world: World = { atlas: ({ hours }) => (hours < 1 ? notReady : says('UNKNOWN', true)) };
    const polling = await remind(world);
    expect(polling.started('remindOfCutover')).toEqual([]);
    const ended = await remind(world, { until: 'READY_FOR_CUTOVER' });
    expect(ended.ending).toMatchObject({ document: { readyForCutover: true } });
    expect(ended.started('remindOfCutover')).toHaveLength(1);
  });

  test('is no second "not ready"', async () => {
    const { events } = await remind({
      atlas: (now) =>
        between(now.hours, 25.9, 26.1) ? notReady : between(now.hours, 26.1, 28) ? says('UNKNOWN') : readyFrom2(now),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 48, 24, 6]);
    expect(events[0]?.[0]).toBeLessThan(28.2);
  });
});

describe('not ready any more', () => {
  test.each(dueAt)('once, at hour %i: it is asked once more after ten minutes, and goes on', async (due) => {
    const { events, sent } = await remind({
      atlas: (now) => (between(now.hours, due - 0.1, due + 0.1) ? notReady : readyFrom2(now)),
    });
    expect(events).toEqual(dueAt.map((hours, at) => [hours === due ? hours + 0.17 : hours, [96, 48, 24, 6][at]]));
    expect(sent).toEqual(events);
  });

  test('once at each, also while the topic refuses: only two in a row pause it', async () => {
    const isOnce = (hours: number) => [...dueAt, 27].some((at) => between(hours, at - 0.1, at + 0.1));
    const { events } = await remind({
      atlas: (now) => (isOnce(now.hours) ? notReady : readyFrom2(now)),
      topic: () => fails('SNS.NotFoundException'),
    });
    expect(events.map(([hours]) => hours)).toEqual(dueAt.map((hours) => rounded(hours + 1 / 6)));
  });

  test('once at each of two, with no answer between them, and then ready', async () => {
    const { events } = await remind({
      atlas: (now) => {
        const isOnce = [26, 74].some((due) => between(now.hours, due - 0.1, due + 0.1));
        return isOnce ? notReady : between(now.hours, 26, 73.9) ? says('UNKNOWN') : readyFrom2(now);
      },
    });
    expect(events.map(([hours, left]) => [hours, left])).toEqual([
      [74.17, 48],
      [98, 24],
      [116, 6],
    ]);
  });

  test('at its end, it asks no later than that', async () => {
    const { polls, reminder } = await remind(
      {
        atlas: ({ hours }) => (hours < 2159 ? ready : notReady),
        // The last one is due five minutes before the end.
        reminder: { ...ids, readyAt: Date.UTC(2026, 10, 25) - 65 * 60_000 },
      },
      {},
      2165,
    );
    expect(reminder?.isRunning).toBe(false);
    expect(Math.max(...polls)).toBeGreaterThan(2159.9);
    expect(Math.max(...polls)).toBeLessThanOrEqual(2160);
  });

  test('twice, ten minutes apart: it pauses, asks once an hour, and the hours count from when it is ready again', async () => {
    const { events, sent, polls, reminder } = await remind(
      { atlas: (now) => (between(now.hours, 50, 80) ? notReady : readyFrom2(now)) },
      {},
      210,
    );
    expect(polls.filter((hours) => between(hours, 73, 81)).map(rounded)).toEqual([
      ...[74, 74.17, 75.17, 76.17, 77.17, 78.17, 79.17],
      80.17,
    ]);
    expect(events).toEqual([
      [26, 96],
      ...[24, 72, 96, 114, 121].map((due, at) => [rounded(due + 80.17), [96, 48, 24, 6, null][at]]),
    ]);
    expect(sent).toEqual(events);
    expect(reminder?.isRunning).toBe(true);
  });

  test('while it pauses, an answer that does not say and a failure change nothing, and the end ends it', async () => {
    const { events, polls, reminder } = await remind({
      atlas: ({ hours }) =>
        hours < 10
          ? ready
          : hours < 30
            ? notReady
            : hours < 40
              ? says('WORKING', null)
              : hours < 50
                ? fails('AtlasUnavailable')
                : says('EXPIRED', null),
    });
    expect(events).toEqual([]);
    expect(polls.filter((hours) => between(hours, 25, 60))).toHaveLength(26);
    expect(reminder).toMatchObject({ isRunning: false });
  });
});

describe('where Atlas fails', () => {
  test.each(dueAt)('for three hours from hour %i on, that one comes late', async (due) => {
    const { events, sent } = await remind({
      atlas: (now) => (between(now.hours, due - 0.1, due + 3) ? fails('AtlasUnavailable') : readyFrom2(now)),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 48, 24, 6]);
    const late = dueAt.indexOf(due);
    expect(events[late]?.[0]).toBeGreaterThanOrEqual(due + 3);
    expect(events[late]?.[0]).toBeLessThan(due + 3.2);
    expect(sent).toEqual(events);
  });

  test('until the next one is due, that one is left out', async () => {
    const { events } = await remind({
      atlas: (now) => (between(now.hours, 70, 102) ? fails('AtlasCredentialsRejected') : readyFrom2(now)),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 24, 6]);
    expect(events[1]?.[0]).toBeGreaterThanOrEqual(102);
  });

  test.each([0, 1, 2])(
    'until the next one is due (after number %i), the next one alone comes, and on time',
    async (at) => {
      // Polls of 42 minutes see that it is ready six minutes later. The start of the reminder is refused for a while, so
      // that the ten minutes between two attempts do not end with an hour.
      const [from, to] = [(dueAt[at] ?? 0) + 0.1, (dueAt[at + 1] ?? 0) + 0.1];
      const { events, sent } = await remind(
        {
          atlas: (now) => (between(now.hours, from - 1, to - 0.001) ? fails('AtlasTimedOut') : readyFrom2(now)),
          start: ({ hours }, machine) =>
            machine === 'remindOfCutover' && hours < from + 0.05
              ? fails('StepFunctions.ThrottlingException')
              : undefined,
        },
        { pollSeconds: 2520, giveUpAfterSeconds: Math.round((from + 1) * 3600) },
      );
      expect(events[0]).toEqual([rounded(to), [48, 24, 6][at]]);
      expect(sent).toEqual(events);
    },
  );

  test.each(['InvalidRequest', 'LiveMigrationNotFound'])('with %s, it ends', async (name) => {
    const { events, reminder } = await remind({
      atlas: (now) => (between(now.hours, 50, 80) ? fails(name) : readyFrom2(now)),
    });
    // The second one is due in that time; after it, the two others would be.
    expect(events).toHaveLength(1);
    expect(reminder?.isRunning).toBe(false);
  });
});

describe('what is refused', () => {
  test('an event that the bus refuses keeps no message back, and comes later', async () => {
    const { events, sent, counts } = await remind({
      atlas: readyFrom2,
      bus: ({ hours }) => (between(hours, 25, 26.75) ? fails('EventBridge.FailedEntry') : undefined),
    });
    expect(sent.map(([hours]) => hours)).toEqual(dueAt);
    expect(events[0]?.[0]).toBeGreaterThanOrEqual(26.75);
    expect(events[0]?.[0]).toBeLessThan(27);
    expect(events[0]?.[1]).toBe(96);
    expect(counts['EventsRefused']).toBe(5);
  });

  test('a message that the topic refuses keeps no event back, and comes later', async () => {
    const { events, sent, counts } = await remind({
      atlas: readyFrom2,
      topic: ({ hours }) => (between(hours, 70, 75) ? fails('SNS.AuthorizationErrorException') : undefined),
    });
    expect(events.map(([hours]) => hours)).toEqual(dueAt);
    expect(sent.map(([, left]) => left)).toEqual([96, 48, 24, 6]);
    expect(sent[1]?.[0]).toBeGreaterThanOrEqual(75);
    expect(counts['RemindersRefused']).toBeGreaterThan(1);
  });

  test('a topic that is gone for ever costs no event', async () => {
    const { events, sent } = await remind({
      atlas: readyFrom2,
      topic: ({ hours }) => (hours > 80 ? fails('SNS.NotFoundException') : undefined),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 48, 24, 6]);
    expect(sent.map(([, left]) => left)).toEqual([96, 48]);
  });

  const refusedUntil =
    (hour: number, name = 'StepFunctions.ThrottlingException'): World['start'] =>
    ({ hours }: Happening, machine) =>
      machine === 'remindOfCutover' && hours < hour ? fails(name) : undefined;

  test('a start is made again with the next poll, and the hours count from when it became ready', async () => {
    const { events, counts } = await remind(
      { atlas: readyFrom2, start: refusedUntil(5) },
      { giveUpAfterSeconds: 6 * 3600 },
    );
    expect(events.map(([hours]) => hours)).toEqual(dueAt);
    expect(counts['RemindersRefused']).toBeGreaterThan(10);
  });

  test('a start is made again for up to an hour before a wait ends', async () => {
    const input = { until: 'READY_FOR_CUTOVER' };
    const soon = await remind({ atlas: readyFrom2, start: refusedUntil(2.7) }, input);
    expect(soon.ending).toMatchObject({ document: { readyForCutover: true } });
    expect(soon.endedAfterHours).toBeLessThan(2.8);
    expect(soon.events).toHaveLength(4);
    const never = await remind({ atlas: readyFrom2, start: refusedUntil(1000) }, input);
    expect(never.ending).toMatchObject({ document: { readyForCutover: true } });
    expect(never.endedAfterHours).toBeLessThan(3.1);
    expect(never.events).toEqual([]);
  });
});

describe('one for each live migration', () => {
  test('two waits on one migration have one', async () => {
    const { started, events, counts } = await remind({ atlas: readyFrom2, waits: 2 });
    expect(started('awaitLiveMigration')).toHaveLength(2);
    expect(started('remindOfCutover')).toHaveLength(1);
    expect(events).toHaveLength(4);
    expect(counts).toEqual({});
  });

  test.each([
    ['on the same day', 2, 'TERMINAL'],
    ['on another day', 30, 'TERMINAL'],
  ])('a wait that begins when it is ready already starts one, and ready again %s no other one', async (_, again) => {
    const { started, counts } = await remind(
      { atlas: ({ hours }) => (between(hours, 1, again) ? notReady : ready) },
      { pollSeconds: 1800, giveUpAfterSeconds: 31 * 3600 },
    );
    expect(started('remindOfCutover')).toHaveLength(1);
    expect(counts).toEqual({});
  });

  test('however it was started: with any input, or by hand with none', async () => {
    // Ready a day before, says the one; the other one asks after a day. It is ready from hour 2 on.
    for (const [input, first] of [
      [{ ...ids, readyAt: Date.UTC(2026, 10, 24) }, 26.17],
      [ids, 24],
    ] as const) {
      const { started, events, counts } = await remind({ atlas: readyFrom2, reminder: input });
      expect(started('remindOfCutover')).toHaveLength(1);
      expect(counts).toEqual({});
      expect(events[0]).toEqual([first, 96]);
    }
  });

  test.each([
    ['years', 0, null],
    ['97 hours', Date.UTC(2026, 10, 20, 23), 24],
  ])('where it became ready %s ago, it asks once and sends the one that is due', async (_, readyAt, hoursLeft) => {
    const { events, outcomes } = await remind(
      { atlas: () => ready, reminder: { ...ids, readyAt } },
      { until: 'READY_FOR_CUTOVER' },
      1,
    );
    expect(events).toEqual([[0, hoursLeft]]);
    // The wait asks as well.
    expect(outcomes).toHaveLength(2);
  });

  test('a migration that was never ready, or is terminal, has none', async () => {
    const { started } = await remind({ atlas: ({ hours }) => (hours < 2 ? notReady : says('EXPIRED', true)) });
    expect(started('remindOfCutover')).toEqual([]);
  });
});
