/** The Atlas credentials, kept fresh: read once for all who wait, used for a while, read again when Atlas refuses them. */

import { isDeepStrictEqual } from 'node:util';
import type { Credentials } from '../atlas/session.ts';
import type { CredentialsSource } from '../core/answer-question.ts';
import { type Call, timed } from '../core/call.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import { remember } from '../remember.ts';
import { singleFlight } from '../single-flight.ts';
import { within } from '../within.ts';
import { type ReadSecretText, UnreadableSecret } from './secrets-manager.ts';

const limits = {
  /** Secrets Manager takes about 20 ms. The limit of one read, and of a call without any credentials. */
  readMs: 3000,
  /** A call that still has old credentials waits less. */
  refreshMs: 1000,
  /** Between two readings of a secret that could not be refreshed, was refused by Atlas, or could not be read. */
  cooldownMs: 10_000,
};

export type CredentialsStore = CredentialsSource<Credentials> & {
  /**
   * Starts the first read of a secret that all projects share, so that it is under way while the rest loads. A question
   * that comes meanwhile waits for the same read; if it fails, the first question reads again.
   */
  warmUp(): void;
};

/**
 * @param readText asks Secrets Manager
 * @param parse reads the secret's text; throws `SecretInvalid`
 * @param secretId the secret's name or ARN, in which `{groupId}` is replaced by the project's id
 */
export function createCredentialsStore(
  readText: ReadSecretText,
  parse: (text: string, secretId: string) => Credentials,
  { secretId, secretMaxAgeSeconds }: { secretId: string; secretMaxAgeSeconds: number },
): CredentialsStore {
  /** `askedAt` is when the reading began, as `performance.now()` tells it. */
  type Held = { text: string; credentials: Credentials; readAt: number; askedAt: number };
  /** What could be read and used at least once. */
  type Entry = {
    held: Held;
    /** The last refresh of an aged secret, where it failed. */
    stale?: { since: number; failure: Failure };
    /** The last renewal of a refused secret, where it failed or found the same credentials. */
    renewal?: { since: number; failure?: Failure };
  };
  const entries = new Map<string, Entry>();
  const warming = new AbortController();

  const readShared = singleFlight(
    limits.readMs,
    async (id: string, signal: AbortSignal) => {
      const askedAt = performance.now();
      const text = await readText(id, signal);
      const known = entries.get(id);
      const same = known?.held.text === text ? known : undefined;
      const held = { text, credentials: same?.held.credentials ?? parse(text, id), readAt: Date.now(), askedAt };
      remember(entries, id, { held, ...(same?.renewal ? { renewal: same.renewal } : {}) });
      return held;
    },
    (id) => id,
  );

  const entryFor = (id: string): Entry | undefined => {
    const entry = entries.get(id);
    if (entry) remember(entries, id, entry);
    return entry;
  };

  const isPerProject = secretId.includes('{groupId}');
  /** Projects whose secret could not be read a moment ago. */
  const missingProjects = new Map<string, { since: number; denied: boolean }>();
  const projectNotFound = (groupId: string, denied: boolean, { usage }: Call) => {
    usage.secretDenied = denied;
    return new Failure('ProjectNotFound', `This service has no Atlas key for project ${groupId}.`);
  };

  /** A project whose own secret cannot be read is not found, and remembered as such; any other error stays. */
  const missingOr = (error: unknown, groupId: string, call: Call) => {
    if (!isPerProject || !(error instanceof UnreadableSecret)) return error;
    remember(missingProjects, groupId, { since: Date.now(), denied: error.denied });
    return projectNotFound(groupId, error.denied, call);
  };

  const idFor = (groupId: string) => (isPerProject ? secretId.replaceAll('{groupId}', groupId) : secretId);

  const read = (id: string, mostMs: number, { deadline, usage }: Call): Promise<Held> => {
    const ms = Math.min(mostMs, deadline.msLeft());
    const tooLate = () =>
      new (ms < mostMs ? OutOfTime : Failure)(
        'SecretUnavailable',
        `Secrets Manager did not answer within ${Math.round(ms)} ms.`,
      );
    usage.secretReads += 1;
    return timed(usage, 'secretMs', () => within(ms, tooLate, (signal) => readShared(id, signal)));
  };

  /** Whether `past` is so recent that Secrets Manager is not asked again. */
  const isCooling = (past: { since: number } | undefined) => {
    const age = past ? Date.now() - past.since : Number.NaN;
    return age >= 0 && age < limits.cooldownMs;
  };

  const isFresh = ({ readAt }: Held) => {
    const age = Date.now() - readAt;
    return age >= 0 && age < secretMaxAgeSeconds * 1000;
  };

  return {
    warmUp() {
      if (isPerProject) return;
      const tooLate = () => new OutOfTime('SecretUnavailable', 'No question has come yet.');
      within(limits.readMs, tooLate, (signal) => {
        signal.addEventListener('abort', () => warming.abort());
        return readShared(secretId, warming.signal);
      }).catch(() => undefined);
    },

    async current(groupId, call) {
      const missing = missingProjects.get(groupId);
      if (missing && isCooling(missing)) throw projectNotFound(groupId, missing.denied, call);

      const id = idFor(groupId);
      const entry = entryFor(id);
      if (!entry) {
        try {
          const reading = read(id, limits.readMs, call);
          // From here on the time limit of this call applies, also to a read that the warm-up began.
          if (call.deadline.msLeft() > 0) warming.abort();
          return (await reading).credentials;
        } catch (error) {
          throw missingOr(error, groupId, call);
        }
      }
      const { held } = entry;
      if (isFresh(held)) return held.credentials;
      let reason = entry.stale?.failure.name ?? null;
      if (!isCooling(entry.stale)) {
        try {
          return (await read(id, limits.refreshMs, call)).credentials;
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          reason = error.name;
          if (!(error instanceof OutOfTime)) entry.stale = { since: Date.now(), failure: error };
        }
      }
      // Use the old key: Atlas may still accept it.
      call.usage.staleSecret = reason;
      return held.credentials;
    },

    async renewed(groupId, refused, call) {
      const id = idFor(groupId);
      // By value: an entry may have been dropped and read again meanwhile.
      const other = () => {
        const credentials = entries.get(id)?.held.credentials;
        return isDeepStrictEqual(credentials, refused) ? undefined : credentials;
      };
      if (other()) return other();
      const { stale, renewal } = entryFor(id) ?? {};
      // Secrets Manager failed a moment ago, when this secret was past its age.
      if (stale && isCooling(stale)) throw stale.failure;
      if (isCooling(renewal)) {
        if (renewal?.failure) throw renewal.failure;
        return undefined;
      }
      const rememberRenewal = (failure?: Failure) => {
        const entry = entries.get(id);
        if (entry) entry.renewal = { since: Date.now(), ...(failure ? { failure } : {}) };
      };
      const refusedAt = performance.now();
      try {
        const { askedAt } = await read(id, limits.readMs, call);
        // A read that began before the refusal may have missed the rotation that caused it.
        if (!other() && askedAt < refusedAt) await read(id, limits.readMs, call);
      } catch (error) {
        if (error instanceof Failure && !(error instanceof OutOfTime)) rememberRenewal(error);
        throw missingOr(error, groupId, call);
      }
      if (!other()) rememberRenewal();
      return other();
    },
  };
}
