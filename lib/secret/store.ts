/** The Atlas credentials, kept fresh: read once for all who wait, used for a while, read again when Atlas refuses them. */

import { isDeepStrictEqual } from 'node:util';
import type { Credentials } from '../atlas/session.ts';
import type { CredentialsSource } from '../core/answer-question.ts';
import { type Call, timed } from '../core/call.ts';
import { withinDeadline } from '../core/deadline.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import { remember } from '../remember.ts';
import { singleFlight } from '../single-flight.ts';
import { within } from '../within.ts';
import { type ReadSecretText, UnreadableSecret } from './secrets-manager.ts';

export const limits = {
  /** Secrets Manager takes about 20 ms. The limit of one read, and of a call without any credentials. */
  readMs: 3000,
  /** A call that still has old credentials waits less. */
  refreshMs: 1000,
  /** After a reading that brought no other credentials, Secrets Manager is left alone for this long. */
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
  /** What could be read and used at least once, by the id of the secret. */
  const held = new Map<string, Held>();
  /**
   * The last reading that brought no other credentials, by the id of the secret: when it ended, and its failure where it had
   * one. Apart from what is held, so that questions about unknown projects push no known secret out.
   */
  const cooldowns = new Map<string, { since: number; failure?: Failure }>();
  const warming = new AbortController();

  const readShared = singleFlight(
    limits.readMs,
    async (id: string, signal: AbortSignal) => {
      const askedAt = performance.now();
      const text = await readText(id, signal);
      const known = held.get(id);
      const same = known?.text === text ? known : undefined;
      const read = { text, credentials: same?.credentials ?? parse(text, id), readAt: Date.now(), askedAt };
      remember(held, id, read);
      // What Atlas refused a moment ago and is still in the secret needs no other reading.
      if (!same || cooldowns.get(id)?.failure) cooldowns.delete(id);
      return read;
    },
    (id) => id,
  );

  const isRecent = (since: number, ms: number) => {
    const age = Date.now() - since;
    return age >= 0 && age < ms;
  };
  const coolDown = (id: string, failure?: Failure) =>
    remember(cooldowns, id, { since: Date.now(), ...(failure && { failure }) });
  const cooldownOf = (id: string) => {
    const cooldown = cooldowns.get(id);
    return cooldown && isRecent(cooldown.since, limits.cooldownMs) ? cooldown : undefined;
  };

  /** @throws Failure `OutOfTime` where only this call had no more time; any other failure is remembered */
  const read = async (id: string, mostMs: number, { deadline, usage }: Call): Promise<Held> => {
    usage.secretReads += 1;
    try {
      return await timed(usage, 'secretMs', () =>
        withinDeadline(deadline, mostMs, 'SecretUnavailable', 'Secrets Manager did not answer', (signal) =>
          readShared(id, signal),
        ),
      );
    } catch (error) {
      if (error instanceof Failure && !(error instanceof OutOfTime)) coolDown(id, error);
      throw error;
    }
  };

  const isPerProject = secretId.includes('{groupId}');
  const idFor = (groupId: string) => (isPerProject ? secretId.replaceAll('{groupId}', groupId) : secretId);
  const isMissing = (error: unknown): error is UnreadableSecret => isPerProject && error instanceof UnreadableSecret;

  /** A project whose own secret can't be read is not found; any other error stays. */
  const asSeenBy = (groupId: string, error: unknown, { usage }: Call) => {
    if (!isMissing(error)) return error;
    usage.secretDenied = error.denied;
    return new Failure('ProjectNotFound', `This service has no Atlas key for project ${groupId}.`);
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
      const id = idFor(groupId);
      const known = held.get(id);
      if (known) remember(held, id, known);
      if (known && isRecent(known.readAt, secretMaxAgeSeconds * 1000)) return known.credentials;
      const cooldown = cooldownOf(id);
      let failure = cooldown?.failure;
      // Where there is nothing to go on with, only the secret that a project does not have is left alone.
      if (known ? !cooldown : !isMissing(failure)) {
        try {
          const reading = read(id, known ? limits.refreshMs : limits.readMs, call);
          // From here on the time limit of this call applies, also to a read that the warm-up began.
          if (call.deadline.msLeft() > 0) warming.abort();
          return (await reading).credentials;
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          failure = error;
        }
      }
      if (!known) throw asSeenBy(groupId, failure, call);
      // Use the old key: Atlas may still accept it.
      call.usage.staleSecret = failure?.name ?? null;
      return known.credentials;
    },

    async renewed(groupId, refused, call) {
      const id = idFor(groupId);
      // By value: what was held may have been dropped and read again meanwhile.
      const other = () => {
        const credentials = held.get(id)?.credentials;
        return isDeepStrictEqual(credentials, refused) ? undefined : credentials;
      };
      if (other()) return other();
      const cooldown = cooldownOf(id);
      if (cooldown?.failure) throw asSeenBy(groupId, cooldown.failure, call);
      if (cooldown) return undefined;
      const refusedAt = performance.now();
      try {
        const { askedAt } = await read(id, limits.readMs, call);
        // A read that began before the refusal may have missed the rotation that caused it.
        if (!other() && askedAt < refusedAt) await read(id, limits.readMs, call);
      } catch (error) {
        // Refused by Atlas, and gone: the next question must not try it again.
        if (isMissing(error)) held.delete(id);
        throw asSeenBy(groupId, error, call);
      }
      if (!other()) coolDown(id);
      return other();
    },
  };
}
