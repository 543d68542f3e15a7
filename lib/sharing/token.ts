/** An access token that all execution environments share. It is sealed in the table. */

import type { Call } from '../core/call.ts';
import { Failure } from '../core/failure.ts';
import { createSeal, nameKey } from './sealing.ts';
import { clockToleranceMs, type Share } from './sharing.ts';
import type { Entry } from './store.ts';
import { isWholeNumber, readStoredFailure, stillLimited, storedFailure } from './stored-failure.ts';
import { callerOf } from './usage.ts';

const limits = {
  /** A lease lasts for this much longer than the request. */
  leaseMarginMs: 1000,
};

/** `expiresAt` is when it is given up, in milliseconds since the epoch. */
export type Token = { authorization: string; expiresAt: number };

type Shared = Token | { cameAt: number; limit: Failure };

/**
 * @param identity what identifies a token, with the client secret
 * @param attemptMs milliseconds for one attempt at an answer, and as many for a request for a token
 * @returns asks for a token, or gets one that another has asked for; throws what asking throws, and a rate limit of the token
 *   endpoint that another has met
 */
export function createTokenSharing(share: Share, identity: string[], clientSecret: string, attemptMs: number) {
  // The number goes up with the form of the entries, so that no version reads those of another.
  const key = nameKey(clientSecret, ['token 1', ...identity]);
  const { seal, open } = createSeal(clientSecret, key);

  const read = ({ text }: Entry): Shared | undefined => {
    try {
      const { authorization, expiresAt, cameAt, limit } = JSON.parse(open(text));
      if (isWholeNumber(cameAt)) return { cameAt, limit: readStoredFailure(limit) };
      return typeof authorization === 'string' && isWholeNumber(expiresAt) ? { authorization, expiresAt } : undefined;
    } catch {
      return undefined;
    }
  };

  return async (
    call: Call,
    fetchToken: () => Promise<Token>,
    refused: Token | undefined,
  ): Promise<{ token: Token; isNew: boolean }> => {
    const judge = (entry: Entry): Shared | undefined => {
      const shared = read(entry);
      const now = Date.now();
      if (!shared) return undefined;
      if ('limit' in shared) {
        const limit =
          shared.cameAt <= now + clockToleranceMs ? stillLimited(shared.limit, shared.cameAt, now) : undefined;
        return limit && { ...shared, limit };
      }
      const isGood = now < shared.expiresAt;
      return isGood && shared.authorization !== refused?.authorization ? shared : undefined;
    };
    const work = async () => {
      let value: Shared;
      try {
        value = await fetchToken();
      } catch (error) {
        if (!(error instanceof Failure) || error.name !== 'AtlasRateLimited') throw error;
        value = { cameAt: Date.now(), limit: error };
      }
      const stored = 'limit' in value ? { ...value, limit: storedFailure(value.limit) } : value;
      return { value, text: seal(JSON.stringify(stored)) };
    };
    const task = {
      ...callerOf(call),
      key,
      // Who waits for another's token keeps the time to ask for one, and then for an answer.
      workMs: () => 2 * attemptMs,
      leaseMs: attemptMs + limits.leaseMarginMs,
      storesLate: true,
      judge,
      work,
    };
    const { value, from } = await share<Shared>(task);
    if ('limit' in value) throw value.limit;
    return { token: value, isNew: from === 'work' };
  };
}
