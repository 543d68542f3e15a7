/** How much time an invocation has left, and work that is limited by it. */

import type { FailureName } from '#contract';
import { within } from '../within.ts';
import { Failure, OutOfTime } from './failure.ts';

const limits = {
  /** Kept of an invocation's time, so that its answer leaves the function before Lambda ends it. */
  answerMs: 500,
};

/** The time that an invocation has, handed down to whatever takes time on its behalf. */
export type Deadline = {
  /** Milliseconds left, never below 0. */
  msLeft(): number;
};

/**
 * @param remainingMs milliseconds until the function is ended; a part is kept for the answer itself
 * @throws TypeError where it is no number, as from an event source that has no clock
 */
export function startDeadline(remainingMs: number): Deadline {
  if (!Number.isFinite(remainingMs)) throw new TypeError('the remaining time is not a number');
  const end = performance.now() + remainingMs - limits.answerMs;
  return { msLeft: () => Math.max(0, end - performance.now()) };
}

/**
 * Runs `work` for `mostMs` milliseconds at most, or for what the invocation has left, if that is less.
 *
 * @param missing what did not happen in this time, as a sentence without its end
 * @throws Failure with this name when the time is over; it is an `OutOfTime` where only this invocation had no more
 */
export function withinDeadline<T>(
  { msLeft }: Deadline,
  mostMs: number,
  name: FailureName,
  missing: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ms = Math.min(mostMs, msLeft());
  const tooLate = () => new (ms < mostMs ? OutOfTime : Failure)(name, `${missing} within ${Math.round(ms)} ms.`);
  return within(ms, tooLate, work);
}
