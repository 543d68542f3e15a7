/** The metrics of each invocation, written to the log in CloudWatch's embedded metric format. */

import type { Metrics } from '@aws-lambda-powertools/metrics';
import type { MiddlewareObj } from '@middy/core';
import type { Context } from 'aws-lambda';
import type { FailureName } from '#contract';
import { Failure, kindOf } from '../core/failure.ts';
import { invocationOf, tryToWrite } from './invocation.ts';

export const namespace = 'AtlasLiveMigration';

/**
 * Middy's layer for metrics; it is outside of the doors, and so sees how each invocation ended. Every metric also
 * has the dimension `service`.
 *
 * | metric | unit | dimensions |
 * |---|---|---|
 * | Requests, SecretReads | count | none; and outcome; and door |
 * | Unanswered | count | as above; only for failures that can pass by themselves, and where a project's secret was denied |
 * | StaleSecret | count | as above; only where an expired secret was still used |
 * | AtlasLatency | milliseconds, retries included | as above; only where Atlas was asked |
 * | AtlasRequests | count, challenges included | as above; only where Atlas was asked |
 * | TokenRequests | count | as above; only where an access token was asked for |
 * | SharedAnswers | count | as above; only where answers are shared: whether this one came from memory or the table |
 * | TableFailures | 0 or 1 | as above; only where the table of shared answers was used |
 * | ReplicationLag | seconds | groupId and liveMigrationId; only where Atlas says |
 * | ReadyForCutover | 0 or 1 | groupId and liveMigrationId |
 */
export function invocationMetrics(metrics: Metrics): MiddlewareObj<unknown, unknown, Error, Context> {
  const write = (context: Context, outcome: FailureName | 'Answered') => {
    const { door = 'direct', answer, usage } = invocationOf(context);
    const { attempts, atlasMs, atlasRequests, tokenRequests, secretReads, staleSecret, secretDenied, sharing } = usage;
    metrics.addDimensions({}).addDimensions({ outcome }).addDimensions({ door });
    metrics.addMetric('Requests', 'Count', 1).addMetric('SecretReads', 'Count', secretReads);
    if (staleSecret !== null) metrics.addMetric('StaleSecret', 'Count', 1);
    if (secretDenied || (outcome !== 'Answered' && kindOf(outcome).retryable))
      metrics.addMetric('Unanswered', 'Count', 1);
    if (attempts > 0) {
      metrics.addMetric('AtlasLatency', 'Milliseconds', atlasMs).addMetric('AtlasRequests', 'Count', atlasRequests);
    }
    if (tokenRequests > 0) metrics.addMetric('TokenRequests', 'Count', tokenRequests);
    if (sharing?.answer) metrics.addMetric('SharedAnswers', 'Count', sharing.answer.from === 'atlas' ? 0 : 1);
    if (sharing?.tableUsed) metrics.addMetric('TableFailures', 'Count', sharing.tableFailure ? 1 : 0);
    metrics.publishStoredMetrics();

    if (!answer) return;
    const { groupId, id: liveMigrationId, lagTimeSeconds, readyForCutover } = answer;
    metrics.addDimensions({ groupId, liveMigrationId });
    metrics.addMetric('ReadyForCutover', 'Count', readyForCutover ? 1 : 0);
    if (lagTimeSeconds !== null) metrics.addMetric('ReplicationLag', 'Seconds', lagTimeSeconds);
    metrics.publishStoredMetrics();
  };

  return {
    after: ({ context }) => tryToWrite(() => write(context, 'Answered')),
    onError: ({ context, error }) =>
      tryToWrite(() => write(context, error instanceof Failure ? error.name : 'InternalError')),
  };
}
