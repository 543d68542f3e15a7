/** The reminder: the 120 hours after a live migration became ready for cutover, in virtual time. */

import { describe, expect, test } from 'vitest';
import { fails, type Happening, ids, says, topic, type World, wait } from './support/wait.ts';

const { groupId, liveMigrationId } = ids;
const ready = says('WORKING', true);
const notReady = says('WORKING', false);
/** Ready from the second hour on, so that hours of readiness and of the wait differ. */
const readyFrom2: World['atlas'] = ({ hours }) => (hours < 2 ? notReady : ready);
const dueAt = [24, 72, 96, 114].map((hours) => hours + 2);

const rounded = (hours: number) => Math.round(hours * 100) / 100;
const between = (hours: number, from: number, to: number) => hours >= from && hours < to;

/** The wait gives up early, and leaves the reminder alone. */
async function remind(world: World, input: object = {}) {
  const happened = await wait(
    world,
    { ...ids, pollSeconds: 600, giveUpAfterSeconds: 3 * 3600, ...input },
    { hours: 150 },
  );
  return {
    ...happened,
    events: happened.reminders.map(({ hours, hoursLeft }) => [rounded(hours), hoursLeft]),
    sent: happened.messages.map(({ hours, Subject }) => [rounded(hours), Number(/\d+/.exec(Subject)?.[0])]),
  };
}

test('four times, as long as it is ready: an event and a message', async () => {
  const { events, sent, reminders, messages, entries, started } = await remind({ atlas: readyFrom2 });
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
  const [reminder] = started('remindOfCutover');
  expect(reminder).toMatchObject({ isRunning: false, name: `${liveMigrationId}-2026-11-25` });
  expect(reminder?.transitions).toBeLessThanOrEqual(32);
  expect(reminder?.events).toBeLessThanOrEqual(100);
});

test('without a topic, events alone', async () => {
  const { events, sent, started } = await remind({ atlas: readyFrom2, alarmTopicArn: '' });
  expect(events).toHaveLength(4);
  expect(sent).toEqual([]);
  expect(started('remindOfCutover')[0]?.isRunning).toBe(false);
});

test.each<[string, (hours: number) => ReturnType<typeof says>, number]>([
  ['is no longer ready', (hours) => (between(hours, 2, 50) ? ready : notReady), 1],
  ['does not say any more', (hours) => (between(hours, 2, 80) ? ready : says('WORKING', null)), 2],
  ['is complete', (hours) => (between(hours, 2, 100) ? ready : hours < 2 ? notReady : says('COMPLETE')), 3],
  [
    'is expired, and called ready',
    (hours) => (between(hours, 2, 20) ? ready : hours < 2 ? notReady : says('EXPIRED', true)),
    0,
  ],
])('stops when it %s', async (_, course, expected) => {
  const { events, sent, started } = await remind({ atlas: ({ hours }) => course(hours) });
  expect(events).toHaveLength(expected);
  expect(sent).toHaveLength(expected);
  expect(started('remindOfCutover')[0]?.isRunning).toBe(false);
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

  test('to the end, it ends with the hours', async () => {
    const { events, started } = await remind({
      atlas: (now) => (now.hours > 92 ? fails('Lambda.Unknown') : readyFrom2(now)),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 48]);
    expect(started('remindOfCutover')[0]).toMatchObject({ isRunning: false });
    // These are 30 of the 120 hours.
    expect(started('remindOfCutover')[0]?.events).toBeLessThan(25_000 / 4);
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
      expect(events[0]).toEqual([to, [48, 24, 6][at]]);
      expect(sent).toEqual(events);
    },
  );

  test.each(['InvalidRequest', 'LiveMigrationNotFound'])('with %s, it stops', async (name) => {
    const { events } = await remind({
      atlas: (now) => (between(now.hours, 50, 80) ? fails(name) : readyFrom2(now)),
    });
    // The second one is due in that time; after it, the two others would be.
    expect(events).toHaveLength(1);
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
    const { events, sent, started } = await remind({
      atlas: readyFrom2,
      topic: ({ hours }) => (hours > 80 ? fails('SNS.NotFoundException') : undefined),
    });
    expect(events.map(([, left]) => left)).toEqual([96, 48, 24, 6]);
    expect(sent.map(([, left]) => left)).toEqual([96, 48]);
    expect(started('remindOfCutover')[0]?.isRunning).toBe(false);
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

describe('one for each live migration and day', () => {
  test('two waits on one migration have one', async () => {
    const { started, events } = await remind({ atlas: readyFrom2, waits: 2 });
    expect(started('awaitLiveMigration')).toHaveLength(2);
    expect(started('remindOfCutover')).toHaveLength(1);
    expect(events).toHaveLength(4);
  });

  test('a wait that begins when it is ready already starts one; ready again on another day, another one', async () => {
    const { started } = await remind(
      { atlas: ({ hours }) => (between(hours, 3, 30) ? notReady : ready) },
      { pollSeconds: 1800, giveUpAfterSeconds: 31 * 3600 },
    );
    expect(started('remindOfCutover').map(({ name }) => name.slice(25))).toEqual(['2026-11-25', '2026-11-26']);
  });

  test('ready again on the same day, no other one, and the wait goes on', async () => {
    const { started, counts } = await remind({
      atlas: ({ hours }) => (between(hours, 1, 2) ? notReady : ready),
    });
    expect(started('remindOfCutover')).toHaveLength(1);
    expect(counts).toEqual({});
  });

  test('a migration that was never ready, or is terminal, has none', async () => {
    const { started } = await remind({ atlas: ({ hours }) => (hours < 2 ? notReady : says('EXPIRED', true)) });
    expect(started('remindOfCutover')).toEqual([]);
  });
});
