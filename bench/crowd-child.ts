/** One execution environment of the crowd: answers HTTP API events, and reports each outcome. */

import { createRequire } from 'node:module';
import { type LambdaHandler, lambdaContext } from '../embedded/lambda-invoke.ts';

export type Order = { at: number; groupId: string; liveMigrationId: string };
/** `ageSeconds` is the header `Age`, where answers are shared; `failure` is the name of one. */
export type Outcome = Order & { ms: number; ageSeconds?: number; failure?: string };

const file = process.argv[2] ?? '';
const { handler } = createRequire(file)(file) as { handler: LambdaHandler };

process.on('message', async (order: Order) => {
  const { groupId, liveMigrationId } = order;
  const event = {
    version: '2.0',
    requestContext: { http: { method: 'GET' } },
    pathParameters: { groupId, liveMigrationId },
  };
  const start = performance.now();
  const answer = (await handler(event, lambdaContext())) as {
    statusCode: number;
    headers: { age?: string };
    body: string;
  };
  const { age } = answer.headers;
  process.send?.({
    ...order,
    ms: performance.now() - start,
    ...(age === undefined ? {} : { ageSeconds: Number(age) }),
    ...(answer.statusCode === 200 ? {} : { failure: (JSON.parse(answer.body) as { code: string }).code }),
  } satisfies Outcome);
});
process.send?.('ready');
