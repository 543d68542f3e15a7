/**
 * One execution environment that runs many invocations at a time, as Lambda's managed instances do: the packaged function,
 * with the invocation contexts that AWS's runtime client provides there (AWS_LAMBDA_MAX_CONCURRENCY).
 */

import { createRequire } from 'node:module';
import { InvokeStore, InvokeStoreBase } from '@aws/lambda-invoke-store';
import { type LambdaHandler, lambdaContext } from '../embedded/lambda-invoke.ts';

/** One invocation, or a request for the figures of the process. */
export type Order = { requestId: string; event: unknown; timeoutMs: number } | 'figures';

export type Outcome = { requestId: string; value: unknown } | { requestId: string; errorType: string };
export type Figures = { heapUsed: number; rss: number; sockets: number; timers: number };

const store = await InvokeStore.getInstanceAsync();
const file = process.argv[2] ?? '';
const { handler } = createRequire(file)(file) as { handler: LambdaHandler };

async function invoke(requestId: string, event: unknown, timeoutMs: number): Promise<Outcome> {
  const context = { ...lambdaContext(timeoutMs), awsRequestId: requestId };
  try {
    const { REQUEST_ID, X_RAY_TRACE_ID } = InvokeStoreBase.PROTECTED_KEYS;
    const scope = { [REQUEST_ID]: requestId, [X_RAY_TRACE_ID]: `Root=${requestId};Sampled=1` };
    return { requestId, value: await store.run(scope, () => handler(event, context)) };
  } catch (error) {
    return { requestId, errorType: (error as Error).name };
  }
}

async function figures(): Promise<Figures> {
  for (let time = 0; time < 3; time += 1) {
    await new Promise(setImmediate);
    globalThis.gc?.();
  }
  const { heapUsed, rss } = process.memoryUsage();
  const active = process.getActiveResourcesInfo();
  const count = (name: string) => active.filter((resource) => resource === name).length;
  return { heapUsed, rss, sockets: count('TCPSocketWrap'), timers: count('Timeout') };
}

process.on('message', async (order: Order) =>
  process.send?.(order === 'figures' ? await figures() : await invoke(order.requestId, order.event, order.timeoutMs)),
);
process.send?.('ready');
