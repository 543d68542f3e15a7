/** Reads what Atlas answered, in an envelope or not: a live migration, or one failure of the closed list. */

import { isIP } from 'node:net';
import type { FailureName, LiveMigration } from '#contract';
import { Failure, type FailureFacts } from '../core/failure.ts';
import { toLiveMigration } from '../core/live-migration.ts';
import type { Question } from '../core/question.ts';
import { isObject } from '../json.ts';
import { schemesOf } from './digest-challenge.ts';
import type { HttpAnswer } from './http-client.ts';
import { retryAfter, retryAfterOf } from './retry-after.ts';

/** Atlas sends these with 401 for a good key that may not see this project. */
const keyAcceptedCodes = new Set(['USER_CANNOT_ACCESS_GROUP', 'NOT_IN_GROUP', 'USER_UNAUTHORIZED']);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own error quotes the text, so it goes no further.
    return undefined;
  }
}

/**
 * What Atlas says inside an envelope counts like an answer without one. An envelope's `status` is a number, or three
 * digits as text; an entity's is a word. The content is called `content` in the published standard
 * (mongodb/ipa 0115), `envelope` in the project's source document.
 */
function openEnvelope(httpStatus: number, value: unknown): { status: number; content: unknown } {
  if (!isObject(value) || Object.hasOwn(value, '_id')) return { status: httpStatus, content: value };
  const isDigits = typeof value['status'] === 'string' && /^\d{3}$/.test(value['status']);
  const said = isDigits ? Number(value['status']) : value['status'];
  if (typeof said !== 'number') return { status: httpStatus, content: value };
  // This is neither an envelope nor an entity, whose status is a word.
  if (!Number.isInteger(said) || said < 100 || said > 599) return { status: httpStatus, content: undefined };
  // An error's own HTTP status is never overruled by what its body says.
  const status = httpStatus >= 200 && httpStatus < 300 ? said : httpStatus;
  const holdsContent = Object.hasOwn(value, 'content') || Object.hasOwn(value, 'envelope');
  // Without content, the object itself may be an error document that also has its status.
  return { status, content: holdsContent ? (value['content'] ?? value['envelope']) : value };
}

/** Atlas puts the caller's address into the first parameter where the API access list does not have it. */
function addressToAllow(errorCode: string | null, parameters: unknown): string {
  const address: unknown = Array.isArray(parameters) ? parameters[0] : undefined;
  if (!errorCode || !/(ACCESS_LIST|WHITELIST)/.test(errorCode)) return '';
  return typeof address === 'string' && isIP(address)
    ? `Allow the IP address ${address} in the API access list of the key: `
    : 'Allow the address that this function calls from in the API access list of the key: ';
}

/** What Atlas said: its final status and content, out of any envelope. */
export type Reading = {
  status: number;
  content: unknown;
  /** Atlas's own code for an error. */
  errorCode: string | null;
  parameters: unknown;
  headers: HttpAnswer['headers'];
  /** Whether the request carried an authentication: only then is it known what Atlas makes of the key. */
  authenticated: boolean;
};

/** Codes are Atlas's words in capitals; anything else in that place is not repeated to callers and logs. */
export const isErrorCode = (value: unknown): value is string =>
  typeof value === 'string' && /^[A-Z][A-Z0-9_]{0,99}$/.test(value);

/**
 * Parses an HTTP answer and opens its envelope, where it has one. Never throws: the content of a body that is no JSON is
 * undefined.
 */
export function readingOf({ status: httpStatus, headers, body, authenticated }: HttpAnswer): Reading {
  const { status, content } = openEnvelope(httpStatus, parse(body));
  const { errorCode: code, parameters } = isObject(content) ? content : {};
  return { status, content, errorCode: isErrorCode(code) ? code : null, parameters, headers, authenticated };
}

/** Makes a failure that says what Atlas said. */
export function failureFrom(
  { status, errorCode }: Pick<Reading, 'status' | 'errorCode'>,
  name: FailureName,
  detail: string,
  facts: FailureFacts = {},
): Failure {
  const said = errorCode ? `${status} ${errorCode}` : `${status}`;
  return new Failure(name, `${detail} (${said}).`, { ...facts, atlas: { status, errorCode } });
}

/**
 * @param what Atlas denies access to, as the end of a sentence
 * @returns `AtlasAccessDenied`, which names the address to allow where Atlas tells it
 */
export function accessDenied(reading: Reading, what: string): Failure {
  const { errorCode, parameters, authenticated } = reading;
  return failureFrom(
    reading,
    'AtlasAccessDenied',
    `${addressToAllow(errorCode, parameters)}${authenticated ? 'Atlas accepts the key but denies' : 'Atlas denies'} access to ${what}`,
  );
}

