/**
 * The one line of each invocation: who asked what, how it ended, what it cost upstream, and the metrics of all that, in
 * CloudWatch's embedded metric format.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */

import type {} from '@aws/lambda-invoke-store';
import type { MiddlewareObj } from '@middy/core';
import type { Context } from 'aws-lambda';
import type { FailureName, LiveMigration } from '#contract';
import { startCall, startUsage, type Usage } from '../core/call.ts';
import { Failure, kindOf } from '../core/failure.ts';
import { answerAgeMs } from '../sharing/usage.ts';
import { beginInvocation, type Invocation, invocationOf } from './invocation.ts';

const limits = {
  /** A line is never longer; CloudWatch Logs takes 1 MB. */
  lineBytes: 16_000,
};

export const namespace = 'AtlasLiveMigration';

type Outcome = FailureName | 'Answered';
type Metric<T> = {
  unit: 'Count' | 'Milliseconds' | 'Seconds';
  /** @returns undefined where the invocation says nothing of it */
  value: (of: T) => number | undefined;
};

const rounded = (ms: number) => Math.round(ms * 10) / 10;

/** Metrics by service; and by service and outcome; and by service and door. */
export const serviceMetrics: Record<string, Metric<Usage & { outcome: Outcome }>> = {
  Requests: { unit: 'Count', value: () => 1 },
  Unanswered: {
    unit: 'Count',
    value: ({ outcome, secretDenied }) =>
      secretDenied || (outcome !== 'Answered' && kindOf(outcome).retryable) ? 1 : undefined,
  },
  Errors: { unit: 'Count', value: ({ outcome }) => (levelOf(outcome) === 'ERROR' ? 1 : undefined) },
  AtlasRequests: {
    unit: 'Count',
    value: ({ attempts, atlasRequests }) => (attempts > 0 ? atlasRequests : undefined),
  },
  AtlasLatency: {
    unit: 'Milliseconds',
    value: ({ attempts, atlasMs }) => (attempts > 0 ? rounded(atlasMs) : undefined),
  },
  TokenRequests: { unit: 'Count', value: ({ tokenRequests }) => tokenRequests || undefined },
  SecretReads: { unit: 'Count', value: ({ secretReads }) => secretReads },
  StaleSecret: { unit: 'Count', value: ({ staleSecret }) => (staleSecret === null ? undefined : 1) },
  SharedAnswers: {
    unit: 'Count',
    value: ({ sharing }) => sharing?.answer && Number(sharing.answer.from !== 'atlas'),
  },
  TableFailures: {
    unit: 'Count',
    value: ({ sharing }) => (sharing?.tableUsed ? Number(sharing.tableFailure !== undefined) : undefined),
  },
};

/** Metrics by service and live migration. */
export const migrationMetrics: Record<string, Metric<LiveMigration>> = {
  ReplicationLag: { unit: 'Seconds', value: ({ lagTimeSeconds }) => lagTimeSeconds ?? undefined },
  ReadyForCutover: { unit: 'Count', value: ({ readyForCutover }) => Number(readyForCutover === true) },
};

/** @returns a directive of the format, and the values that it names, which stand at the root of the line */
function directive<T>(metrics: Record<string, Metric<T>>, of: T, dimensions: string[][]) {
  const values: Record<string, number> = {};
  const names: { Name: string; Unit: string }[] = [];
  for (const [Name, { unit: Unit, value }] of Object.entries(metrics)) {
    const number = value(of);
    // The format knows no other numbers.
    if (number === undefined || !Number.isFinite(number)) continue;
    values[Name] = number;
    names.push({ Name, Unit });
  }
  return { values, directive: { Namespace: namespace, Dimensions: dimensions, Metrics: names } };
}

/** The level says who has to act: `INFO` no one or the caller, `WARN` the operator if it lasts, `ERROR` the operator now. */
function levelOf(outcome: Outcome): 'INFO' | 'WARN' | 'ERROR' {
  if (outcome === 'Answered') return 'INFO';
  const { status, retryable } = kindOf(outcome);
  if (retryable) return 'WARN';
  return status < 500 ? 'INFO' : 'ERROR';
}

