/** The Atlas credentials, kept fresh: read once for all who wait, used for a while, read again when Atlas refuses them. */

import { isDeepStrictEqual } from 'node:util';
import type { Credentials } from '../atlas/session.ts';
import type { CredentialsSource } from '../core/answer-question.ts';
import { type Call, timed } from '../core/call.ts';
import { within } from '../core/deadline.ts';
import { Failure } from '../core/failure.ts';
import { singleFlight } from '../single-flight.ts';
import { type ReadSecretText, UnreadableSecret } from './secrets-manager.ts';

const limits = {
  /** Secrets Manager takes some 20 ms; a call that has no credentials at all waits this long for them. */
  firstReadMs: 3000,
  /** A call that still has old credentials waits less. */
  refreshMs: 1000,
  /** Between two readings of a secret that could not be refreshed, was refused by Atlas, or could not be read. */
  cooldownMs: 10_000,
  /** Secrets kept at once, where each project has its own. */
  secrets: 1000,
};

/** A call ran out of its own time, which says nothing of the secret. */
class OutOfTime extends Failure {}

/** Sets an entry of a map of limited size, in which the first entry is the one not set for longest. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > limits.secrets) map.delete(map.keys().next().value ?? '');
}

export type CredentialsStore = CredentialsSource<Credentials> & {
  /**
   * Starts the first read of a secret that all projects share, so that it is under way while the rest loads. Whoever
   * asks meanwhile waits for the same read; if it fails, the first question reads anew.
   */
  warmUp(): void;
};

/**
 * @param readText asks Secrets Manager
 * @param parse reads the secret's text; throws `SecretInvalid`
 * @param secretId the secret's name or ARN, in which `{groupId}` stands for the project's id
 */
export function createCredentialsStore(
  readText: ReadSecretText,
  parse: (text: string, secretId: string) => Credentials,
  { secretId, secretMaxAgeSeconds }: { secretId: string; secretMaxAgeSeconds: number },
): CredentialsStore {
  type Held = { text: string; credentials: Credentials; readAt: number };
  type Entry = {
    held?: Held;
    /** The last refresh of an aged secret, where it failed. */
    stale?: { since: number; failure: Failure };
    /** The last renewal of a refused secret, where it failed or found the same credentials. */
    renewal?: { since: number; failure?: Failure };
    read: (id: string, signal: AbortSignal) => Promise<Held>;
  };
  const entries = new Map<string, Entry>();
  const warming = new AbortController();

  const newEntry = (): Entry => {
    const entry: Entry = {
      read: singleFlight(async (id: string, signal: AbortSignal) => {
        try {
          const text = await readText(id, signal);
          const same = entry.held?.text === text;
          if (!same) delete entry.renewal;
          const credentials = same && entry.held ? entry.held.credentials : parse(text, id);
          entry.held = { text, credentials, readAt: Date.now() };
          return entry.held;
        } catch (error) {
          if (!entry.held && entries.get(id) === entry) entries.delete(id);
          throw error;
        }
      }),
    };
    return entry;
  };

  const entryFor = (id: string): Entry => {
    const entry = entries.get(id) ?? newEntry();
    remember(entries, id, entry);
    return entry;
  };

  const isPerProject = secretId.includes('{groupId}');
  /** Projects whose secret could not be read a moment ago. */
  const missingProjects = new Map<string, { since: number; denied: boolean }>();
  const projectNotFound = (groupId: string, denied: boolean, { usage }: Call) => {
    usage.secretDenied = denied;
    return new Failure('ProjectNotFound', `There is no Atlas key for project ${groupId} here.`);
  };

  /** A project whose own secret cannot be read is not found, and remembered as such; any other error stays. */
  const missingOr = (error: unknown, groupId: string, call: Call) => {
    if (!isPerProject || !(error instanceof UnreadableSecret)) return error;
    remember(missingProjects, groupId, { since: Date.now(), denied: error.denied });
    return projectNotFound(groupId, error.denied, call);
  };

  const idFor = (groupId: string) => secretId.replaceAll('{groupId}', groupId);

  const read = (entry: Entry, id: string, mostMs: number, { deadline, usage }: Call): Promise<Held> => {
    const ms = Math.min(mostMs, deadline.msLeft());
    const tooLate = () =>
      new (ms < mostMs ? OutOfTime : Failure)(
        'SecretUnavailable',
        `Secrets Manager did not answer within ${Math.round(ms)} ms.`,
      );
    usage.secretReads += 1;
    return timed(usage, 'secretMs', () => within(ms, tooLate, (signal) => entry.read(id, signal)));
  };

  /** Whether something was so short a while ago that Secrets Manager is not asked again. */
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
      entryFor(secretId)
        .read(secretId, warming.signal)
        .catch(() => undefined);
    },

    async current(groupId, call) {
      const missing = missingProjects.get(groupId);
      if (missing && isCooling(missing)) throw projectNotFound(groupId, missing.denied, call);

      const id = idFor(groupId);
      const entry = entryFor(id);
      const { held } = entry;
      if (!held) {
        try {
          const reading = read(entry, id, limits.firstReadMs, call);
          // From here on it is this call's time that counts, whoever began the read.
          if (call.deadline.msLeft() > 0) warming.abort();
          return (await reading).credentials;
        } catch (error) {
          throw missingOr(error, groupId, call);
        }
      }
      if (isFresh(held)) return held.credentials;
      let reason = entry.stale?.failure.name ?? null;
      if (!isCooling(entry.stale)) {
        try {
          return (await read(entry, id, limits.refreshMs, call)).credentials;
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          reason = error.name;
          if (!(error instanceof OutOfTime)) entry.stale = { since: Date.now(), failure: error };
        }
      }
      // Better an old key, which Atlas may well take, than none.
      call.usage.staleSecret = reason;
      return held.credentials;
    },

    async renewed(groupId, refused, call) {
      const id = idFor(groupId);
      const entry = entryFor(id);
      // By value: an entry may have been dropped and read again meanwhile.
      const other = () => (isDeepStrictEqual(entry.held?.credentials, refused) ? undefined : entry.held?.credentials);
      if (other()) return other();
      // Secrets Manager failed a moment ago, when this secret was past its age.
      if (isCooling(entry.stale) && entry.stale) throw entry.stale.failure;
      if (isCooling(entry.renewal)) {
        if (entry.renewal?.failure) throw entry.renewal.failure;
        return undefined;
      }
      try {
        await read(entry, id, limits.firstReadMs, call);
      } catch (error) {
        if (error instanceof Failure && !(error instanceof OutOfTime)) {
          entry.renewal = { since: Date.now(), failure: error };
        }
        throw missingOr(error, groupId, call);
      }
      if (!other()) entry.renewal = { since: Date.now() };
      return other();
    },
  };
}
