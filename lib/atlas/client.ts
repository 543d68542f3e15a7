/** Asks Atlas one question, with whatever authentication the credentials want, in the time that there is. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { AskAtlas } from '../core/answer-question.ts';
import { shareAttempts } from '../sharing/answers.ts';
import type { Share } from '../sharing/sharing.ts';
import { createAttempts } from './attempt.ts';
import { createDigestSession } from './digest-session.ts';
import type { Send } from './http-client.ts';
import { retryDelayMs } from './retry.ts';
import type { Credentials, Session } from './session.ts';
import { createTokenSession } from './token-session.ts';

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

  return async (question, credentials, call) => {
    const attempts = createAttempts(sessionFor(credentials), attemptMs, question, credentials, call);
    const make = shared
      ? shareAttempts(shared.share, shared.freshnessSeconds, attemptMs, question, credentials, call, attempts)
      : attempts.make;
    for (;;) {
      const result = await make(call.failures);
      if ('document' in result) return result.document;
      call.failures = result.failures;
      const delayMs = retryDelayMs(call.failures, call.deadline.msLeft(), attemptMs, Math.random());
      if (delayMs === undefined) throw call.failures.at(-1);
      await sleep(delayMs);
    }
  };
}
