/** Attempts at an answer, each within its time limit. */

import type { LiveMigration } from '#contract';
import { type Call, timed } from '../core/call.ts';
import { withinDeadline } from '../core/deadline.ts';
import { Failure } from '../core/failure.ts';
import type { Question } from '../core/question.ts';
import { liveMigrationOf } from './answer.ts';
import { type HttpRequest, understand, userAgent } from './http-client.ts';
import type { Credentials, SendAuthenticated, Session } from './session.ts';

/** The document, and when its question was sent, in milliseconds since the epoch; or all failures so far, the last one last. */
export type Result = { document: LiveMigration; askedAt: number } | { failures: Failure[] };

/** Attempts at an answer, which fail by their result. Each gets the attempts of its call that failed before. */
export type Attempts = {
  /** Whether the next one can begin at once; else it takes a request first, with a time limit of its own. */
  isReady(): boolean;
  /** Makes the next one ready. @returns the failures where it can't be made */
  prepare(earlier: Failure[]): Promise<{ failures: Failure[] } | undefined>;
  make(earlier: Failure[]): Promise<Result>;
};

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

/** @param attemptMs milliseconds for a whole answer, without what the session may need before it */
export function createAttempts(
  session: Session,
  attemptMs: number,
  question: Question,
  credentials: Credentials,
  call: Call,
): Attempts {
  const { deadline, usage } = call;
  let askedAt = 0;
  const onSend: HttpRequest['onSend'] = (purpose) => {
    usage.atlasRequests += 1;
    if (purpose === 'challenge') usage.challengeRequests += 1;
    if (purpose === 'token') usage.tokenRequests += 1;
    // The last one is the question that is answered.
    askedAt = Date.now();
  };

  let ready: SendAuthenticated | undefined;
  const begin = () => {
    usage.attempts += 1;
    usage.atlasStatus = null;
    usage.atlasErrorCode = null;
  };
  const getReady = async () => {
    try {
      ready ??= await session.authenticate(call, onSend);
    } catch (error) {
      begin();
      throw error;
    }
    return ready;
  };

  const ask = async () => {
    const send = await getReady();
    ready = undefined;
    begin();
    const request = { ...requestFor(question, credentials), onSend };
    const answer = await withinDeadline(deadline, attemptMs, 'AtlasTimedOut', 'Atlas did not answer', (signal) =>
      send(request, signal),
    );
    usage.atlasStatus = answer.status;
    const document = understand(answer, () => liveMigrationOf(answer, session.scheme, question, Date.now()));
    return { document, askedAt };
  };

  const failed = (earlier: Failure[], error: unknown) => {
    if (!(error instanceof Failure)) throw error;
    if (error.facts.atlas) {
      usage.atlasStatus = error.facts.atlas.status;
      usage.atlasErrorCode = error.facts.atlas.errorCode;
    }
    return { failures: [...earlier, error] };
  };

  return {
    isReady: () => ready !== undefined || session.isReady(),
    prepare: (earlier) =>
      timed(usage, 'atlasMs', getReady).then(
        () => undefined,
        (error) => failed(earlier, error),
      ),
    make: (earlier) => timed(usage, 'atlasMs', ask).catch((error) => failed(earlier, error)),
  };
}
