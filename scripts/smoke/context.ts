/** What the checks share: the deployment as it was found, and what was asked. */

import { setTimeout } from 'node:timers/promises';
import type { Network } from '../network.ts';
import type { Aws } from './aws.ts';
import type { Trouble } from './question.ts';

/** An invocation of the function by its name. */
export type Invoked = {
  requestId: string;
  traceHeader: string;
  outcome: string;
  detail: string;
  document: Record<string, unknown> | null;
};

export type Deployment = {
  accountId: string;
  partition: string;
  outputs: Record<string, string>;
  /** Physical ids by type. */
  resources: { type: string; logicalId: string; physicalId: string }[];
  functionName: string;
  variables: Record<string, string>;
  isTraced: boolean;
};

export type Context = {
  stage: string;
  region: string;
  /** Such as `atlas-live-migration-prod`. */
  service: string;
  /** What to ask about: made up where no ids were given. */
  groupId: string;
  liveMigrationId: string;
  areReal: boolean;
  notify: boolean;
  /** How long a pause takes, and a check may take, as a share of what it says: tests have no minutes. */
  pace: number;
  network: Network;
  aws: Aws;
  /** Aborted when the program is interrupted, or the check's time is over. */
  signal: AbortSignal;
  deployment: Deployment;
  /** Invokes the function with that question. */
  invoke(question: { groupId: string; liveMigrationId: string }): Promise<Invoked>;
  /** The first invocation. */
  invoked: Invoked;
  /** How what a check is about to make is removed, at its end or when the program is interrupted; `what` names it. */
  cleanUp(what: string, remove: () => Promise<unknown>): void;
  /** Whether the function answered through its API. */
  apiAnswered?: boolean;
};

/** What a check has seen: all is well, or why this can't be checked here. */
export type Seen = { ok: string } | { skipped: string };

export type Check = {
  /** As in docs/deploy.md. */
  name: string;
  /** How long it may take. */
  seconds: number;
  /** What the identity must be allowed; docs/access.md has the policy. */
  actions: string[];
  /** @throws Trouble where something is wrong, and AwsError where AWS refuses or can't be reached */
  run(context: Context): Promise<Seen>;
};

/** Ids that Atlas does not know. */
export const madeUp = { groupId: 'f'.repeat(24), liveMigrationId: '0'.repeat(24) };

/**
 * Asks again and again.
 *
 * @param ask returns undefined as long as there is no answer
 * @param late what is wrong where the time is over
 */
export async function poll<T>(
  context: Context,
  ask: () => Promise<T | undefined>,
  everyMs: number,
  late: () => Trouble | Promise<Trouble>,
): Promise<T> {
  const { signal } = context;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await setTimeout(everyMs * context.pace, undefined, { signal }).catch(async () => {
      throw signal.reason.name === 'TimeoutError' ? await late() : signal.reason;
    });
  }
}
