/** What callers share of an attempt at an answer, with whom, and for how long. */

import type { LiveMigration } from '#contract';
import type { Attempts, Result } from '../atlas/attempt.ts';
import type { Credentials } from '../atlas/session.ts';
import type { Call } from '../core/call.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import { toLiveMigration } from '../core/live-migration.ts';
import type { Question } from '../core/question.ts';
import { nameKey } from './sealing.ts';
import { clockToleranceMs, type Share } from './sharing.ts';
import type { Entry } from './store.ts';
import { isShared, isWholeNumber, readStoredFailure, stillLimited, storedFailure } from './stored-failure.ts';
import { callerOf, sharingOf } from './usage.ts';

const limits = {
  /** A failure other than a rate limit is shared with callers that wait, and with those that come in this time. */
  failureMs: 1000,
  /** A lease lasts for this much longer than the attempt. */
  leaseMarginMs: 1000,
};

/** Times are in milliseconds since the epoch: when the question was sent, or when the last of the failures came. */
type Shared = { askedAt: number; document: LiveMigration } | { cameAt: number; failures: Failure[] };

/** Checks an entry as an answer of Atlas is checked. @returns undefined where it is broken */
function read(text: string, question: Question): Shared | undefined {
  try {
    const { askedAt, cameAt, document, failures } = JSON.parse(text);
    if (isWholeNumber(cameAt) && failures.length > 0) return { cameAt, failures: failures.map(readStoredFailure) };
    const entity = { ...document, _id: document.id, status: document.reportedStatus };
    return isWholeNumber(askedAt) ? { askedAt, document: toLiveMigration(entity, question) } : undefined;
  } catch {
    return undefined;
  }
}

const write = (shared: Shared): string =>
  JSON.stringify(shared, (_, value) => (value instanceof Failure ? storedFailure(value) : value));

function keyFor({ groupId, liveMigrationId }: Question, credentials: Credentials): string {
  const [name, secret] =
    'clientId' in credentials
      ? [credentials.clientId, credentials.clientSecret]
      : [credentials.publicKey, credentials.privateKey];
  const { server, path } = credentials.baseUrl;
  // The number goes up with the form of the entries, so that no version reads those of another.
  return nameKey(secret, ['answer 1', name, server.protocol, server.host, path, groupId, liveMigrationId]);
}

/**
 * Wraps attempts at one question, so that other callers share them.
 *
 * @param freshnessSeconds how long before the invocation began the question may have been sent
 * @param attemptMs milliseconds for one attempt
 */
export function shareAttempts(
  share: Share,
  freshnessSeconds: number,
  attemptMs: number,
  question: Question,
  credentials: Credentials,
  call: Call,
  attempts: Attempts,
): Attempts['make'] {
  const key = keyFor(question, credentials);
  /** Ids of failures after which this caller asks again: it must not get them twice. */
  const rejected = new Set<string>();

  const judge = ({ id, text }: Entry): Shared | undefined => {
    const shared = rejected.has(id) ? undefined : read(text, question);
    if (!shared) return undefined;
    const latest = Date.now() + clockToleranceMs;
    if ('document' in shared) {
      const isFresh = shared.askedAt >= call.beganAtEpochMs - freshnessSeconds * 1000 && shared.askedAt <= latest;
      return isFresh ? shared : undefined;
    }
    const { cameAt, failures } = shared;
    const last = failures.at(-1);
    if (cameAt > latest || !last) return undefined;
    if (last.name !== 'AtlasRateLimited') return cameAt >= call.beganAtEpochMs - limits.failureMs ? shared : undefined;
    const limit = stillLimited(last, cameAt, Date.now());
    return limit && { cameAt, failures: [limit] };
  };

  return async (earlier) => {
    /** What this caller's own attempt brought, where it made one. */
    const own: { result?: Result } = {};
    const prepare = async () => {
      const failed = await attempts.prepare(earlier);
      if (!failed) return;
      own.result = failed;
      throw failed.failures.at(-1);
    };
    const work = async () => {
      const result = await attempts.make(earlier);
      own.result = result;
      if ('document' in result) return { value: result, text: write(result) };
      const last = result.failures.at(-1);
      if (!last || last instanceof OutOfTime || !isShared(last.name)) throw last;
      // Others read a rate limit long after the attempts before it, which must not count for them: it is stored alone.
      const failures = last.name === 'AtlasRateLimited' ? [last] : result.failures.filter(({ name }) => isShared(name));
      const value = { cameAt: Date.now(), failures };
      return { value, text: write(value) };
    };

    const task = {
      ...callerOf(call),
      key,
      workMs: () => (attempts.isReady() ? 1 : 2) * attemptMs,
      leaseMs: attemptMs + limits.leaseMarginMs,
      judge,
      ...(attempts.isReady() ? {} : { prepare }),
      work,
    };
    const shared = await share<Shared>(task).catch((error) => own.result ?? Promise.reject(error));
    if (!('value' in shared)) return shared;
    const { value, from, id } = shared;
    if ('document' in value) {
      const places = { work: 'atlas', memory: 'memory', store: 'table' } as const;
      sharingOf(call.usage).answer = { from: places[from], askedAt: value.askedAt };
      return value;
    }
    rejected.add(id);
    if (own.result) return own.result;
    // Another caller's attempt counts as this caller's; so do the attempts before it.
    const { failures } = value;
    return { failures: failures.length > earlier.length ? failures : [...earlier, ...failures.slice(-1)] };
  };
}
