/** One running piece of work shared by all who ask for it while it runs. */

/**
 * Makes a function that starts `work` when nobody waits for it yet, and else waits for what is already under way.
 * Nothing is remembered: when the work has ended, well or badly, the next call starts it anew. It is aborted only
 * when the last one who waits has gone.
 *
 * @param work gets the argument of the call that started it, and a signal of its own
 */
export function singleFlight<A, T>(work: (argument: A, signal: AbortSignal) => Promise<T>) {
  let flight: { result: Promise<T>; waiting: number; controller: AbortController } | undefined;

  const start = (argument: A) => {
    const controller = new AbortController();
    const started = { controller, waiting: 0, result: work(argument, controller.signal) };
    const land = () => {
      if (flight === started) flight = undefined;
    };
    started.result.then(land, land);
    return started;
  };

  return (argument: A, signal: AbortSignal): Promise<T> => {
    flight ??= start(argument);
    const mine = flight;
    mine.waiting += 1;
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        mine.waiting -= 1;
        if (mine.waiting === 0) {
          if (flight === mine) flight = undefined;
          mine.controller.abort(signal.reason);
        }
        reject(signal.reason);
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      mine.result.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  };
}
