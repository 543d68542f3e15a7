/** What the forms of the API have in common. */

import type { Metric, Part } from './cloudformation.ts';

export type Api = {
  /** Where there is a gateway: the resource of its access log, and its metric of failed requests. */
  gateway?: { accessLog: string; serverErrors: Metric };
  /** osls makes an HTTP API of these three; a REST API is a part of our own. */
  events: object[];
  httpApi?: object;
  logs?: object;
  part: Part;
};

/** One JSON line for each call: who asked, how it ended, and the request id that the function's log line has too. */
export const accessLogFormat =
  '{"requestId":"$context.requestId","time":"$context.requestTime","ip":"$context.identity.sourceIp","caller":"$context.identity.userArn","subject":"$context.authorizer.claims.sub","path":"$context.path","status":$context.status,"ms":$context.responseLatency,"functionRequestId":"$context.integration.requestId","integrationMs":"$context.integration.latency","error":"$context.error.message","integrationError":"$context.integrationErrorMessage","authorizerError":"$context.authorizer.error"}';

/**
 * Outside of this prefix, API Gateway adds each log group to a resource policy of the account, which has room for 5,120
 * characters: in an account with many APIs, the deployment would fail.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
 */
export const accessLogGroup = (kind: string, service: string) => `/aws/vendedlogs/${kind}/${service}`;
