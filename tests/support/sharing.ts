/** The table of shared answers for tests: an embedded DynamoDB, a new table for each test, and execution environments. */

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
