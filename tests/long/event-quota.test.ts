/** The longest waits that the input allows, against the history of 25,000 events that an execution has. */

import { expect, test } from 'vitest';
import { createStepFunctions, type Definition, type Service, TaskError } from '../../embedded/step-functions.ts';
import { readDefinition } from '../../embedded/waiting.ts';
import { virtualClock } from '../support/virtual-clock.ts';
import { fails, ids, says, type World, wait } from '../support/wait.ts';

const LIMIT = 25_000;
const longest = { ...ids, pollSeconds: 1, giveUpAfterSeconds: 7_776_000 };

const down = () => fails('Made up');
test.each<[string, number, World]>([
  ['quiet', 23_900, { atlas: () => says('WORKING') }],
  // A poll that fails is counted as ten events, and is nine.
  ['all failing', 21_000, { atlas: ({ count }) => (count === 1 ? says('WORKING') : down()) }],
  [
    'a change at every poll, all of it refused',
    23_900,
    {
      atlas: ({ count }) => says(count % 2 ? 'NEW' : 'WORKING', true),
      bus: down,
      metrics: down,
      start: (_, machine) => (machine === 'remindOfCutover' ? down() : undefined),
    },
  ],
])('a round at a poll a second is no longer than the history, and not much shorter: %s', async (_, least, world) => {
  const { started } = await wait(world, { ...longest, giveUpAfterSeconds: 3000 });
  const rounds = started('pollLiveMigration').map(({ events }) => events);
  expect(Math.max(...rounds)).toBeGreaterThan(least);
  expect(Math.max(...rounds)).toBeLessThanOrEqual(LIMIT);
});

test('60 days, a change at every poll, and a bus that is down for 45 minutes once a week', async () => {
  const end = 24 * 60 - 2;
  const { ending, executions, changes, endedAfterHours } = await wait(
    {
      atlas: ({ hours, count }) => says(hours >= end ? 'COMPLETE' : count % 2 ? 'NEW' : 'WORKING'),
      bus: ({ hours }) =>
        hours % (24 * 7) > 100 && hours % (24 * 7) < 100.75 ? fails('EventBridge.FailedEntry') : undefined,
    },
    { ...ids, pollSeconds: 1200 },
  );
  expect(ending).toMatchObject({ document: { status: 'COMPLETE' } });
  for (const { events } of executions) expect(events).toBeLessThanOrEqual(LIMIT);
  expect(changes.every(({ previousStatus }, at) => previousStatus === (changes[at - 1]?.status ?? null))).toBe(true);
  expect(changes.at(-1)).toMatchObject({ status: 'COMPLETE' });
  expect(endedAfterHours).toBeLessThan(24 * 60);
});

type Round = 'runs' | 'hands over at once' | 'is refused' | 'is lost';

/** The execution that waits, with rounds that only take time. */
async function eventsOfWait(round: (count: number) => Round) {
  let count = 0;
  const clock = virtualClock();
  const poll = (StartAt: string): Definition => ({
    QueryLanguage: 'JSONata',
    StartAt,
    States: {
      Lost: { Type: 'Fail', Error: 'Lost', Cause: 'Lost' },
      Pause: { Type: 'Wait', Seconds: 2880, Next: 'Return' },
      Return: { Type: 'Succeed', Output: { end: '', cause: '', document: null, memory: {} } },
    },
  });
  const machines = {
    awaitLiveMigration: readDefinition('awaitLiveMigration'),
    runs: poll('Pause'),
    'hands over at once': poll('Return'),
    'is lost': poll('Lost'),
  };
  const { start } = createStepFunctions(
    machines,
    {
      'states:startExecution.sync:2': ((args: object) => {
        count += 1;
        const what = round(count);
        if (what === 'is refused') throw new TaskError('StepFunctions.ThrottlingException', '');
        Object.assign(args, { StateMachineArn: what });
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
