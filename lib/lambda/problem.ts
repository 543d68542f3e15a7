/** A failure as a problem document (RFC 9457). */

import type { Problem } from '#contract';
import { type Failure, kindOf } from '../core/failure.ts';

/**
 * @param requestId Lambda's, which the log line has as `function_request_id`
 * @returns the members of RFC 9457, section 3.1, and our own extensions (section 3.2)
 */
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
