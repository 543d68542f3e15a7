/** A failure as a problem document (RFC 9457). */

import { type Failure, kindOf } from './failure.ts';

/** The body of an HTTP answer with the media type `application/problem+json`. */
export type Problem = {
  type: string;
  title: string;
  /** The HTTP status of the answer. */
  status: number;
  detail: string;
  /** The failure's name: what a program should look at. */
  code: Failure['name'];
  /** Whether asking the same again later may help. */
  retryable: boolean;
  /** The Lambda request id, which is in the log line of the answer. */
  requestId: string;
} & Failure['facts'];

export function toProblem({ name, message, facts }: Failure, requestId: string): Problem {
  const { status, title, retryable } = kindOf(name);
  return {
    type: `urn:problem-type:atlas-live-migration:${name}`,
    title,
    status,
    detail: message,
    code: name,
    retryable,
    requestId,
    ...facts,
  };
}
