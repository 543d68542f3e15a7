/** DynamoDB for the local run and the tests: dynalite, with the table of shared answers in it. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { CreateTableCommand, DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import { type Door, readBody, serve } from './http-server.ts';

/** As the deployment makes it. */
const schema = {
  AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' as const }],
  KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' as const }],
  BillingMode: 'PAY_PER_REQUEST' as const,
};

type Listener = (request: object, response: ServerResponse) => void;

export async function startEmbeddedDynamoDB(door: Door = {}) {
  // The one that is deployed in the stage dev.
  const table = 'atlas-live-migration-dev-answers';
  const { default: dynalite } = (await import('dynalite' as string)) as { default: (options: object) => Server };
  const [listener] = dynalite({ createTableMs: 0 }).listeners('request') as [Listener];
  const served = await serve(async (request, response) => {
    dynamoDB.counters.requests += 1;
    if (dynamoDB.intercept?.(request, response)) return;
    const body = await readBody(request, response);
    if (body === undefined) return;
    // Of a client that goes away while dynalite reads, dynalite ends the process.
    const { method, url, headers } = request;
    listener(Object.assign(Readable.from(body ? [Buffer.from(body)] : []), { method, url, headers }), response);
  }, door);
  const client = new DynamoDBClient({
    endpoint: served.url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
  });

  const dynamoDB = {
    ...served,
    table,
    /** Takes a request over before anything else happens; says whether it did. */
    intercept: undefined as ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined,
    counters: { requests: 0 },
    /** For what a test wants to put into the table, or find in it. */
    client,
    createTable: (name = table) => client.send(new CreateTableCommand({ TableName: name, ...schema })),
    items: async (name = table) => (await client.send(new ScanCommand({ TableName: name }))).Items ?? [],
    close: async () => {
      client.destroy();
      await served.close();
    },
  };
  await dynamoDB.createTable();
  return dynamoDB;
}
