/** One in-flight piece of work shared by all who ask for it while it runs. */

/**
 * Makes a function that starts `work` when none is in flight, and else waits for what is already under way. Nothing is
 * remembered: when the work has ended, well or badly, the next call starts it anew. It is aborted only when the last
 * caller that waits for it has been aborted.
 *
 * @param work gets the argument of the call that started it, and a signal of its own
 */
export function singleFlight<A, T>(work: (argument: A, signal: AbortSignal) => Promise<T>) {
  let inFlight: { result: Promise<T>; callers: number; controller: AbortController } | undefined;

  const start = (argument: A) => {
    const controller = new AbortController();
    const started = { controller, callers: 0, result: work(argument, controller.signal) };
    const forget = () => {
      if (inFlight === started) inFlight = undefined;
    };
    started.result.then(forget, forget);
    return started;
  };

  return (argument: A, signal: AbortSignal): Promise<T> => {
    inFlight ??= start(argument);
    const mine = inFlight;
    mine.callers += 1;
    return new Promise<T>((resolve, reject) => {
      const abort = () => {
        mine.callers -= 1;
        if (mine.callers === 0) {
          if (inFlight === mine) inFlight = undefined;
          mine.controller.abort(signal.reason);
        }
        reject(signal.reason);
      };
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort, { once: true });
      mine.result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  };
}
