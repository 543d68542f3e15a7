/** The Atlas credentials, kept fresh: read once for all who wait, used for a while, read again when Atlas refuses them. */

import type { Credentials } from '../atlas/session.ts';
import type { CredentialsSource } from '../core/answer-question.ts';
import { type Call, timed } from '../core/call.ts';
import { within } from '../core/deadline.ts';
import { Failure } from '../core/failure.ts';
import { singleFlight } from '../single-flight.ts';
import type { ReadSecretText } from './secrets-manager.ts';

const limits = {
  /** Secrets Manager takes some 20 ms; a call that has no credentials at all waits this long for them. */
  firstReadMs: 3000,
  /** A call that still has old credentials waits less. */
  refreshMs: 1000,
  /** How long an aged secret is used on after a refresh that failed, and a refused one is not read again. */
  cooldownMs: 10_000,
  /** Secrets kept at once, where each project has its own. */
  secrets: 1000,
};

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
    /** When an aged secret may be asked for again, after Secrets Manager could not answer. */
    refreshAt: number;
    /** When a refused secret may be asked for again, after it was found unchanged. */
    renewAt: number;
    read: (id: string, signal: AbortSignal) => Promise<Held>;
  };
  const entries = new Map<string, Entry>();
  const warming = new AbortController();

  const newEntry = (): Entry => {
    const entry: Entry = {
      refreshAt: 0,
      renewAt: 0,
      read: singleFlight(async (id: string, signal: AbortSignal) => {
        const text = await readText(id, signal);
        const same = entry.held?.text === text;
        const credentials = same && entry.held ? entry.held.credentials : parse(text, id);
        entry.held = { text, credentials, readAt: Date.now() };
        return entry.held;
      }),
    };
    return entry;
  };

  const entryFor = (id: string): Entry => {
    const entry = entries.get(id) ?? newEntry();
    // Set anew, so that the first of the map is the one not asked for longest.
    entries.delete(id);
    entries.set(id, entry);
    if (entries.size > limits.secrets) entries.delete(entries.keys().next().value ?? '');
    return entry;
  };

  const idFor = (groupId: string) => secretId.replaceAll('{groupId}', groupId);

  const read = (entry: Entry, id: string, mostMs: number, { deadline, usage }: Call): Promise<Held> => {
    const ms = Math.min(mostMs, deadline.msLeft());
    const tooLate = () =>
      new Failure('SecretUnavailable', `Secrets Manager did not answer within ${Math.round(ms)} ms.`);
    usage.secretReads += 1;
    return timed(usage, 'secretMs', () => within(ms, tooLate, (signal) => entry.read(id, signal)));
  };

  const isFresh = ({ readAt }: Held) => {
    const age = Date.now() - readAt;
    return age >= 0 && age < secretMaxAgeSeconds * 1000;
  };

  return {
    warmUp() {
      if (secretId.includes('{groupId}')) return;
      entryFor(secretId)
        .read(secretId, warming.signal)
        .catch(() => undefined);
    },

    async current(groupId, call) {
      const id = idFor(groupId);
      const entry = entryFor(id);
      const { held } = entry;
      if (!held) {
        try {
          const reading = read(entry, id, limits.firstReadMs, call);
          // From here on it is this call's time that counts, whoever began the read.
          warming.abort();
          return (await reading).credentials;
        } finally {
          if (!entry.held && entries.get(id) === entry) entries.delete(id);
        }
      }
      if (isFresh(held) || Date.now() < entry.refreshAt) return held.credentials;
      try {
        return (await read(entry, id, limits.refreshMs, call)).credentials;
      } catch (error) {
        if (!(error instanceof Failure && error.name === 'SecretUnavailable')) throw error;
        // Better an old key, which Atlas may well take, than none.
        entry.refreshAt = Date.now() + limits.cooldownMs;
        return held.credentials;
      }
    },

    async renewed(groupId, refused, call) {
      const id = idFor(groupId);
      const entry = entryFor(id);
      const other = () => (entry.held?.credentials === refused ? undefined : entry.held?.credentials);
      if (other() || Date.now() < entry.renewAt) return other();
      await read(entry, id, limits.firstReadMs, call);
      if (!other()) entry.renewAt = Date.now() + limits.cooldownMs;
      return other();
    },
  };
}
