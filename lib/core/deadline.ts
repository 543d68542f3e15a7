/** Time limits: how much time an invocation has left, and work that ends when its share is used up. */

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
 * Runs `work` for `ms` milliseconds at most. Its signal aborts when they are over; the caller gets the failure then,
 * whether or not the work heeds the signal. No timer is left behind.
 *
 * @throws what `tooLate` makes when the time is over, else what `work` throws
 */
export async function within<T>(
  ms: number,
  tooLate: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (ms <= 0) throw tooLate();
  const controller = new AbortController();
  return new Promise<T>((resolve, reject) => {
    // Set before the work begins: if both limits end at the same time, the caller's fires first.
    const timer = setTimeout(() => {
      const failure = tooLate();
      reject(failure);
      controller.abort(failure);
    }, ms);
    const end = (settle: () => void) => {
      clearTimeout(timer);
      settle();
    };
    const begin = async () => work(controller.signal);
    begin().then(
      (value) => end(() => resolve(value)),
      (error) => end(() => reject(error)),
    );
  });
}