/** The name and the frames of an unexpected error: its message may quote anything, so it is left out. */
function placeOf(error: unknown): { errorName?: string; frames?: string[] } {
  if (error === undefined) return {};
  if (!(error instanceof Error)) return { errorName: typeof error };
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return { errorName: error.name.slice(0, 100), frames: frames.map((frame) => frame.trim()) };
}

/** Where invocations run side by side in one environment, only the store knows the trace of each. */
function traceId(): string | undefined {
  const header = globalThis.awslambda?.InvokeStore?.getXRayTraceId() ?? process.env['_X_AMZN_TRACE_ID'];
  return header && /(?:^|;)Root=([^;]+)/.exec(header)?.[1];
}

function lineOf(context: Context, invocation: Invocation, service: string, failure: Failure | undefined): string {
  const { cold, door = 'direct', question, answer, usage } = invocation;
  const { sharing } = usage;
  const outcome = failure?.name ?? 'Answered';
  const now = Date.now();
  const ofService = directive(serviceMetrics, { ...usage, outcome }, [
    ['service'],
    ['service', 'outcome'],
    ['service', 'door'],
  ]);
  const ofMigration = answer && directive(migrationMetrics, answer, [['service', 'groupId', 'liveMigrationId']]);
  const { errorName, frames } = placeOf(failure?.cause);
  const line = {
    level: levelOf(outcome),
    message: 'live migration asked for',
    timestamp: new Date(now).toISOString(),
    service,
    function_request_id: context.awsRequestId,
    xray_trace_id: traceId(),
    cold_start: cold,
    door,
    groupId: question?.groupId,
    liveMigrationId: question?.liveMigrationId,
    outcome,
    detail: failure?.message,
    attempts: usage.attempts,
    challengeRequests: usage.challengeRequests,
    atlasStatus: usage.atlasStatus ?? undefined,
    atlasErrorCode: usage.atlasErrorCode ?? undefined,
    secretMs: rounded(usage.secretMs),
    staleSecret: usage.staleSecret ?? undefined,
    secretDenied: usage.secretDenied || undefined,
    answerFrom: sharing?.answer?.from,
    answerAgeMs: answerAgeMs(usage),
    tableFailure: sharing?.tableFailure,
    totalMs: rounded(performance.now() - invocation.beganAtMonotonicMs),
    ...ofService.values,
    ...ofMigration?.values,
    errorName,
    frames,
    _aws: {
      Timestamp: now,
      CloudWatchMetrics: [ofService.directive, ...(ofMigration ? [ofMigration.directive] : [])],
    },
  };
  let text = JSON.stringify(line);
  // Only frames can be that long; the innermost ones come first.
  while (line.frames && line.frames.length > 0 && Buffer.byteLength(text) >= limits.lineBytes) {
    line.frames = line.frames.slice(0, line.frames.length >> 1);
    text = JSON.stringify(line);
  }
  return text;
}

/**
 * Middy's outermost layer: starts the invocation's deadline and usage, and writes its line at the end.
 *
 * @param service what log lines and metrics are filed under
 */
export function invocationLine(service: string): MiddlewareObj<unknown, unknown, Error, Context> {
  let cold = true;

  const write = (context: Context, error?: Error | null) => {
    try {
      const failure = error instanceof Failure ? error : undefined;
      // One write of a whole line: lines of invocations that run side by side do not mix.
      process.stdout.write(`${lineOf(context, invocationOf(context), service, failure)}\n`);
    } catch (cause) {
      // An answer must not become a failure because nobody can read of it.
      console.error(`The line of an invocation could not be written (${placeOf(cause).errorName}).`);
    }
  };

  return {
    before: ({ context }) => {
      const usage = startUsage();
      // Before anything can fail, so that the line can always be written.
      beginInvocation(context, { cold, beganAtMonotonicMs: performance.now(), usage });
      cold = false;
      invocationOf(context).call = startCall(context.getRemainingTimeInMillis(), usage);
    },
    after: ({ context }) => write(context),
    onError: ({ context, error }) => write(context, error),
  };
}
