/** What callers of atlas-live-migration may rely on: the types, the statuses, the failures, the waits and their events. */

import type { FailureName, LiveMigrationStatus, Problem } from '#contract';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import { knownStatuses, terminalStatuses } from '../lib/core/live-migration.ts';

export type * from '#contract';

/** Every status that a live migration can have. */
export const liveMigrationStatuses: readonly LiveMigrationStatus[] = [...knownStatuses, 'UNKNOWN'];

/** The statuses that don't change any more: `terminal` is true with them. */
export const terminalLiveMigrationStatuses: readonly LiveMigrationStatus[] = terminalStatuses;

/**
 * Every failure by its name, in the order of the documentation: the HTTP status that it has over HTTPS, and whether
 * asking the same again later may help.
 */
export const failures: Readonly<Record<FailureName, { readonly status: number; readonly retryable: boolean }>> =
  Object.fromEntries(
    failureNames.map((name) => {
      const { status, retryable } = kindOf(name);
      return [name, { status, retryable }];
    }),
  ) as Record<FailureName, { status: number; retryable: boolean }>;

/**
 * The errors with which a wait ends, in addition to the names of the failures: `Error` of its execution, and of the cause
 * (JSON) of a `.sync` task that started it. The `Catch` of such a task sees `States.TaskFailed` only.
 */
export const waitErrors = ['LiveMigrationFailed', 'LiveMigrationExpired', 'LiveMigrationWaitTimedOut'] as const;

/** What rules of EventBridge match: the source of all events, and the detail type of each. */
export const events = {
  source: 'atlas.live-migration',
  statusChanged: 'Live Migration Status Changed',
  cutoverDue: 'Live Migration Cutover Due',
} as const;

/**
 * Tells whether a parsed HTTP body is a problem of this API. What API Gateway says by itself (`{"message": …}`) is none.
 *
 * @param value anything, such as what `response.json()` gave
 * @param code only a problem with this code; without it, with any code of the contract
 */
export function isProblem<Code extends FailureName = FailureName>(
  value: unknown,
  code?: Code,
): value is Problem & { code: Code } {
  if (typeof value !== 'object' || value === null) return false;
  const problem = value as Partial<Record<keyof Problem, unknown>>;
  return (
    typeof problem.code === 'string' &&
    Object.hasOwn(failures, problem.code) &&
    problem.type === `urn:problem-type:atlas-live-migration:${problem.code}` &&
    (code === undefined || problem.code === code)
  );
}
