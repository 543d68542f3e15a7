/** Decides whether an attempt that failed is worth another one, and after how long. No waiting is done here. */

import type { Failure } from '../core/failure.ts';

const limits = {
  attempts: 3,
  firstBackoffMs: 100,
  /** Less time than this is not worth an attempt. */
  leastAttemptMs: 250,
  /** A longer rate limit is handed on at once. */
  rateLimitMs: 2000,
  rateLimitJitterMs: 500,
};

/** Atlas's temporary 5xx; a failed connection has no status. */
const passingStatuses = [undefined, 500, 502, 503, 504];

/**
 * Decides by the attempts that failed so far:
 *
 * - 5xx that pass, and broken connections: three attempts in all, with full jitter (each delay is drawn evenly between
 *   nothing and a bound that doubles), so that callers who failed together don't come back together. One that says how long
 *   it lasts is asked again after that, if it is two seconds at most.
 * - A time-out: one retry at once, on a new connection, if a whole attempt still fits. The old connection may have
 *   died silently.
 * - A rate limit of two seconds at most: once, with jitter on top. If functions wait longer, Lambda starts more
 *   execution environments during an overload.
 *
 * @param failures of the attempts so far, the last one last
 * @param msLeft until the invocation has to answer
 * @param attemptMs milliseconds for one attempt
 * @param random from 0 to 1
 * @returns milliseconds to wait before the next attempt, undefined where there should be none
 */
export function retryDelayMs(
  failures: Failure[],
  msLeft: number,
  attemptMs: number,
  random: number,
): number | undefined {
  const last = failures.at(-1);
  if (!last) return undefined;
  const isFirstOfItsKind = failures.filter(({ name }) => name === last.name).length === 1;
  const within = (ms: number, leastMs: number) => (ms + leastMs <= msLeft ? ms : undefined);

  /** Atlas asks to wait so long: a longer time is handed on at once. */
  const asAsked = (seconds: number) =>
    seconds * 1000 <= limits.rateLimitMs
      ? within(seconds * 1000 + random * limits.rateLimitJitterMs, limits.leastAttemptMs)
      : undefined;

  switch (last.name) {
    case 'AtlasTimedOut':
      return isFirstOfItsKind ? within(0, attemptMs) : undefined;
    case 'AtlasRateLimited':
      return isFirstOfItsKind ? asAsked(last.facts.retryAfterSeconds ?? 1) : undefined;
    case 'AtlasUnavailable': {
      // A refused key is an answer: it does not count against an attempt with another key.
      const attempts = failures.filter(({ name }) => name !== 'AtlasCredentialsRejected').length;
      if (attempts >= limits.attempts || !passingStatuses.includes(last.facts.atlas?.status)) return undefined;
      // Where it says when it will be there again, nobody asks sooner.
      if (last.facts.retryAfterSeconds) return asAsked(last.facts.retryAfterSeconds);
      return within(random * limits.firstBackoffMs * 2 ** (attempts - 1), limits.leastAttemptMs);
    }
    default:
      return undefined;
  }
}
