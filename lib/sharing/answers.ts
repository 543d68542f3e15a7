/** What callers share of an attempt at an answer, with whom, and for how long. */

import type { LiveMigration } from '#contract';
import type { Credentials } from '../atlas/session.ts';
import { type Call, tableUseOf } from '../core/call.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import { toLiveMigration } from '../core/live-migration.ts';
import type { Question } from '../core/question.ts';
import { nameKey } from './sealing.ts';
import { clockToleranceMs, type Entry, type Share } from './sharing.ts';
import { isShared, isWholeNumber, readStoredFailure, stillLimited, storedFailure } from './stored-failure.ts';

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

/** What an attempt is made for. A failure of it is added to the failures of the call. */
type Attempt = {
  question: Question;
  credentials: Credentials;
  call: Call;
  attempt: () => Promise<LiveMigration>;
};

/**
 * Wraps attempts at one question, so that other callers share them.
 *
 * @param freshnessSeconds how long before the invocation began the question may have been sent
 * @param attemptMs milliseconds for one attempt
 */
export function shareAttempt(
  share: Share,
  freshnessSeconds: number,
  attemptMs: number,
  { question, credentials, call, attempt }: Attempt,
): () => Promise<LiveMigration> {
  const { usage, deadline, beganAt } = call;
  const key = keyFor(question, credentials);
  /** Ids of failures after which this caller asks again: it must not get them twice. */
  const rejected = new Set<string>();

  const judge = ({ id, text }: Entry): Shared | undefined => {
    const shared = rejected.has(id) ? undefined : read(text, question);
    if (!shared) return undefined;
    const latest = Date.now() + clockToleranceMs;
    if ('document' in shared) {
      const isFresh = shared.askedAt >= beganAt - freshnessSeconds * 1000 && shared.askedAt <= latest;
      return isFresh ? shared : undefined;
    }
    const { cameAt, failures } = shared;
    const last = failures.at(-1);
    if (cameAt > latest || !last) return undefined;
    if (last.name !== 'AtlasRateLimited') return cameAt >= beganAt - limits.failureMs ? shared : undefined;
    const limit = stillLimited(last, cameAt, Date.now());
    return limit && { cameAt, failures: [limit] };
  };

  const work = async () => {
    let shared: Shared;
    try {
      const document = await attempt();
      shared = { askedAt: usage.askedAt, document };
    } catch (error) {
      if (!(error instanceof Failure) || error instanceof OutOfTime || !isShared(error.name)) throw error;
      // Others read a rate limit long after the attempts before it, which must not count for them: it is stored alone.
      const failures = error.name === 'AtlasRateLimited' ? [error] : call.failures.filter(({ name }) => isShared(name));
      shared = { cameAt: Date.now(), failures };
    }
    return { value: shared, text: write(shared) };
  };

  return async () => {
    const task = {
      key,
      workMs: attemptMs,
      leaseMs: attemptMs + limits.leaseMarginMs,
      ...deadline,
      ...tableUseOf(usage),
      judge,
      work,
    };
    const { value, from, id } = await share(task);
    if ('document' in value) {
      usage.answerFrom = ({ work: 'atlas', memory: 'memory', store: 'table' } as const)[from];
      usage.askedAt = value.askedAt;
      return value.document;
    }
    rejected.add(id);
    const last = value.failures.at(-1);
    // Another caller's attempt counts as this caller's; so do the attempts before it.
    if (from !== 'work' && last) {
      call.failures = value.failures.length > call.failures.length ? value.failures : [...call.failures, last];
    }
    throw last;
  };
}
