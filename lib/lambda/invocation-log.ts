/** One structured log line for each invocation: who asked what, how it ended, and what it cost upstream. */

import type { Logger } from '@aws-lambda-powertools/logger';
import type { MiddlewareObj } from '@middy/core';
import type { FailureName } from '#contract';
import { answerAgeMs, startCall } from '../core/call.ts';
import { startDeadline } from '../core/deadline.ts';
import { Failure, kindOf } from '../core/failure.ts';
import type { Question } from '../core/question.ts';
import { type InvocationContext, tryToWrite } from './invocation.ts';

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
export function invocationLog(logger: Logger): MiddlewareObj<Question, unknown, Error, InvocationContext> {
  let cold = true;

  const write = ({ awsRequestId, invocation, call }: InvocationContext, error?: Error | null) => {
    const failure = error instanceof Failure ? error : undefined;
    const { startedAt, atlasMs, secretMs, staleSecret, secretDenied, ...more } = call.usage;
    const { askedAt: _, answerFrom, tableUsed: __, tableDelayMs: ___, tableFailure, ...counts } = more;
    // The first two are set here: Powertools would keep them in the logger, where concurrent calls mix them up.
    logger[failure ? levelOf(failure.name) : 'info']('live migration asked for', {
      function_request_id: awsRequestId,
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
      ...(answerFrom ? { answerFrom, answerAgeMs: answerAgeMs(call.usage) } : {}),
      ...(tableFailure ? { tableFailure } : {}),
      totalMs: rounded(performance.now() - startedAt),
      ...(failure?.cause === undefined ? {} : framesOf(failure.cause)),
    });
  };

  return {
    before: ({ context }) => {
      // Before anything can fail, so that the log line can always be written.
      context.invocation = { cold };
      cold = false;
      context.call = startCall(0);
      context.call.deadline = startDeadline(context.getRemainingTimeInMillis());
    },
    after: ({ context }) => tryToWrite(() => write(context)),
    onError: ({ context, error }) => tryToWrite(() => write(context, error)),
  };
}