/** @param seconds until Atlas takes requests again */
export const rateLimited = (said: Pick<Reading, 'status' | 'errorCode'>, seconds: number): Failure =>
  failureFrom(said, 'AtlasRateLimited', `Atlas asks to wait ${seconds} s before the next request`, {
    retryAfterSeconds: seconds,
  });

/**
 * The failure for a status that means the same whatever was asked.
 *
 * @param now milliseconds since the epoch, for a `Retry-After` that is a date
 */
export function failureByStatus(reading: Reading, now: number): Failure {
  const { status, headers, errorCode, parameters } = reading;
  const asked = retryAfter(headers['retry-after'], now);
  if (status === 429) return rateLimited(reading, asked ?? retryAfterOf(errorCode, parameters));
  if (status >= 500 && status <= 599)
    return asked === undefined
      ? failureFrom(reading, 'AtlasUnavailable', 'Atlas is not available')
      : failureFrom(reading, 'AtlasUnavailable', `Atlas is not available, and asks to wait ${asked} s`, {
          retryAfterSeconds: asked,
        });
  return failureFrom(reading, 'AtlasUnexpectedAnswer', 'Atlas answered with a status that is not understood');
}

/** How requests are authenticated, in the words of `WWW-Authenticate`. */
export type Scheme = 'digest' | 'bearer';

/** Whether the server asks for the key, as Atlas does; a challenge of another scheme is somebody else's. */
const isChallenge = ({ headers }: Pick<HttpAnswer, 'headers'>, scheme: Scheme) =>
  schemesOf(headers['www-authenticate']).some((offered) => offered === 'digest' || offered === scheme);

/**
 * Whether Atlas itself speaks: its error documents have a code in capitals, or their status as a number. A proxy, a firewall
 * and whatever answers at a wrong base URL have neither.
 */
export const isAtlasError = ({ content, errorCode }: Reading): boolean =>
  errorCode !== null || (isObject(content) && typeof content['error'] === 'number');

/** The failure for an answer of which nobody knows whether it is Atlas's. */
export const notAtlas = (reading: Reading): Failure =>
  failureFrom(
    reading,
    'AtlasUnexpectedAnswer',
    "The answer lacks Atlas's error document, so it may come from a proxy, a firewall or a wrong base URL",
  );

/** Whether a 401 is about the key itself (it has the challenge, or its body), not about what the key may see. */
export function keyWasRefused(answer: HttpAnswer, scheme: Scheme): boolean {
  // Authentication uses plain HTTP statuses: an envelope with 401 was sent after it, so the key was accepted.
  if (answer.status !== 401) return false;
  const reading = readingOf(answer);
  if (reading.errorCode !== null && keyAcceptedCodes.has(reading.errorCode)) return false;
  if (isChallenge(answer, scheme)) return true;
  return isAtlasError(reading) && (reading.errorCode === null || reading.errorCode === 'UNEXPECTED_ERROR');
}

/**
 * Reads Atlas's answer to a question that was asked with a key. Classified by status first and `errorCode` second,
 * since Atlas uses one code (UNEXPECTED_ERROR) with several statuses.
 *
 * @param answer the final HTTP answer, after authentication
 * @param now milliseconds since the epoch
 * @throws Failure any of the names that begin with `Atlas`, `ProjectNotFound` or `LiveMigrationNotFound`
 */
export function liveMigrationOf(answer: HttpAnswer, scheme: Scheme, question: Question, now: number): LiveMigration {
  const reading = readingOf(answer);
  const { status, content, errorCode } = reading;
  const { groupId, liveMigrationId } = question;

  if (status >= 200 && status <= 299) {
    if (answer.flaw) throw failureFrom(reading, 'AtlasUnexpectedAnswer', `Atlas's answer ${answer.flaw}`);
    return toLiveMigration(content, question);
  }
  if (keyWasRefused(answer, scheme)) {
    throw failureFrom(reading, 'AtlasCredentialsRejected', 'Atlas refuses the key that is in the secret');
  }
  if ([401, 402, 403, 404].includes(status) && !isAtlasError(reading)) throw notAtlas(reading);
  if (status === 401 || status === 402 || status === 403) throw accessDenied(reading, `project ${groupId}`);
  if (status === 404) {
    throw errorCode && /(^|_)(GROUP|PROJECT)(_|$)/.test(errorCode)
      ? failureFrom(reading, 'ProjectNotFound', `Atlas does not know project ${groupId}`)
      : failureFrom(reading, 'LiveMigrationNotFound', `Project ${groupId} has no live migration ${liveMigrationId}`);
  }
  throw failureByStatus(reading, now);
}
