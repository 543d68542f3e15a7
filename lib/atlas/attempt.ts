/** One attempt at an answer, within its time limit. */

import type { LiveMigration } from '#contract';
import { type Call, timed } from '../core/call.ts';
import { Failure, OutOfTime } from '../core/failure.ts';
import type { Question } from '../core/question.ts';
import { within } from '../within.ts';
import { liveMigrationOf } from './answer.ts';
import { type HttpRequest, userAgent } from './http-client.ts';
import type { Credentials, Session } from './session.ts';

/**
 * An attempt at an answer, which fails by its result.
 *
 * @param failures the attempts of this call that failed before
 * @returns the document, and when its question was sent, in milliseconds since the epoch; or the failures with another one,
 *   the last one last
 */
export type Attempt = (
  failures: Failure[],
) => Promise<{ document: LiveMigration; askedAt: number } | { failures: Failure[] }>;

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

/** @param attemptMs milliseconds for a whole answer with all the authentication that it takes */
export function createAttempt(
  session: Session,
  attemptMs: number,
  question: Question,
  credentials: Credentials,
  call: Call,
): Attempt {
  const { deadline, usage } = call;

  const ask = async () => {
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
    const end = performance.now() + ms;
    const ofAttempt = { ...call, deadline: { msLeft: () => Math.max(0, end - performance.now()) } };
    const answer = await within(ms, tooLate, (signal) => session(request, signal, ofAttempt));
    usage.atlasStatus = answer.status;
    return { document: liveMigrationOf(answer, question, Date.now()), askedAt };
  };

  return async (earlier) => {
    try {
      return await timed(usage, 'atlasMs', ask);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.facts.atlas) {
        usage.atlasStatus = error.facts.atlas.status;
        usage.atlasErrorCode = error.facts.atlas.errorCode;
      }
      return { failures: [...earlier, error] };
    }
  };
}
