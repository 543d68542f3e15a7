/** Decides whether an attempt that failed is worth another one, and after how long. No waiting is done here. */

import type { Failure } from '../core/failure.ts';

const limits = {
  attempts: 3,
  firstBackoffMs: 100,
  /** Less time than this is not worth an attempt. */
  leastAttemptMs: 250,
};

/** Of Atlas's 5xx, those that pass; a connection that failed has no status at all. */
const passingStatuses = [undefined, 500, 502, 503, 504];

/**
 * How long Atlas asks to wait: `Retry-After` is seconds or a date (RFC 9110, section 10.2.3); the second parameter of the
 * token bucket's error document is seconds.
 *
 * @param now milliseconds since the epoch, for a `Retry-After` that is a date
 * @returns whole seconds from 1 to a day
 */
export function retryAfterSeconds(header: string | undefined, parameters: unknown, now: number): number {
  const fromHeader = header === undefined ? Number.NaN : Number(header.trim() || Number.NaN);
  const fromDate = header === undefined ? Number.NaN : (Date.parse(header) - now) / 1000;
  const fromBody = Array.isArray(parameters) ? Number(parameters[1] ?? Number.NaN) : Number.NaN;
  const seconds = [fromHeader, fromDate, fromBody].find(Number.isFinite) ?? 1;
  // "Retry after 0 seconds" was recorded: without a floor, that is a busy loop. No bucket takes a day to fill.
  return Math.min(Math.max(1, Math.ceil(seconds)), 86_400);
}

/**
 * Full jitter (each delay is drawn evenly between nothing and a bound that doubles), so that callers who failed
 * together don't come back together. A rate limit is waited out once, if that leaves half of the time.
 *
 * @param failure of the last attempt
 * @param attempts made so far, from 1
 * @param msLeft until the invocation has to answer
 * @param random from 0 to 1
 * @returns milliseconds to wait before the next attempt, undefined where there should be none
 */
export function retryDelayMs(failure: Failure, attempts: number, msLeft: number, random: number): number | undefined {
  const { name, facts } = failure;
  if (name === 'AtlasRateLimited') {
    const ms = (facts.retryAfterSeconds ?? 1) * 1000;
    return attempts === 1 && ms <= msLeft / 2 ? ms : undefined;
  }
  if (name !== 'AtlasUnavailable' || !passingStatuses.includes(facts.atlas?.status)) return undefined;
  const ms = random * limits.firstBackoffMs * 2 ** (attempts - 1);
  return attempts < limits.attempts && ms + limits.leastAttemptMs <= msLeft ? ms : undefined;
}
