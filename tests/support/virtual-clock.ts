/** A clock whose time goes on only when every execution sleeps or waits for another one. */

import type { Clock } from '../../embedded/step-functions.ts';

export function virtualClock(start = Date.UTC(2026, 10, 25)): Clock {
  let now = start;
  let atWork = 0;
  const sleepers: { until: number; wake: () => void }[] = [];

  const goOn = () =>
    setImmediate(() => {
      if (atWork > 0) return;
      const next = sleepers.reduce<number>(
        (best, { until }, at) => (until < (sleepers[best]?.until ?? Number.POSITIVE_INFINITY) ? at : best),
        0,
      );
      const [first] = sleepers.splice(next, 1);
      if (!first) return;
      now = first.until;
      first.wake();
    });

  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const abort = () => {
          sleepers.splice(sleepers.indexOf(sleeper), 1);
          reject(signal.reason);
        };
        const wake = () => {
          signal.removeEventListener('abort', abort);
          resolve();
        };
        const sleeper = { until: now + ms, wake };
        sleepers.push(sleeper);
        signal.addEventListener('abort', abort);
        goOn();
      }),
    working(change) {
      atWork += change;
      if (atWork === 0) goOn();
    },
  };
}
