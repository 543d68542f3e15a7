/**
 * The history of an execution is limited to 25,000 events, and each state transition costs money. Both are counted here
 * as the definitions run, for the longest waits that the input allows. The arithmetic is in docs/waiting.md.
 */

import { expect, test } from 'vitest';
import { createStepFunctions, type Definition, type Service, TaskError } from '../embedded/step-functions.ts';
import { readDefinition } from '../embedded/waiting.ts';
import { virtualClock } from './support/virtual-clock.ts';
import { fails, ids, says, type World, wait } from './support/wait.ts';

const LIMIT = 25_000;
const longest = { ...ids, pollSeconds: 1, giveUpAfterSeconds: 7_776_000 };

test('a quiet poll costs three state transitions and nine events', async () => {
  const costs = async (polls: number) => {
    const { executions } = await wait({ atlas: ({ count }) => says(count < polls ? 'WORKING' : 'COMPLETE') });
    const sum = (figure: 'transitions' | 'events') => executions.reduce((all, execution) => all + execution[figure], 0);
    return { transitions: sum('transitions'), events: sum('events') };
  };
  const [some, more] = [await costs(10), await costs(110)];
  expect({ transitions: more.transitions - some.transitions, events: more.events - some.events }).toEqual({
    transitions: 300,
    events: 900,
  });
});

const down = () => fails('Made up');
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
      atlas: ({ executions }) => says((executions.at(-1)?.events ?? 0) > 23_980 ? 'COMPLETE' : 'WORKING'),
      bus: ({ count }) => (count === 1 ? undefined : down()),
    },
  ],
];

test.each(worlds)('a round at a poll a second stays within its history, and fills 48 minutes: %s', async (_, world) => {
  const { started } = await wait(world, { ...longest, giveUpAfterSeconds: 9000 });
  const rounds = started('pollLiveMigration');
  expect(rounds.length).toBeGreaterThan(1);
  for (const { events } of rounds) expect(events).toBeLessThanOrEqual(LIMIT);
  for (const [at, { startedAt }] of rounds.slice(0, -1).entries()) {
    const next = rounds[at + 1]?.input as {
      memory: { nextAt: number; isNews: boolean; handOvers: number };
    };
    // A change is handed over at once, a hundred times at most.
    expect(next.memory.handOvers).toBeLessThanOrEqual(100);
    if (!next.memory.isNews) expect(next.memory.nextAt - startedAt).toBeGreaterThanOrEqual(2_880_000);
  }
});

test('no round of these is longer than the history that it counts itself', async () => {
  const { started } = await wait({ atlas: () => says('WORKING') }, { ...longest, giveUpAfterSeconds: 9000 });
  expect(started('pollLiveMigration')[1]?.events).toBeGreaterThan(23_900);
});

type Round = 'runs' | 'hands over at once' | 'is refused' | 'is lost';

/** The execution that waits, with rounds that only take time. */
async function eventsOfWait(round: (count: number) => Round) {
  let count = 0;
  const clock = virtualClock();
  const pollLiveMigration: Definition = {
    QueryLanguage: 'JSONata',
    StartAt: 'Which',
    States: {
      Which: {
        Type: 'Choice',
        Choices: [
          { Condition: '{% $states.input.what = "is lost" %}', Next: 'Lost' },
          { Condition: '{% $states.input.what = "hands over at once" %}', Next: 'Return' },
        ],
        Default: 'Poll',
      },
      Lost: { Type: 'Fail', Error: 'Lost', Cause: 'Lost' },
      Poll: { Type: 'Wait', Seconds: 2880, Next: 'Return' },
      Return: {
        Type: 'Succeed',
        Output: { end: '{% "" %}', cause: '{% "" %}', document: '{% null %}', memory: {} },
      },
    },
  };
  const { start } = createStepFunctions(
    { awaitLiveMigration: readDefinition('awaitLiveMigration'), pollLiveMigration },
    {
      'states:startExecution.sync:2': (({ Input }: { Input: object }) => {
        count += 1;
        const what = round(count);
        if (what === 'is refused') throw new TaskError('StepFunctions.ThrottlingException', '');
        Object.assign(Input, { what });
      }) as Service,
      'aws-sdk:cloudwatch:putMetricData': () => ({}),
    },
    clock,
  );
  const execution = start('awaitLiveMigration', longest);
  await expect(execution.result).rejects.toMatchObject({ name: 'LiveMigrationWaitTimedOut' });
  return execution.events;
}

/** A hundred changes are handed over at once, and all the rest runs, after so many rounds that are lost. */
const changing =
  (lost: number) =>
  (count: number): Round =>
    count <= lost ? 'is lost' : count <= lost + 100 ? 'hands over at once' : 'runs';

test.each<[string, (count: number) => Round]>([
  ['all rounds run', () => 'runs'],
  ['no round can be started', () => 'is refused'],
  ['all rounds are lost', () => 'is lost'],
  ['every second round is lost', (count) => (count % 2 ? 'is lost' : 'runs')],
  ['the first 175 are lost', (count) => (count <= 175 ? 'is lost' : 'runs')],
  ['a hundred changes', changing(0)],
  ['the first 175 are lost, and then there are a hundred changes', changing(175)],
])('the execution that waits for 90 days stays within its history: %s', async (_, round) => {
  const events = await eventsOfWait(round);
  expect(events).toBeGreaterThan(10_000);
  expect(events).toBeLessThanOrEqual(LIMIT);
});
