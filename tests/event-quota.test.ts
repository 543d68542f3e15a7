/**
 * The history of an execution is limited to 25,000 events, and each state transition costs money. Both are counted here
 * as the definitions run. The arithmetic is in docs/waiting.md; tests/long/event-quota.test.ts runs the longest waits.
 */

import { expect, test } from 'vitest';
import { fails, ids, says, type World, wait } from './support/wait.ts';

test('a quiet poll costs three state transitions and nine events', async () => {
  const costs = async (polls: number) => {
    const { executions } = await wait({ atlas: ({ count }) => says(count < polls ? 'WORKING' : 'COMPLETE') });
    const sum = (figure: 'transitions' | 'events') => executions.reduce((all, execution) => all + execution[figure], 0);
    return { transitions: sum('transitions'), events: sum('events') };
  };
  const [some, more] = [await costs(10), await costs(60)];
  expect({ transitions: more.transitions - some.transitions, events: more.events - some.events }).toEqual({
    transitions: 150,
    events: 450,
  });
});

test('a round costs eight events in the history of the execution that waits', async () => {
  const history = async (polls: number) => {
    const { started } = await wait({
      atlas: ({ count }) => says(count < polls ? 'WORKING' : 'COMPLETE'),
      roundEvents: 600,
    });
    return { rounds: started('pollLiveMigration').length, events: started('awaitLiveMigration')[0]?.events ?? 0 };
  };
  const [some, more] = [await history(10), await history(150)];
  expect(more.rounds).toBe(some.rounds + 2);
  expect(more.events).toBe(some.events + 16);
});

const down = () => fails('Made up');
/** A count that is wrong is so by the same share in short rounds and in long ones. */
const roundEvents = 600;
const worlds: [string, World][] = [
  ['quiet', { atlas: () => says('WORKING') }],
  ['all failing', { atlas: ({ count }) => (count === 1 ? says('WORKING') : down()) }],
  ['a change at every poll', { atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING') }],
  ['ready for cutover at every second poll', { atlas: ({ count }) => says('WORKING', count % 2 === 1) }],
  [
    'a change at every poll, all of it refused',
    {
      atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING', true),
      bus: down,
      metrics: down,
      start: (_, machine) => (machine === 'remindOfCutover' ? down() : undefined),
    },
  ],
  [
    'the end comes when the round is nearly full, and nothing can be told',
    {
      atlas: ({ executions }) => says((executions.at(-1)?.events ?? 0) > roundEvents - 20 ? 'COMPLETE' : 'WORKING'),
      bus: ({ count }) => (count === 1 ? undefined : down()),
    },
  ],
];

test.each(worlds)('a round at a poll a second stays within its history, and fills 48 minutes: %s', async (_, world) => {
  const { started } = await wait({ ...world, roundEvents }, { ...ids, pollSeconds: 1, giveUpAfterSeconds: 2990 });
  const rounds = started('pollLiveMigration');
  expect(Math.max(...rounds.map(({ events }) => events))).toBeGreaterThan(0.9 * roundEvents);
  // As 25,000 are more than 24,000: by the same share, and in the last round, which has an hour for its event, by as many.
  expect(rounds.at(-1)?.events).toBeLessThanOrEqual(roundEvents + 1000);
  for (const [at, { startedAt, events }] of rounds.slice(0, -1).entries()) {
    expect(events).toBeLessThanOrEqual((roundEvents * 25) / 24);
    const next = rounds[at + 1]?.input as {
      memory: { nextAt: number; isNews: boolean; handOvers: number };
    };
    // A change is handed over at once, a hundred times at most.
    expect(next.memory.handOvers).toBeLessThanOrEqual(100);
    if (!next.memory.isNews) expect(next.memory.nextAt - startedAt).toBeGreaterThanOrEqual(2_880_000);
  }
});
