/** Asks Atlas one question, with whatever authentication the credentials want, in the time that there is. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { AskAtlas } from '../core/answer-question.ts';
import { type Call, timed } from '../core/call.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import type { Question } from '../core/question.ts';
import { type Attempt, shareAttempts } from '../sharing/answers.ts';
import type { Share } from '../sharing/sharing.ts';
import { within } from '../within.ts';
import { liveMigrationOf } from './answer.ts';
import { createDigestSession } from './digest-session.ts';
import { type HttpRequest, type Send, userAgent } from './http-client.ts';
import { retryDelayMs } from './retry.ts';
import type { Credentials, Session } from './session.ts';
import { createTokenSession } from './token-session.ts';

/** The media type to ask for: v2 wants one with a version date, v1.0 knows only plain JSON. */
const mediaTypes = { 'v1.0': 'application/json', v2: 'application/vnd.atlas.2023-01-01+json' };

/** Ids and flags are valid: nothing in them needs escaping. */
function requestFor({ groupId, liveMigrationId, envelope, pretty }: Question, { baseUrl }: Credentials): HttpRequest {
  const { server, path, version } = baseUrl;
  const flags = [
    ...(envelope === undefined ? [] : [`envelope=${envelope}`]),
    ...(pretty === undefined ? [] : [`pretty=${pretty}`]),
  ];
  const query = flags.length > 0 ? `?${flags.join('&')}` : '';
  return {
    method: 'GET',
    purpose: 'question',
    server,
    path: `${path}/groups/${groupId}/liveMigrations/${liveMigrationId}${query}`,
    headers: ['accept', mediaTypes[version], ...userAgent],
  };
}

/**
 * Makes the function that asks Atlas, with one session for each credentials object, and with the retries of `retry.ts`.
 *
 * @param send the HTTP client
 * @param attemptMs milliseconds for one attempt, which is a whole answer with all the authentication that it takes
 * @param shared how answers are shared; undefined where each question asks Atlas
 */
export function createAtlasClient(
  send: Send,
  attemptMs: number,
  shared?: { share: Share; freshnessSeconds: number },
): AskAtlas<Credentials> {
  // The same credentials are the same object, so a session lives exactly as long as what it authenticates with.
  const sessions = new WeakMap<Credentials, Session>();
  const sessionFor = (credentials: Credentials): Session => {
    const known = sessions.get(credentials);
    if (known) return known;
    const session =
      'clientId' in credentials
        ? createTokenSession(credentials, credentials.baseUrl.server, send, attemptMs, shared?.share)
        : createDigestSession(credentials, send, attemptMs);
    sessions.set(credentials, session);
    return session;
  };

  const ask = async (question: Question, credentials: Credentials, call: Call) => {
    const { deadline, usage } = call;
    const ms = Math.min(attemptMs, deadline.msLeft());
    const tooLate = () =>
      new (ms < attemptMs ? OutOfTime : Failure)('AtlasTimedOut', `Atlas did not answer within ${Math.round(ms)} ms.`);
    usage.attempts += 1;
    usage.atlasStatus = null;
    usage.atlasErrorCode = null;
    let askedAt = 0;
    const request: HttpRequest = {
      ...requestFor(question, credentials),
      onSend: (purpose) => {
        usage.atlasRequests += 1;
        if (purpose === 'challenge') usage.challengeRequests += 1;
        if (purpose === 'token') usage.tokenRequests += 1;
        // The last one is the question that is answered.
        askedAt = Date.now();
      },
    };
    try {
      const end = performance.now() + ms;
      const attemptCall = { ...call, deadline: { msLeft: () => Math.max(0, end - performance.now()) } };
      const answer = await within(ms, tooLate, (signal) => sessionFor(credentials)(request, signal, attemptCall));
      usage.atlasStatus = answer.status;
      return { document: liveMigrationOf(answer, question, Date.now()), askedAt };
    } catch (error) {
      if (error instanceof Failure && error.facts.atlas) {
        usage.atlasStatus = error.facts.atlas.status;
        usage.atlasErrorCode = error.facts.atlas.errorCode;
      }
      throw error;
    }
  };

  return async (question, credentials, call) => {
    const attemptAlone: Attempt = async (failures) => {
      try {
        return await timed(call.usage, 'atlasMs', () => ask(question, credentials, call));
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        return { failures: [...failures, error] };
      }
    };
    const attempt = shared
      ? shareAttempts(shared.share, shared.freshnessSeconds, attemptMs, question, credentials, call, attemptAlone)
      : attemptAlone;
    for (;;) {
      const result = await attempt(call.failures);
      if ('document' in result) return result.document;
      call.failures = result.failures;
      const delayMs = retryDelayMs(call.failures, call.deadline.msLeft(), attemptMs, Math.random());
      if (delayMs === undefined) throw call.failures.at(-1);
      await sleep(delayMs);
    }
  };
}
