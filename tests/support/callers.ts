/** What the tests of the examples of docs/callers.md share. */

import { readFileSync } from 'node:fs';
import { onTestFinished, vi } from 'vitest';
import { type LambdaHandler, startInvokeEndpoint } from '../../embedded/lambda-invoke.ts';
import { createStepFunctions, type Definition, type Service } from '../../embedded/step-functions.ts';
import { readDefinition } from '../../embedded/waiting.ts';
import { coldStart, doors, groupId, liveMigrationId } from './harness.ts';
import { bringAbout } from './scenarios.ts';
import { virtualClock } from './virtual-clock.ts';

export const examples = new URL('../../docs/examples/', import.meta.url);
export const readExample = (name: string) => readFileSync(new URL(name, examples), 'utf8');

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

/** What a workflow of the examples gets: the ids, and more. */
export const workflowInput = { groupId, liveMigrationId, other: 1 };

/** The definition of an example, with names in the place of ARNs. */
export const readWorkflow = (name: string): unknown =>
  JSON.parse(
    readExample(name).replace(/\$\{(\w)(\w+)Arn\}/g, (_, first: string, rest: string) => first.toLowerCase() + rest),
  );

/** Runs a workflow in virtual time. Where it starts a wait, the deployed one runs. */
export async function runWorkflow(
  example: Definition,
  invoke: (payload: unknown) => Promise<unknown>,
  input: unknown = workflowInput,
) {
  const clock = virtualClock();
  const begin = clock.now();
  const services: Record<string, Service> = {
    'lambda:invoke': async ({ Payload }: { Payload: unknown }) => ({ Payload: await invoke(Payload) }),
    'events:putEvents': () => ({}),
  };
  const machines = {
    example,
    awaitLiveMigration: readDefinition('awaitLiveMigration'),
    pollLiveMigration: readDefinition('pollLiveMigration'),
    remindOfCutover: readDefinition('remindOfCutover'),
  };
  const { start, executions } = createStepFunctions(machines, services, clock);
  const result = await start('example', input).result.catch((error: Error) => error);
  for (const execution of executions) execution.stop();
  return { result, seconds: (clock.now() - begin) / 1000 };
}
