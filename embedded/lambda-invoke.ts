/**
 * Lambda's Invoke API for one function, as the AWS SDK calls it: direct invocations get what Lambda would hand them,
 * failures by their `errorType` included, which serverless-offline's own endpoint replaces by "Error".
 */

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context } from 'aws-lambda';
import { readBody, serve } from './http-server.ts';

export type LambdaHandler = (event: unknown, context: Context) => Promise<unknown>;

export const functionName = 'getLiveMigration';
/** As in serverless.yml. */
export const functionTimeoutMs = 20_000;

/** The part of Lambda's context object that a Node.js function can rely on. */
export function lambdaContext(timeoutMs = functionTimeoutMs): Context {
  const end = performance.now() + timeoutMs;
  return {
    awsRequestId: randomUUID(),
    functionName,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:us-east-1:000000000000:function:${functionName}`,
    memoryLimitInMB: '512',
    logGroupName: `/aws/lambda/${functionName}`,
    logStreamName: 'local',
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, end - performance.now()),
  } as Context;
}

/** The function that an Invoke request names; empty for other requests. */
function nameOf(target: string): string {
  const { pathname } = new URL(target, 'http://lambda');
  try {
    return decodeURIComponent(/^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(pathname)?.[1] ?? '');
  } catch {
    return '';
  }
}

/**
 * @param port 0 lets the system choose a free one
 */
export async function startInvokeEndpoint(handler: LambdaHandler, port = 0) {
  // The plain name, the name of a deployment (which ends in it), or an ARN, with or without a version or alias.
  const names = new RegExp(`^(arn:.*:function:)?([\\w-]+-)?${functionName}(:[\\w$-]+)?$`);

  const invoke = async (request: IncomingMessage, response: ServerResponse) => {
    const send = (status: number, body: unknown, headers = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body ?? null));

    const payload = await readBody(request);
    const name = nameOf(request.url ?? '');
    if (request.method !== 'POST' || !names.test(name)) {
      return send(
        404,
        { Type: 'User', Message: `Function not found: ${name}` },
        { 'x-amzn-errortype': 'ResourceNotFoundException' },
      );
    }

    let event: unknown;
    try {
      event = payload ? JSON.parse(payload) : {};
    } catch {
      return send(
        400,
        { Type: 'User', message: 'The payload is not JSON.' },
        { 'x-amzn-errortype': 'InvalidRequestContentException' },
      );
    }
    const type = request.headers['x-amz-invocation-type'];
    if (type === 'DryRun') return response.writeHead(204).end();
    if (type === 'Event') {
      response.writeHead(202).end();
      return handler(event, lambdaContext()).catch(() => undefined);
    }
    try {
      return send(200, await handler(event, lambdaContext()));
    } catch (error) {
      const { name: errorType, message: errorMessage, stack = '' } = error as Error;
      return send(200, { errorType, errorMessage, trace: stack.split('\n') }, { 'x-amz-function-error': 'Unhandled' });
    }
  };
  return serve((request, response) => void invoke(request, response), port);
}
