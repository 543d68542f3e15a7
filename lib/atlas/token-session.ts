/** Authenticates requests to Atlas with a service account: one OAuth 2.0 access token, kept and shared by all calls. */

import type { Call } from '../core/call.ts';
import { withinDeadline } from '../core/deadline.ts';
import { isObject } from '../json.ts';
import type { Share } from '../sharing/sharing.ts';
import { createTokenSharing, type Token } from '../sharing/token.ts';
import { singleFlight } from '../single-flight.ts';
import {
  accessDenied,
  failureByStatus,
  failureFrom,
  isAtlasError,
  keyWasRefused,
  notAtlas,
  readingOf,
} from './answer.ts';
import type { Server } from './base-url.ts';
import { type HttpAnswer, type HttpRequest, type Send, understand, userAgent } from './http-client.ts';
import type { ServiceAccount, Session } from './session.ts';

const limits = {
  /** A token is given up this long before it expires, so that none expires on its way. */
  expiryMarginMs: 60_000,
  /** Some of a hundred live tokens may have expired by then. */
  tokenLimitSeconds: 60,
};

/**
 * At most 100 access tokens of a service account are valid at a time. For one more, Atlas answers 403: `access_denied`, "Access
 * Token limit reached". With another text, it denies access for another reason.
 */
function isTokenLimit(content: unknown): boolean {
  if (!isObject(content)) return false;
  const { error, errorCode: _, ...more } = content;
  const texts = Object.values(more).filter((text): text is string => typeof text === 'string' && text !== '');
  return texts.some((text) => /token limit/i.test(text)) || (error === 'access_denied' && texts.length === 0);
}

/** RFC 6749, section 5.1: optional. A token whose life is unknown serves one question. */
function lifeSeconds(expiresIn: unknown): number {
  const isDigits = typeof expiresIn === 'string' && /^\d{1,15}$/.test(expiresIn);
  return typeof expiresIn === 'number' || isDigits ? Number(expiresIn) : 0;
}

/** @throws Failure for whatever is no token; RFC 6749, section 5.2 lets a server refuse the client with 400 or 401 */
function readToken(answer: HttpAnswer, now: number): { accessToken: string; expiresInSeconds: number } {
  const reading = readingOf(answer);
  const { status, content } = reading;
  if (status === 200) {
    const { access_token: accessToken, expires_in: expiresIn } = isObject(content) ? content : {};
    if (typeof accessToken === 'string' && /^[\x21-\x7e]+$/.test(accessToken)) {
      return { accessToken, expiresInSeconds: lifeSeconds(expiresIn) };
    }
    throw failureFrom(reading, 'AtlasUnexpectedAnswer', "Atlas's answer holds no access token");
  }
  const isOAuthError = isObject(content) && typeof content['error'] === 'string';
  if ([400, 401, 402, 403].includes(status) && !isOAuthError && !isAtlasError(reading)) throw notAtlas(reading);
  if (status === 400 || status === 401) {
    throw failureFrom(reading, 'AtlasCredentialsRejected', 'Atlas refuses the service account that is in the secret');
  }
  if (status === 403 && isTokenLimit(content)) {
    throw failureFrom(reading, 'AtlasRateLimited', 'This service account has too many valid access tokens in Atlas', {
      retryAfterSeconds: limits.tokenLimitSeconds,
    });
  }
  if (status === 402 || status === 403) throw accessDenied(reading, 'access tokens');
  throw failureByStatus(reading, now);
}

/**
 * Tokens come from `/api/oauth/token` at the base URL's origin by the client credentials grant (RFC 6749, section
 * 4.4). Atlas issues 50 a minute, and at most 100 are valid at a time: a token is kept until shortly before it expires.
 *
 * @param server where Atlas is
 * @param attemptMs milliseconds for one attempt, and as many for a request for a token, which several of them share
 * @param share undefined where no table is: then each execution environment has a token of its own
 */
export function createTokenSession(
  { clientId, clientSecret }: ServiceAccount,
  server: Server,
  send: Send,
  attemptMs: number,
  share: Share | undefined,
): Session {
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

  const fetchToken = async (grant: HttpRequest, signal: AbortSignal): Promise<Token> => {
    const askedAt = Date.now();
    const token = understand(await send(grant, signal), (answer) => readToken(answer, askedAt));
    return {
      authorization: `Bearer ${token.accessToken}`,
      expiresAt: askedAt + Math.max(Math.floor(token.expiresInSeconds * 1000) - limits.expiryMarginMs, 0),
    };
  };
  const fetchForAll = singleFlight(attemptMs, fetchToken);
  const shareToken =
    share && createTokenSharing(share, [clientId, server.protocol, server.host], clientSecret, attemptMs);

  let kept: Token | undefined;
  const isKept = () => kept !== undefined && Date.now() < kept.expiresAt;

  /** A token other than the refused one, and whether it was asked for just now. */
  const tokenFor = async (call: Call, onSend: HttpRequest['onSend'], refused?: Token) => {
    if (kept === refused) kept = undefined;
    if (kept && isKept()) return { token: kept, isNew: false };
    // The request for a token counts for the call that it is sent for.
    const grant = onSend ? { ...tokenRequest, onSend } : tokenRequest;
    const ask = () =>
      withinDeadline(call.deadline, attemptMs, 'AtlasTimedOut', 'Atlas issued no access token', (signal) =>
        fetchForAll(grant, signal),
      );
    const got = shareToken ? await shareToken(call, ask, refused) : { token: await ask(), isNew: true };
    kept = got.token;
    return got;
  };

  return {
    scheme: 'bearer',
    isReady: isKept,
    async authenticate(call, onSend) {
      const { token, isNew } = await tokenFor(call, onSend);
      return async (request, signal) => {
        const sendWith = ({ authorization }: Token) => send({ ...request, authorization: () => authorization }, signal);
        const answer = await sendWith(token);
        // A kept token may have been revoked. Where a new one is refused, another one would be as well. A token that is valid
        // but may not see this project is kept: Atlas issues only 50 a minute.
        if (isNew || !keyWasRefused(answer, 'bearer')) return answer;
        return sendWith((await tokenFor(call, onSend, token)).token);
      };
    },
  };
}
