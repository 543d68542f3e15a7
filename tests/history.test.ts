/**
 * The history of an execution is limited to 25,000 events. This computes from the ASL file how many a wait takes at
 * the worst, so that a new state or retry cannot break it unseen. The arithmetic is written down in docs/waiting.md.
 */

import { expect, test } from 'vitest';
import { definition } from '../embedded/state-machine.ts';

const LIMIT = 25_000;

type State = {
  Type: string;
  Resource?: string;
  Next?: string;
  Default?: string;
  Choices?: { Next: string; Variable?: string; NumericGreaterThanEquals?: number }[];
  Catch?: { Next: string }[];
  Retry?: { MaxAttempts: number }[];
  Branches?: { States: Record<string, State> }[];
};

const states = definition.States as unknown as Record<string, State>;
const [rounds = {}] = states['WaitOrGiveUp']?.Branches?.map((branch) => branch.States) ?? [];

/** Entered and exited; a task is scheduled, started and succeeds in between, and `.sync` is also submitted. */
const eventsOf = ({ Type, Resource = '', Retry = [] }: State): number => {
  if (Type !== 'Task') return 2;
  // A failed attempt, and the next one scheduled and started.
  const retries = Retry.reduce((sum, { MaxAttempts }) => sum + 3 * MaxAttempts, 0);
  return 5 + (Resource.includes('.sync') ? 1 : 0) + retries;
};

const successors = ({ Next, Default, Choices = [], Catch = [] }: State) =>
  [Next, Default, ...Choices.map((choice) => choice.Next), ...Catch.map((catcher) => catcher.Next)].filter(
    (name) => name !== undefined,
  );

/** The most events on any way from one state to another that passes no state twice. */
function longestWay(all: Record<string, State>, from: string, to: string, passed: string[] = []): number {
  const state = all[from];
  if (!state || passed.includes(from)) return Number.NEGATIVE_INFINITY;
  const after = successors(state).map((next) => (next === to ? 0 : longestWay(all, next, to, [...passed, from])));
  return eventsOf(state) + Math.max(Number.NEGATIVE_INFINITY, ...after);
}

const eventsPerPoll = longestWay(states, 'Ask', 'Ask');
const eventsPerRound = longestWay(rounds, 'Round', 'Round');
const pollsPerRound = states['IsRoundFull']?.Choices?.[0]?.NumericGreaterThanEquals ?? Number.NaN;
/** Started, the first Choice, the last Pass, and succeeded; the waiting execution has its first and last states. */
const around = 50;

test('the file has the loops that are counted here', () => {
  expect({ eventsPerPoll, eventsPerRound, pollsPerRound }).toEqual({
    eventsPerPoll: 40,
    eventsPerRound: 26,
    pollsPerRound: 500,
  });
});

test('an execution that polls stays within its history, if every task is retried to the end each time', () => {
  expect(around + pollsPerRound * eventsPerPoll).toBeLessThanOrEqual(LIMIT);
});

test.each([
  ['60 days at one poll a minute', 60, 60 * 86_400],
  ['90 days at the shortest poll for that long', 10, 7_776_000],
  ['9 days at one poll a second', 1, 777_600],
])('the waiting execution stays within its history: %s', (_, pollSeconds, giveUpAfterSeconds) => {
  const startedRounds = Math.ceil(giveUpAfterSeconds / pollSeconds / pollsPerRound);
  // A start that is refused and retried is no matter of course: every fourth round is allowed all of its retries.
  const retries = 18;
  expect(around + startedRounds * (eventsPerRound - retries + retries / 4)).toBeLessThanOrEqual(LIMIT);
});
