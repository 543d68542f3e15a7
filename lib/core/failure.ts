/**
 * The closed list of ways in which an answer can fail. The name is the problem document's `code`, the
 * Lambda `errorType` and the Step Functions error name, so it is written out, never taken from a class.
 */

import type { FailureName, Problem } from '#contract';

/** What is fixed for a failure of that name: HTTP status, whether asking again may help, a short title. */
export type FailureKind = { status: number; retryable: boolean; title: string };

const table: Record<FailureName, FailureKind> = {
  InvalidRequest: { status: 400, retryable: false, title: 'The request is not valid' },
  ProjectNotFound: { status: 404, retryable: false, title: 'Atlas does not know this project' },
  LiveMigrationNotFound: { status: 404, retryable: false, title: 'The project has no such live migration' },
  AtlasAccessDenied: { status: 502, retryable: false, title: 'The Atlas key has no access to this' },
  AtlasCredentialsRejected: { status: 502, retryable: false, title: 'Atlas refuses the key' },
  AtlasRateLimited: { status: 429, retryable: true, title: 'Atlas asks to slow down' },
  AtlasUnavailable: { status: 503, retryable: true, title: 'Atlas is not available' },
  AtlasTimedOut: { status: 504, retryable: true, title: 'Atlas did not answer in time' },
  AtlasUnexpectedAnswer: { status: 502, retryable: false, title: 'Atlas sent an unexpected answer' },
  SecretUnavailable: { status: 503, retryable: true, title: 'The Atlas key cannot be read at the moment' },
  SecretInvalid: { status: 500, retryable: false, title: 'The secret with the Atlas key cannot be used' },
  InternalError: { status: 500, retryable: false, title: 'Something went wrong in this service' },
};

/** Facts that travel with a failure, all safe to show: numbers, names and codes, never upstream text. */
export type FailureFacts = Pick<Problem, 'retryAfterSeconds' | 'errors' | 'atlas'>;

/** Every name, in the order of the contract. */
export const failureNames = Object.keys(table) as FailureName[];

export function kindOf(name: FailureName): FailureKind {
  return table[name];
}

/**
 * A known failure. `message` is its detail and is shown to the caller unchanged: it names ids, numbers and
 * codes, never a header, a body or a secret. `cause` is for unexpected errors only and never leaves the process.
 */
export class Failure extends Error {
  override readonly name: FailureName;
  readonly facts: FailureFacts;

  constructor(name: FailureName, detail: string, facts: FailureFacts = {}, options?: ErrorOptions) {
    super(detail, options);
    this.name = name;
    this.facts = facts;
    // Lambda hands the stack of a thrown error to the caller as `trace`: say no more there than errorMessage does.
    this.stack = `${name}: ${detail}`;
  }
}

/** The name of an error that is none of ours; that of a system error, such as ECONNREFUSED, is its code. */
export function nameOf(error: unknown): string {
  const { name = 'Error', code = name } = error as { name?: string; code?: string };
  return name === 'Error' ? code : name;
}

/** The invocation itself ran out of time, which says nothing of what it waited for. */
export class OutOfTime extends Failure {}
