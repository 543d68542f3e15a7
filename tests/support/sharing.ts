/** The table of shared answers for tests: an embedded DynamoDB, a new table for each test, and execution environments. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { vi } from 'vitest';
import { startEmbeddedDynamoDB } from '../../embedded/dynamodb.ts';
import type { LambdaHandler } from '../../embedded/lambda-invoke.ts';
import { coldStart } from './harness.ts';

export const dynamoDB = await startEmbeddedDynamoDB();

let tables = 0;
/** Makes a new, empty table and points the environment of the function at it. @returns its name, and the variables */
export async function shareThroughNewTable() {
  dynamoDB.intercept = undefined;
  tables += 1;
  const table = `answers-${tables}`;
  await dynamoDB.createTable(table);
  const variables = {
    AWS_ENDPOINT_URL_DYNAMODB: dynamoDB.origin,
    ANSWER_FRESHNESS_SECONDS: '5',
    ANSWER_TABLE: table,
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  return { table, variables };
}

type Handlers = [LambdaHandler, LambdaHandler, LambdaHandler, ...LambdaHandler[]];

/** Cold environments, three of which can be named: the modules, the memory and the connections of each are its own. */
export async function environments(count: number, variables: Record<string, string> = {}): Promise<Handlers> {
  const handlers: LambdaHandler[] = [];
  for (let made = 0; made < count; made += 1) handlers.push(await coldStart(variables));
  return handlers as Handlers;
}

/** Holds back the requests for which `isMeant` is true, until they are released. */
export function hold(
  server: {
    intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
    answer: (request: IncomingMessage, response: ServerResponse) => unknown;
  },
  isMeant: (request: IncomingMessage) => boolean,
) {
  const held: [IncomingMessage, ServerResponse][] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  server.intercept = (request, response) => {
    if (!isMeant(request)) return false;
    held.push([request, response]);
    for (const { count, resolve } of waiting) if (held.length >= count) resolve();
    return true;
  };
  return {
    held,
    arrived: (count: number) =>
      new Promise<void>((resolve) => (held.length >= count ? resolve() : waiting.push({ count, resolve }))),
    release() {
      server.intercept = undefined;
      for (const [request, response] of held.splice(0)) server.answer(request, response);
    },
  };
}

export const isOperation = (name: string) => (request: IncomingMessage) =>
  request.headers['x-amz-target'] === `DynamoDB_20120810.${name}`;
/** Resolves when the table has been read so many times from now on. */
export function reads(count: number): Promise<void> {
  let seen = 0;
  return new Promise((resolve) => {
    dynamoDB.intercept = (request) => {
      if (isOperation('GetItem')(request)) seen += 1;
      if (seen === count) resolve();
      return false;
    };
  });
}
