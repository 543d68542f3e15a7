/** How much time an invocation has left. */

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
