/**
 * Authenticates requests to Atlas with an API key by HTTP Digest (RFC 7616), for as long as the process lives: a
 * warm request costs one round trip, a cold one two, a cold burst of N costs N + 1.
 */

import { createHash, randomBytes } from 'node:crypto';
import { DigestClient } from 'digest-fetch';
import { Failure } from '../core/failure.ts';
import { singleFlight } from '../single-flight.ts';
import { keyWasRefused } from './answer.ts';
import { type DigestAlgorithm, type DigestChallenge, readDigestChallenge } from './digest-challenge.ts';
import type { HttpRequest, Send } from './http-client.ts';
import type { ApiKey, Session } from './session.ts';

const limits = {
  /** Ops Manager, of the same code family, forgets a nonce after about 60 s: never send one that is close to that. */
  nonceAgeMs: 50_000,
};

const hashNames: Record<string, string> = { MD5: 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512-256' };

/** H(username:realm:password) of RFC 7616, section 3.4.2, over the values without quotes and escapes, in the bytes that came. */
function hashedKey(algorithm: DigestAlgorithm, { publicKey, privateKey }: ApiKey, realm: string): string {
  const name = hashNames[algorithm.replace('-sess', '')] ?? '';
  return createHash(name).update(`${publicKey}:${realm}:${privateKey}`, 'latin1').digest('hex');
}

const escapeQuoted = (text: string) => text.replace(/["\\]/g, '\\$&');

/**
 * Makes the answers to one challenge. Each call of the result makes one `Authorization` header with a nonce count of
 * its own: 8 hexadecimal digits that begin at 1 (section 3.4), never used twice.
 */
export function answerChallenge(challenge: DigestChallenge, key: ApiKey, cnonce: string) {
  const { realm, nonce, opaque, algorithm, qop } = challenge;
  // digest-fetch counts in decimal and across nonces, so each challenge gets a client of its own, and our count. Its
  // parser looks for directives inside the text of others, and its cnonce comes from Math.random: so it gets nothing to
  // parse from the server: its fields are set directly.
  const client = new DigestClient(escapeQuoted(key.publicKey), hashedKey(algorithm, key, realm), {
    algorithm,
    precomputedHash: true,
    cnonceSize: 0,
  });
  client.parseAuth(qop ? 'Digest qop="auth"' : 'Digest none');
  const quoted = { realm: escapeQuoted(realm), opaque: opaque === undefined ? null : escapeQuoted(opaque) };
  Object.assign(client.digest, { ...quoted, nonce, cnonce });

  let nonceCount = 0;
  const quotedNonce = escapeQuoted(nonce);
  return ({ method, path }: Pick<HttpRequest, 'method' | 'path'>): string => {
    nonceCount += 1;
    Object.assign(client.digest, { nc: nonceCount.toString(16) });
    // Of a URL it uses the part after the host only.
    const { headers } = client.addAuth(`http://host${path}`, { method });
    // What is hashed is the nonce itself, what is sent is a quoted string (RFC 9110, section 5.6.4). No other directive
    // before it can hold these characters: quotes inside of them are escaped.
    const header: string =
      quotedNonce === nonce
        ? headers.Authorization
        : headers.Authorization.replace(`nonce="${nonce}"`, () => `nonce="${quotedNonce}"`);
    // Both must be left out where the challenge has no qop (RFC 2617, section 3.2.2); digest-fetch always sends them.
    return qop ? header : header.replace(/,nc=[^,]*,cnonce="[^"]*"$/, '');
  };
}

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
  type Nonce = { authorize: ReturnType<typeof answerChallenge>; since: number; uses: number };
  let kept: Nonce | undefined;

  const nonceOf = (challenge: DigestChallenge): Nonce => ({
    authorize: answerChallenge(challenge, key, randomBytes(16).toString('hex')),
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
    const challenge = answer.status === 401 ? readDigestChallenge(answer.headers['www-authenticate']) : undefined;
    if (challenge) kept = nonceOf(challenge);
    else if (answer.status === 401) throw otherAuthentication();
    return { request, answer, nonce: challenge ? kept : undefined };
  };
  const shareChallenge = singleFlight(attemptMs, requestChallenge);

  const sendWith = (nonce: Nonce, request: HttpRequest, signal: AbortSignal) => {
    const authorization = () => {
      nonce.uses += 1;
      return nonce.authorize(request);
    };
    return send({ ...request, authorization }, signal);
  };

  return async (request, signal) => {
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
    for (let round = 1; round <= 2 && keyWasRefused(answer); round += 1) {
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
}
