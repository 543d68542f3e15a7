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
  // The first one ends with the first answer.
  const full = rounds.slice(1, -1);
  for (const { startedAt } of full) {
    const next = rounds.find((other) => other.startedAt > startedAt)?.input as { memory: { nextAt: number } };
    expect(next.memory.nextAt - startedAt).toBeGreaterThanOrEqual(2_880_000);
  }
});

test('no round of these is longer than the history that it counts itself', async () => {
  const { started } = await wait({ atlas: () => says('WORKING') }, { ...longest, giveUpAfterSeconds: 9000 });
  expect(started('pollLiveMigration')[1]?.events).toBeGreaterThan(23_900);
});

type Round = 'runs' | 'hands over at once' | 'is refused' | 'is lost';

/** The execution that waits, beside rounds that are nothing but their time. */
async function eventsOfWait(round: (count: number, day: number) => Round) {
  let count = 0;
  const clock = virtualClock();
  const begin = clock.now();
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
        const what = round(count, Math.floor((clock.now() - begin) / 86_400_000));
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

/** It becomes ready for cutover once a day. */
function ready(otherwise: (count: number) => Round) {
  let lastDay = -1;
  return (count: number, day: number): Round => {
    if (day === lastDay || otherwise(count) === 'is lost') return otherwise(count);
    lastDay = day;
    return 'hands over at once';
  };
}

test.each<[string, (count: number, day: number) => Round]>([
  ['all rounds run', () => 'runs'],
  ['no round can be started', () => 'is refused'],
  ['all rounds are lost', () => 'is lost'],
  ['every second round is lost', (count) => (count % 2 ? 'is lost' : 'runs')],
  ['the first 175 are lost', (count) => (count <= 175 ? 'is lost' : 'runs')],
  ['it becomes ready every day', ready(() => 'runs')],
  ['it becomes ready every day, and the first 175 are lost', ready((count) => (count <= 175 ? 'is lost' : 'runs'))],
])('the execution that waits for 90 days stays within its history: %s', async (_, round) => {
  const events = await eventsOfWait(round);
  expect(events).toBeGreaterThan(10_000);
  expect(events).toBeLessThanOrEqual(LIMIT);
});
