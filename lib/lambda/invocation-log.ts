/** One structured log line for each invocation: who asked what, how it ended, and what it cost upstream. */

import type { Logger } from '@aws-lambda-powertools/logger';
import type { MiddlewareObj } from '@middy/core';
import type { Context } from 'aws-lambda';
import type { FailureName } from '#contract';
import { startCall, startUsage } from '../core/call.ts';
import { Failure, kindOf } from '../core/failure.ts';
import { answerAgeMs } from '../sharing/usage.ts';
import { beginInvocation, invocationOf, tryToWrite } from './invocation.ts';

const rounded = (ms: number) => Math.round(ms * 10) / 10;

/** The name and the frames of an unexpected error: its message may quote anything, so it is left out. */
function framesOf(error: unknown): object {
  if (!(error instanceof Error)) return { errorName: typeof error };
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return { errorName: error.name, frames: frames.map((line) => line.trim()) };
}

/** The level says who has to act: `info` no one or the caller, `warn` the operator if it lasts, `error` the operator now. */
function levelOf(name: FailureName): 'info' | 'warn' | 'error' {
  const { status, retryable } = kindOf(name);
  if (retryable) return 'warn';
  return status < 500 ? 'info' : 'error';
}

/** Middy's outermost layer: starts the invocation's deadline and usage, and writes one line at its end. */
export function invocationLog(logger: Logger): MiddlewareObj<unknown, unknown, Error, Context> {
  let cold = true;

  const write = (context: Context, error?: Error | null) => {
    const invocation = invocationOf(context);
    const failure = error instanceof Failure ? error : undefined;
    const { atlasMs, secretMs, staleSecret, secretDenied, sharing, ...counts } = invocation.usage;
    // The first two are set here: Powertools would keep them in the logger, where concurrent calls mix them up.
    logger[failure ? levelOf(failure.name) : 'info']('live migration asked for', {
      function_request_id: context.awsRequestId,
      cold_start: invocation.cold,
      door: invocation.door,
      groupId: invocation.question?.groupId,
      liveMigrationId: invocation.question?.liveMigrationId,
      outcome: failure?.name ?? 'Answered',
      detail: failure?.message,
      ...counts,
      atlasMs: rounded(atlasMs),
      secretMs: rounded(secretMs),
      ...(staleSecret === null ? {} : { staleSecret }),
      ...(secretDenied ? { secretDenied } : {}),
      ...(sharing?.answer ? { answerFrom: sharing.answer.from, answerAgeMs: answerAgeMs(invocation.usage) } : {}),
      ...(sharing?.tableFailure ? { tableFailure: sharing.tableFailure } : {}),
      totalMs: rounded(performance.now() - invocation.beganAtMonotonicMs),
      ...(failure?.cause === undefined ? {} : framesOf(failure.cause)),
    });
  };

  return {
    before: ({ context }) => {
      const usage = startUsage();
      // Before anything can fail, so that the log line can always be written.
      beginInvocation(context, { cold, beganAtMonotonicMs: performance.now(), usage });
      cold = false;
      invocationOf(context).call = startCall(context.getRemainingTimeInMillis(), usage);
    },
    after: ({ context }) => tryToWrite(() => write(context)),
    onError: ({ context, error }) => tryToWrite(() => write(context, error)),
  };
}
