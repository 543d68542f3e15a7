/** Authenticates requests to Atlas with a service account: one OAuth 2.0 access token, kept and shared by all calls. */

import { isObject } from '../json.ts';
import { singleFlight } from '../single-flight.ts';
import { accessDenied, failureByStatus, failureFrom, keyWasRefused, readAnswer } from './answer.ts';
import type { Server } from './base-url.ts';
import { type HttpAnswer, type HttpRequest, type Send, userAgent } from './http-client.ts';
import type { ServiceAccount, Session } from './session.ts';

const limits = {
  /** A token is given up this long before it expires, so that none expires on its way. */
  expiryMarginMs: 60_000,
  /** Some of a hundred live tokens may have expired by then. */
  tokenLimitSeconds: 60,
};

/** Atlas lets 100 access tokens of a service account live, and then answers 403: `access_denied`, "Access Token limit reached". */
const isTokenLimit = (content: unknown): boolean =>
  isObject(content) &&
  (content['error'] === 'access_denied' ||
    Object.values(content).some((text) => typeof text === 'string' && /token limit/i.test(text)));

/** @throws Failure for whatever is no token; RFC 6749, section 5.2 lets a server refuse the client with 400 or 401 */
function readToken(answer: HttpAnswer, now: number): { accessToken: string; expiresInSeconds: number } {
  const reading = readAnswer(answer);
  const { status, content } = reading;
  if (status === 200) {
    const { access_token: accessToken, expires_in: expiresInSeconds } = isObject(content) ? content : {};
    if (typeof accessToken === 'string' && /^[\x21-\x7e]+$/.test(accessToken) && typeof expiresInSeconds === 'number') {
      return { accessToken, expiresInSeconds };
    }
    throw failureFrom(reading, 'AtlasUnexpectedAnswer', "Atlas's answer holds no access token");
  }
  if (status === 400 || status === 401) {
    throw failureFrom(reading, 'AtlasCredentialsRejected', 'Atlas refuses the service account that is in the secret');
  }
  if (status === 403 && isTokenLimit(content)) {
    throw failureFrom(reading, 'AtlasRateLimited', 'Atlas lets no more access tokens of this service account live', {
      retryAfterSeconds: limits.tokenLimitSeconds,
    });
  }
  if (status === 403) throw accessDenied(reading, 'access tokens');
  throw failureByStatus(reading, now);
}

/**
 * Tokens come from `/api/oauth/token` at the base URL's origin by the client credentials grant (RFC 6749, section
 * 4.4). Atlas hands out 50 a minute and lets 100 live: a token is kept until shortly before its end.
 *
 * @param server where Atlas is
 * @param attemptMs milliseconds for one attempt, and so for a request that several of them share
 * @returns a session that throws the failure of the token request where there is one
 */
export function createTokenSession(
  { clientId, clientSecret }: ServiceAccount,
  server: Server,
  send: Send,
  attemptMs: number,
): Session {
  type Token = { authorization: string; expiresAt: number };
  let kept: Token | undefined;

  const tokenRequest: HttpRequest = {
    method: 'POST',
    purpose: 'token',
    server,
    path: '/api/oauth/token',
    headers: ['accept', 'application/json', 'content-type', 'application/x-www-form-urlencoded', ...userAgent],
    // Atlas wants id and secret as they are, where RFC 6749 would have them URL-encoded.
    authorization: () => `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`,
    body: 'grant_type=client_credentials',
  };

  const fetchToken = singleFlight(attemptMs, async (grant: HttpRequest, signal: AbortSignal): Promise<Token> => {
    const askedAt = Date.now();
    const token = readToken(await send(grant, signal), askedAt);
    kept = {
      authorization: `Bearer ${token.accessToken}`,
      expiresAt: askedAt + Math.max(token.expiresInSeconds * 1000 - limits.expiryMarginMs, 0),
    };
    return kept;
  });

  /** The request for a token counts for the call that it is sent for. */
  const grantFor = ({ onSend }: HttpRequest): HttpRequest => (onSend ? { ...tokenRequest, onSend } : tokenRequest);

  return async (request, signal) => {
    const sendWith = ({ authorization }: Token) => send({ ...request, authorization: () => authorization }, signal);

    const old = kept && Date.now() < kept.expiresAt ? kept : undefined;
    const answer = await sendWith(old ?? (await fetchToken(grantFor(request), signal)));
    // A kept token may have been revoked. A new one that is refused is refused for good, and one that is good but may
    // not see this project is kept: Atlas hands out 50 a minute.
    if (!old || !keyWasRefused(answer, readAnswer(answer))) return answer;
    if (kept === old) kept = undefined;
    return sendWith(kept ?? (await fetchToken(grantFor(request), signal)));
  };
}
