/** What the tests of the examples of docs/callers.md share. */

import { onTestFinished, vi } from 'vitest';
import { type LambdaHandler, startInvokeEndpoint } from '../../embedded/lambda-invoke.ts';
import { coldStart, doors } from './harness.ts';
import { bringAbout } from './scenarios.ts';

/** The failures after which clients like to ask again by themselves: 429, 503 and 504. */
export const retryable = ['AtlasRateLimited', 'AtlasUnavailable', 'AtlasTimedOut'] as const;

/** What the function answers to such a failure over HTTPS. */
export async function problemOf(name: (typeof retryable)[number]) {
  bringAbout(name);
  const { http } = await doors['http-api'](await coldStart());
  return { status: http.statusCode, body: JSON.parse(http.body) };
}

/**
 * Lambda with that function, where the example finds it, for as long as the test takes.
 *
 * @returns the invocations, as they come; and what is over once the first one is there
 */
export async function deploy(handler: LambdaHandler) {
  const invocations: unknown[] = [];
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const endpoint = await startInvokeEndpoint((event, context) => {
    invocations.push(event);
    resolve();
    return handler(event, context);
  });
  onTestFinished(endpoint.close);
  vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', endpoint.origin);
  vi.stubEnv(
    'GET_LIVE_MIGRATION',
    'arn:aws:lambda:us-east-1:000000000000:function:atlas-live-migration-dev-getLiveMigration',
  );
  return { invocations, asked };
}
