/** The reminder over 90 days, against the history of 25,000 events that an execution has. docs/waiting.md has the table. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fails, ids, says, type World, wait } from '../support/wait.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/waiting.md'), 'utf8');
const isDown = () => fails('Made up');
const between = (hours: number, from: number, to: number) => hours >= from && hours < to;

/** Ready from the beginning, and expired after so many hours; before, what that says. */
const until =
  (end: number, before: World['atlas'] = () => says('WORKING', true)): World['atlas'] =>
  (now) =>
    now.hours < end ? before(now) : says('EXPIRED');

/** Each with the most events that its history may have. */
const timelines: [string, World, number?][] = [
  ['the cutover is started after 20 hours', { atlas: until(20) }],
  ['not extended: it expires after 120 hours', { atlas: until(120) }],
  ['extended once, to 240 hours', { atlas: until(240) }],
  ['extended twice, to 360 hours', { atlas: until(360) }],
  ['ready for 90 days', { atlas: until(Number.POSITIVE_INFINITY) }],
  [
    'ready; not ready from hour 23 to 29; then ready for 120 hours',
    { atlas: until(149, ({ hours }) => says('WORKING', !between(hours, 23, 29))) },
  ],
  [
    'Atlas fails from hour 100 to 400; it expires after 480',
    {
      atlas: until(480, ({ hours }) => (between(hours, 100, 400) ? fails('AtlasUnavailable') : says('WORKING', true))),
    },
  ],
  [
    'the bus refuses from hour 119 to 130; it expires after 240',
    { atlas: until(240), bus: ({ hours }) => (between(hours, 119, 130) ? isDown() : undefined) },
  ],
  [
    'Atlas fails for three weeks from hour 10 on; it expires after 600',
    { atlas: until(600, ({ hours }) => (between(hours, 10, 514) ? fails('AtlasTimedOut') : says('WORKING', true))) },
    12_000,
  ],
  ['Atlas fails from hour 10 on', { atlas: ({ hours }) => (hours > 10 ? isDown() : says('WORKING', true)) }],
  ['not ready from hour 10 on', { atlas: ({ hours }) => says('WORKING', hours < 10) }],
  [
    'bus, topic and metrics refuse everything, for 90 days',
    {
      atlas: () => says('WORKING', true),
      bus: ({ hours }) => (hours > 1 ? isDown() : undefined),
      topic: isDown,
      metrics: isDown,
    },
  ],
];

test('a topic that refuses for ever costs no event, also where the bus refuses for a moment, and its alarm stays on', async () => {
  const { reminders, counted, started } = await wait(
    {
      atlas: () => says('WORKING', true),
      topic: isDown,
      bus: ({ hours }) => ((hours - 1) % 240 < 0.1 && hours > 700 ? isDown() : undefined),
    },
    { ...ids, until: 'READY_FOR_CUTOVER' },
    { hours: 91 * 24 },
  );
  expect(reminders).toHaveLength(89);
  for (const [at, { hours }] of reminders.entries()) expect(hours).toBeLessThan((at < 4 ? 114 : 25 + 24 * at) + 3.1);
  expect(started('remindOfCutover')[0]?.events).toBeLessThan(20_000);
  // The alarm wants three in 200 minutes.
  const refusals = counted.filter(({ MetricName }) => MetricName === 'RemindersRefused');
  for (let hour = 28; hour < 2150; hour += 0.5) {
    const inTime = refusals.filter(({ hours }) => hours > hour - 200 / 60 && hours <= hour);
    expect(
      inTime.reduce((sum, { Value }) => sum + Value, 0),
      `hour ${hour}`,
    ).toBeGreaterThanOrEqual(3);
  }
});

test('any order of answers, failures and refusals: the history is never full, and it ends in time', async () => {
  const anything = fc.record({
    ready: fc.nat(100),
    refused: fc.nat(100),
    hours: fc.integer({ min: 1, max: 60 }),
    seed: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(anything, async ({ ready, refused, hours: period, seed }) => {
      /** A number below 100 for each period of each service. */
      const draw = (hours: number, service: number) =>
        createHash('sha256')
          .update(`${seed} ${service} ${Math.floor(hours / (period / 10))}`)
          .digest()
          .readUInt16LE() % 100;
      const answers = [says('WORKING', false), says('WORKING', null), fails('AtlasTimedOut')];
      const refuses =
        (service: number) =>
        ({ hours }: { hours: number }) =>
          draw(hours, service) < refused && hours > 1 ? isDown() : undefined;
      const { started } = await wait(
        {
          atlas: ({ hours }) =>
            hours < 1 || draw(hours, 0) < ready ? says('WORKING', true) : (answers[draw(hours, 1) % 3] as never),
          bus: refuses(2),
          topic: refuses(3),
          metrics: isDown,
        },
        { ...ids, until: 'READY_FOR_CUTOVER' },
        { hours: 91 * 24 },
      );
      const [reminder] = started('remindOfCutover');
      expect(reminder?.isRunning).toBe(false);
      await expect(reminder?.result).resolves.toBeDefined();
      expect(reminder?.events).toBeLessThan(24_900);
    }),
    { numRuns: 10 },
  );
});

const list = (hours: number[]) => {
  const rounded = hours.map((hour) => String(Math.round(hour * 10) / 10));
  return rounded.length > 9 ? `${rounded.slice(0, 5).join(', ')}, … ${rounded.at(-1)}` : rounded.join(', ') || 'none';
};
const thousands = (number: number) => number.toLocaleString('en-US');

test.each(timelines)('%s', async (what, world, most = 24_900) => {
  const { reminders, messages, started, outcomes } = await wait(
    { ...world },
    { ...ids, until: 'READY_FOR_CUTOVER' },
    { hours: 91 * 24 },
  );
  const [reminder] = started('remindOfCutover');
  if (!reminder) throw new Error('There is no reminder.');
  expect(reminder.isRunning).toBe(false);
  expect(reminder.events).toBeLessThanOrEqual(most);
  const price = (reminder.transitions * 0.025) / 1000;
  const row = [
    what,
    list(reminders.map(({ hours }) => hours)),
    messages.length,
    outcomes.length - 1,
    thousands(reminder.transitions),
    thousands(reminder.events),
    price < 0.01 ? 'less than 0.01' : price.toFixed(2),
  ];
  const shown = page.split('\n').filter((line) => line.startsWith(`| ${what} |`));
  expect(shown).toEqual([`| ${row.join(' | ')} |`]);
});
