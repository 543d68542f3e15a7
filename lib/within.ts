/** A time limit for work. */

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
