/** Failures of Atlas in a shared entry: which ones may be shared, and their JSON, which is validated like any outside input. */

import type { FailureName } from '#contract';
import { isErrorCode, rateLimited } from '../atlas/answer.ts';
import { Failure, failureNames } from '../core/failure.ts';
import { isObject } from '../json.ts';

/** Only these failures are shared: the others are not about Atlas, or another caller need not meet them. */
const sharedNames = new Set<unknown>(
  failureNames.filter((name) => /^(Project|LiveMigration|Atlas(?!CredentialsRejected))/.test(name)),
);
export const isShared = (name: unknown): name is FailureName => sharedNames.has(name);

export const isWholeNumber = (value: unknown): value is number => Number.isSafeInteger(value);

/** What of a failure is stored: its name, its detail and its facts, and neither cause nor stack. */
export const storedFailure = ({ name, message, facts }: Failure): object => ({ name, detail: message, ...facts });

/** @throws where it is no failure that may be shared */
export function readStoredFailure(value: unknown): Failure {
  const { name, detail, retryAfterSeconds: seconds, atlas } = value as { [field: string]: unknown };
  const isSentence = typeof detail === 'string' && /^[\x20-\x7e]{1,1000}$/.test(detail);
  const hasSeconds = isWholeNumber(seconds) && seconds > 0 && seconds <= 86_400;
  if (!isShared(name) || !isSentence) throw new TypeError();
  if (name === 'AtlasRateLimited' ? !hasSeconds : hasSeconds && name !== 'AtlasUnavailable') throw new TypeError();
  const { status, errorCode } = isObject(atlas) ? atlas : {};
  const isSaid = isWholeNumber(status) && (errorCode === null || isErrorCode(errorCode));
  if (!isSaid && (hasSeconds || atlas !== undefined)) throw new TypeError();
  return new Failure(name, detail, {
    ...(hasSeconds ? { retryAfterSeconds: seconds } : {}),
    ...(isSaid ? { atlas: { status, errorCode } } : {}),
  });
}

/**
 * A rate limit, some time after it came: with the seconds that are left.
 *
 * @param cameAt milliseconds since the epoch
 * @returns undefined where its time is over
 */
export function stillLimited({ message, facts }: Failure, cameAt: number, now: number): Failure | undefined {
  const { retryAfterSeconds: seconds = 0, atlas } = facts;
  const secondsLeft = Math.ceil((cameAt - now) / 1000 + seconds);
  if (!atlas || secondsLeft <= 0) return undefined;
  // Of the two sentences, only that for 429 names the seconds.
  return atlas.status === 429
    ? rateLimited(atlas, secondsLeft)
    : new Failure('AtlasRateLimited', message, { atlas, retryAfterSeconds: secondsLeft });
}
