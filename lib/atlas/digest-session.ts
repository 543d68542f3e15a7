/**
 * Authenticates requests to Atlas with an API key by HTTP Digest (RFC 7616), for as long as the process lives: a
 * warm request costs one round trip, a cold one two, a cold burst of N costs N + 1.
 */

import { randomBytes } from 'node:crypto';
import { Failure } from '../core/failure.ts';
import { singleFlight } from '../single-flight.ts';
import { keyWasRefused } from './answer.ts';
import { type DigestChallenge, readDigestChallenge } from './digest-challenge.ts';
import { authorization } from './digest-header.ts';
import type { HttpRequest, Send } from './http-client.ts';
import type { ApiKey, SendAuthenticated, Session } from './session.ts';

const limits = {
  /** Ops Manager, of the same code family, forgets a nonce after about 60 s: never send one that is close to that. */
  nonceAgeMs: 50_000,
};

const otherAuthentication = () =>
  new Failure('AtlasUnexpectedAnswer', 'Atlas asks for an authentication other than Digest.', {
    atlas: { status: 401, errorCode: null },
  });

/**
 * Digest authentication as in RFC 7616, without a username hash, user names in other character sets, and `auth-int`.
 *
 * @param attemptMs milliseconds for one attempt, and so for a request that several of them share
 * @returns a session that shares its challenges among all calls made through it
 */
export function createDigestSession(key: ApiKey, send: Send, attemptMs: number): Session {
  /** A challenge with the nonce that it brought, when it came, and how many requests have answered it. */
  type Nonce = { challenge: DigestChallenge; cnonce: string; since: number; uses: number };
  let kept: Nonce | undefined;

  const nonceOf = (challenge: DigestChallenge): Nonce => ({
    challenge,
    cnonce: randomBytes(16).toString('hex'),
    since: Date.now(),
    uses: 0,
  });

  const freshEnough = (nonce: Nonce | undefined) => {
    // The wall clock goes on while the process is frozen; where it was set back, the age is unknown.
    const age = nonce ? Date.now() - nonce.since : Number.NaN;
    return age >= 0 && age < limits.nonceAgeMs ? nonce : undefined;
  };

  /** Asks without authentication, to be challenged. What comes back for another reason is an answer like any other. */
  const requestChallenge = async (request: HttpRequest, signal: AbortSignal) => {
    const answer = await send({ ...request, purpose: 'challenge' }, signal);
    const header = answer.status === 401 ? answer.headers['www-authenticate'] : undefined;
    const challenge = readDigestChallenge(header);
    if (challenge) kept = nonceOf(challenge);
    else if (header) throw otherAuthentication();
    return { request, answer, nonce: challenge ? kept : undefined };
  };
  const shareChallenge = singleFlight(attemptMs, requestChallenge);

  const sendWith = (nonce: Nonce, request: HttpRequest, signal: AbortSignal) => {
    const authorize = () => {
      nonce.uses += 1;
      return authorization(nonce.challenge, key, { cnonce: nonce.cnonce, nonceCount: nonce.uses }, request);
    };
    return send({ ...request, authorization: authorize }, signal);
  };

  const authenticated: SendAuthenticated = async (request, signal) => {
    const old = freshEnough(kept);
    let nonce = old;
    if (!nonce) {
      let first = await shareChallenge(request, signal);
      // Of another call's answer (perhaps about another project), only the challenge is useful.
      if (!first.nonce && first.request !== request) first = await requestChallenge(request, signal);
      if (!first.nonce) return first.answer;
      nonce = first.nonce;
    }

    let answer = await sendWith(nonce, request, signal);
    // A kept nonce may be forgotten or used up, whatever `stale` says. So may one that other calls use as well: their
    // requests may overtake this one, and a server that wants the nonce counts in order then refuses it.
    let mayBeStale = nonce === old || nonce.uses > 1;
    for (let round = 1; round <= 2 && keyWasRefused(answer, 'digest'); round += 1) {
      if (kept === nonce) kept = undefined;
      const header = answer.headers['www-authenticate'];
      const challenge = readDigestChallenge(header);
      if (header && !challenge) throw otherAuthentication();
      if (!challenge || !(mayBeStale || challenge.stale)) return answer;
      // Until it is accepted, no other call has this nonce or can spoil its count.
      nonce = nonceOf(challenge);
      mayBeStale = false;
      answer = await sendWith(nonce, request, signal);
      if (answer.status !== 401) kept ??= nonce;
    }
    return answer;
  };

  return { scheme: 'digest', isReady: () => true, authenticate: async () => authenticated };
}
