/** One in-flight piece of work shared by all who ask for it while it runs. */

import { within } from './within.ts';

/** The work has used up its own time. The callers that wait for it may still have some. */
class Expired extends Error {}

/**
 * Makes a function that starts `work` when none is in flight, and else waits for what is already under way. Nothing is
 * remembered: when the work has succeeded or failed, the next call starts it again. The work is aborted when the last
 * caller that waits for it has been aborted, and when its own time is over. In the second case the callers that still
 * wait start it again: one request that hangs does not fail every caller that joins it.
 *
 * @param limitMs milliseconds that one piece of work may take. Its signal aborts then; work that does not heed the signal
 *   goes on, and its result is dropped
 * @param work gets the argument of the call that started it, and a signal of its own
 * @param keyOf work with the same key is shared; by default all work has the same key
 */
export function singleFlight<A, T>(
  limitMs: number,
  work: (argument: A, signal: AbortSignal) => Promise<T>,
  keyOf: (argument: A) => unknown = () => undefined,
) {
  type Flight = { result: Promise<T>; callers: number; controller: AbortController };
  const inFlight = new Map<unknown, Flight>();

  const forget = (key: unknown, flight: Flight) => {
    if (inFlight.get(key) === flight) inFlight.delete(key);
  };

  const start = (key: unknown, argument: A): Flight => {
    const controller = new AbortController();
    const result = within(
      limitMs,
      () => new Expired(),
      (expiry) => {
        expiry.addEventListener('abort', () => controller.abort(expiry.reason), { once: true });
        return work(argument, controller.signal);
      },
    );
    const flight = { controller, callers: 0, result };
    const ended = () => forget(key, flight);
    result.then(ended, ended);
    inFlight.set(key, flight);
    return flight;
  };

  const join = (argument: A, signal: AbortSignal): Promise<T> => {
    const key = keyOf(argument);
    const flight = inFlight.get(key) ?? start(key, argument);
    flight.callers += 1;
    return new Promise<T>((resolve, reject) => {
      const abort = () => {
        flight.callers -= 1;
        if (flight.callers === 0) {
          forget(key, flight);
          flight.controller.abort(signal.reason);
        }
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      flight.result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  };

  return async (argument: A, signal: AbortSignal): Promise<T> => {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await join(argument, signal);
      } catch (error) {
        if (!(error instanceof Expired)) throw error;
      }
    }
  };
}
