/** Runs the checks against a deployment, tells each result as it comes, and removes what they made. */

import type { Network } from '../network.ts';
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
    const made: (() => Promise<unknown>)[] = [];
    const signal = AbortSignal.any([interrupted, AbortSignal.timeout(most * 1000 * pace)]);
    const context = Object.create(shared, {
      signal: { value: signal },
      cleanUp: { value: (action: () => Promise<unknown>) => made.unshift(action) },
    }) as Context;
    const end = (result: Result['result'], text: string): Result => ({
      check: name,
      result,
      text,
      seconds: Math.round((performance.now() - startedAt) / 100) / 10,
    });
    let result: Result;
    try {
      // What a check finds for the others is kept beside them.
      await network.client.credentials().catch(({ message }: Error) => {
        throw new Trouble(message);
      });
      const seen = await run(context);
      for (const key of ['deployment', 'invoke', 'invoked'] as const)
        if (Object.hasOwn(context, key)) Object.assign(shared, { [key]: context[key] });
      result = 'ok' in seen ? end('ok', seen.ok) : end('skipped', seen.skipped);
    } catch (error) {
      if (interrupted.aborted) result = end('skipped', 'interrupted');
      else if (error instanceof Trouble) result = end('wrong', error.message);
      else if (error instanceof AwsError) result = end('wrong', explain(error, network).message);
      else if ((error as Error).name === 'TimeoutError') result = end('wrong', `no answer of AWS within ${most} s`);
      else throw error;
    } finally {
      for (const action of made) await action().catch(() => undefined);
    }
    return result;
  }

  const results: Result[] = [];
  const tell = async (check: Check) => {
    teller.began(check);
    const result = await judge(check);
    results.push(result);
    teller.ended(result);
    return result;
  };
  for (const check of first) {
    const { result } = await tell(check);
    // Without the stack or the function, nothing else can be said.
    if (interrupted.aborted || (result === 'wrong' && check !== first.at(-1))) return results;
  }
  await Promise.all(others.map(tell));
  return results;
}
