/**
 * Lambda's Invoke API for one function, as the AWS SDK calls it: direct invocations get what Lambda would hand them,
 * failures by their `errorType` included, which serverless-offline's own endpoint replaces by "Error".
 */

import { AsyncLocalStorage } from 'node:async_hooks';
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
  const path = URL.parse(target, 'http://lambda')?.pathname ?? '';
  try {
    return decodeURIComponent(/^\/2015-03-31\/functions\/([^/]+)\/invocations$/.exec(path)?.[1] ?? '');
  } catch {
    return '';
  }
}

/** Collects what an invocation writes, and not what others write at the same time. */
const written = new AsyncLocalStorage<string[]>();
let isWatched = false;

function watchOutput() {
  if (isWatched) return;
  isWatched = true;
  // Warnings and errors go to the second.
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = (...args: unknown[]) => {
      written.getStore()?.push(String(args[0]));
      return write(...args);
    };
  }
}

/** The end of an invocation's log, in Lambda's text format: of the last 4 KB, in base64, as `LogType: Tail` hands it out. */
function tailOf(lines: string[], { awsRequestId, memoryLimitInMB }: Context, milliseconds: number): string {
  const usedMb = Math.ceil(process.memoryUsage.rss() / 2 ** 20);
  const report = [
    `REPORT RequestId: ${awsRequestId}`,
    `Duration: ${milliseconds.toFixed(2)} ms`,
    `Billed Duration: ${Math.ceil(milliseconds)} ms`,
    `Memory Size: ${memoryLimitInMB} MB`,
    `Max Memory Used: ${usedMb} MB`,
  ].join('\t');
  const log = `START RequestId: ${awsRequestId} Version: $LATEST\n${lines.join('')}END RequestId: ${awsRequestId}\n${report}\t\n`;
  return Buffer.from(log).subarray(-4096).toString('base64');
}

/**
 * @param port 0 lets the system choose a free one
 */
export async function startInvokeEndpoint(handler: LambdaHandler, port = 0) {
  watchOutput();
  // The plain name, the name of a deployment (which ends in it), or either in an ARN or the end of one (with the account
  // alone); and each with or without a version or alias.
  const names = new RegExp(
    `^((arn:aws[\\w-]*:lambda:[\\w-]+:)?\\d{12}:function:)?([\\w-]+-)?${functionName}(:[\\w$-]+)?$`,
  );

  const invoke = async (request: IncomingMessage, response: ServerResponse) => {
    const context = lambdaContext();
    response.setHeader('x-amzn-requestid', context.awsRequestId);
    const send = (status: number, body: unknown, headers = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body ?? null));

    const payload = await readBody(request, response);
    if (payload === undefined) return undefined;
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
      return handler(event, context).catch(() => undefined);
    }
    const lines: string[] = [];
    const startedAt = performance.now();
    const { value, failure } = await written
      .run(lines, () => handler(event, context))
      .then(
        (value) => ({ value, failure: {} }),
        ({ name: errorType, message: errorMessage, stack = '' }: Error) => ({
          value: { errorType, errorMessage, trace: stack.split('\n') },
          failure: { 'x-amz-function-error': 'Unhandled' },
        }),
      );
    const isTail = request.headers['x-amz-log-type'] === 'Tail';
    return send(200, value, {
      'x-amz-executed-version': context.functionVersion,
      ...failure,
      ...(isTail && { 'x-amz-log-result': tailOf(lines, context, performance.now() - startedAt) }),
    });
  };
  return serve(invoke, { port });
}
