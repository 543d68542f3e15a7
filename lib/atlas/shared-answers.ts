/** What callers share of an attempt at an answer, with whom, and for how long. */

import { createHmac } from 'node:crypto';
import type { FailureName, LiveMigration } from '#contract';
import { Failure, failureNames, OutOfTime } from '../core/failure.ts';
import { toLiveMigration } from '../core/live-migration.ts';
import type { Question } from '../core/question.ts';
import { isObject } from '../json.ts';
import type { Entry, Share } from '../sharing/sharing.ts';
import { isErrorCode, rateLimited } from './answer.ts';
import type { ShareAttempts } from './client.ts';
import type { Credentials } from './session.ts';

const limits = {
  /** A failure other than a rate limit is shared with those who wait for it, and with those who come until then. */
  failureMs: 1000,
  /** The clocks of two execution environments may differ by this much. */
  clockMs: 1000,
  /** A lease lasts for this much longer than the attempt. */
  leaseMarginMs: 1000,
};

/** The others say nothing about Atlas, or nothing about what another caller would meet. */
const isShared = (name: unknown): name is FailureName =>
  failureNames.some((known) => known === name) &&
  /^(ProjectNotFound|LiveMigrationNotFound|Atlas(?!CredentialsRejected).*)$/.test(String(name));

/** Times are in milliseconds since the epoch: when the question was sent, or when the last of the failures came. */
type Shared = { askedAt: number; document: LiveMigration } | { cameAt: number; failures: Failure[] };

const isTime = (value: unknown): value is number => Number.isSafeInteger(value);

/** @throws where it is no failure that may be shared */
function readFailure(value: unknown): Failure {
  const { name, detail, retryAfterSeconds: seconds, atlas } = value as { [field: string]: unknown };
  const isSentence = typeof detail === 'string' && /^[\x20-\x7e]{1,1000}$/.test(detail);
  const hasSeconds = isTime(seconds) && seconds > 0 && seconds <= 86_400;
  if (!isShared(name) || !isSentence) throw new TypeError();
  if (hasSeconds !== (name === 'AtlasRateLimited')) throw new TypeError();
  const { status, errorCode } = isObject(atlas) ? atlas : {};
  const isSaid = isTime(status) && (errorCode === null || isErrorCode(errorCode));
  if (!isSaid && (hasSeconds || atlas !== undefined)) throw new TypeError();
  return new Failure(name, detail, {
    ...(hasSeconds ? { retryAfterSeconds: seconds } : {}),
    ...(isSaid ? { atlas: { status, errorCode } } : {}),
  });
}

/** Judges an entry as what comes from Atlas is judged. @returns undefined where it is broken */
function read(text: string, question: Question): Shared | undefined {
  try {
    const { askedAt, cameAt, document, failures } = JSON.parse(text);
    if (isTime(cameAt) && failures.length > 0) return { cameAt, failures: failures.map(readFailure) };
    const entity = { ...document, _id: document.id, status: document.reportedStatus };
    return isTime(askedAt) ? { askedAt, document: toLiveMigration(entity, question) } : undefined;
  } catch {
    return undefined;
  }
}

const write = (shared: Shared): string =>
  JSON.stringify(shared, (_, value) =>
    value instanceof Failure ? { name: value.name, detail: value.message, ...value.facts } : value,
  );

/** Who reads the table learns nothing from a key, and other credentials never meet under it. */
function keyFor({ groupId, liveMigrationId }: Question, credentials: Credentials): string {
  const [name, secret] =
    'clientId' in credentials
      ? [credentials.clientId, credentials.clientSecret]
      : [credentials.publicKey, credentials.privateKey];
  const { server, path } = credentials.baseUrl;
  // The number goes up with the form of the entries, so that no version reads those of another.
  const parts = ['answer 1', name, server.protocol, server.host, path, groupId, liveMigrationId];
  return createHmac('sha256', secret).update(JSON.stringify(parts)).digest('base64url');
}

/**
 * @param share the store, and how it is used
 * @param freshnessSeconds how long before the invocation began the question may have been sent
 * @param attemptMs milliseconds for one attempt
 */
export function shareAttempts(share: Share, freshnessSeconds: number, attemptMs: number): ShareAttempts {
  return (question, credentials, call, attempt) => {
    const { usage, deadline, beganAt } = call;
    const key = keyFor(question, credentials);
    /** Failures after which this caller asks again: other attempts than these are wanted. */
    const rejected = new Set<string>();

    const judge = ({ id, text }: Entry): Shared | undefined => {
      const shared = rejected.has(id) ? undefined : read(text, question);
      if (!shared) return undefined;
      const latest = Date.now() + limits.clockMs;
      if ('document' in shared) {
        const isFresh = shared.askedAt >= beganAt - freshnessSeconds * 1000 && shared.askedAt <= latest;
        return isFresh ? shared : undefined;
      }
      const { cameAt, failures } = shared;
      const { retryAfterSeconds, atlas } = failures.at(-1)?.facts ?? {};
      if (cameAt > latest) return undefined;
      if (!retryAfterSeconds || !atlas) return cameAt >= beganAt - limits.failureMs ? shared : undefined;
      const secondsLeft = Math.min(Math.ceil((cameAt - Date.now()) / 1000 + retryAfterSeconds), retryAfterSeconds);
      if (secondsLeft <= 0) return undefined;
      return { cameAt, failures: [...failures.slice(0, -1), rateLimited(atlas, secondsLeft)] };
    };

    const work = async () => {
      let shared: Shared;
      try {
        const document = await attempt();
        shared = { askedAt: usage.askedAt, document };
      } catch (error) {
        if (!(error instanceof Failure) || error instanceof OutOfTime || !isShared(error.name)) throw error;
        shared = { cameAt: Date.now(), failures: call.failures.filter(({ name }) => isShared(name)) };
      }
      return { value: shared, text: write(shared) };
    };

    const onStore = (failure?: unknown) => {
      usage.tableUsed = true;
      if (failure !== undefined) usage.tableFailure = failure instanceof Error ? failure.name : 'Error';
    };

    return async () => {
      const task = {
        key,
        workMs: attemptMs,
        leaseMs: attemptMs + limits.leaseMarginMs,
        ...deadline,
        judge,
        work,
        onStore,
      };
      const { value, from, id } = await share(task);
      if ('document' in value) {
        usage.answerFrom = ({ work: 'atlas', memory: 'memory', store: 'table' } as const)[from];
        usage.askedAt = value.askedAt;
        return value.document;
      }
      rejected.add(id);
      const last = value.failures.at(-1);
      // An attempt of another counts as one of this caller's; so do those that it counted.
      if (from !== 'work' && last) {
        call.failures = value.failures.length > call.failures.length ? value.failures : [...call.failures, last];
      }
      throw last;
    };
  };
}
