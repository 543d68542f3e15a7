/** Runs the checks against a deployment, tells each result as it comes, and removes what they made. */

import type { Network } from '../network.ts';
import { printable } from '../printable.ts';
import { AwsError, createAws } from './aws.ts';
import { first, others } from './checks.ts';
import { type Check, type Context, madeUp } from './context.ts';
import { Trouble } from './question.ts';

export type Result = { check: string; result: 'ok' | 'wrong' | 'skipped'; text: string; seconds: number };

const marks = { ok: '✓', wrong: '✗', skipped: '-' };

/** A result as people read it; what to do stands on further lines. */
export const lineOf = ({ check, result, text }: Result) =>
  `${marks[result]} ${check}: ${result === 'skipped' ? `not checked, ${text}` : text}`;

export type Wanted = {
  stage: string;
  region: string;
  /** Without them, ids are made up. */
  ids: { groupId: string; liveMigrationId: string } | undefined;
  notify: boolean;
  pace?: number;
};

/** What is told while the checks run. */
export type Teller = {
  began(check: Check): void;
  ended(result: Result): void;
};

/** An error of AWS, in words. */
function explain({ action, name, message, status, cause }: AwsError, network: Network): Trouble {
  if (status === 0) {
    const why = network.whyUnreached(action.split(':')[0] ?? '', cause as NodeJS.ErrnoException);
    return new Trouble(why, 'Check the network and the region.');
  }
  if (/AccessDenied|Unauthorized|AuthorizationError|NotAuthorized/.test(name))
    return new Trouble(`AWS refuses ${action} (${name}).`, 'docs/access.md has the policy that this command needs.');
  if (/ExpiredToken|InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch/.test(name))
    return new Trouble(
      `AWS does not accept your credentials (${name}).`,
      'Sign in again, and check the clock of this machine.',
    );
  return new Trouble(`${action} failed (${status} ${name}): ${message}`);
}

/**
 * @param interrupted aborted when the program is interrupted: what was made is removed then too
 * @returns a result for each check that could be run
 */
export async function runChecks(
  wanted: Wanted,
  network: Network,
  teller: Teller,
  interrupted: AbortSignal,
): Promise<Result[]> {
  const { stage, region, ids, notify, pace = 1 } = wanted;
  const aws = createAws(network, region);
  const shared = {
    ...{ stage, region, service: `atlas-live-migration-${stage}`, notify, pace, network, aws },
    ...(ids ?? madeUp),
    areReal: ids !== undefined,
  } as Context;

  async function judge({ name, seconds: most, run }: Check): Promise<Result> {
    const startedAt = performance.now();
    const made: { what: string; remove: () => Promise<unknown> }[] = [];
    const signal = AbortSignal.any([interrupted, AbortSignal.timeout(most * 1000 * pace)]);
    const context = Object.create(shared, {
      signal: { value: signal },
      cleanUp: { value: (what: string, remove: () => Promise<unknown>) => made.unshift({ what, remove }) },
    }) as Context;
    const end = (result: Result['result'], text: string): Result => ({
      check: name,
      result,
      text,
      seconds: Math.round((performance.now() - startedAt) / 100) / 10,
    });
    const wrong = (error: unknown): Result => {
      if (interrupted.aborted) return end('skipped', 'interrupted');
      if (error instanceof Trouble) return end('wrong', error.message);
      if (error instanceof AwsError) return end('wrong', explain(error, network).message);
      const { name, message } = error as Error;
      return end('wrong', printable(name === 'TimeoutError' ? `no answer within ${most} s` : `${name}: ${message}`));
    };
    const result = await network.client
      .credentials()
      .catch(({ message }: Error) => {
        throw new Trouble(message);
      })
      .then(() => run(context))
      .then((seen) => ('ok' in seen ? end('ok', seen.ok) : end('skipped', seen.skipped)), wrong);
    // What a check finds for the others is kept beside them, also where something is wrong with it.
    for (const key of ['deployment', 'invoke', 'invoked', 'apiAnswered'] as const)
      if (Object.hasOwn(context, key)) Object.assign(shared, { [key]: context[key] });
    const left: string[] = [];
    for (const { what, remove } of made) {
      // What was never made, or has ended, is gone.
      const isGone = ({ name }: Error) => /NotFound|DoesNotExist|NonExistent/.test(name);
      await remove().catch((error) => isGone(error) || left.push(`${what} (${(error as Error).name})`));
    }
    return left.length === 0
      ? result
      : { ...result, result: 'wrong', text: `${result.text}\n  Not removed: ${left.join(', ')}. Remove it by hand.` };
  }

  const results: Result[] = [];
  const tell = async (check: Check) => {
    teller.began(check);
    const result = await judge(check);
    results.push(result);
    teller.ended(result);
  };
  const all = [...first, ...others];
  const skip = (checks: Check[], why: string) => {
    for (const { name: check } of checks) {
      const result: Result = { check, result: 'skipped', text: why, seconds: 0 };
      results.push(result);
      teller.ended(result);
    }
    return results;
  };
  for (const [at, check] of first.entries()) {
    await tell(check);
    const rest = all.slice(at + 1);
    if (interrupted.aborted) return skip(rest, 'interrupted');
    if (!shared.deployment) return skip(rest, 'without a stack');
    if (at > 0 && !shared.invoked) return skip(rest, 'without an answer of the function');
  }
  await Promise.all(others.map(tell));
  return results;
}
