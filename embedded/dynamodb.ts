/** DynamoDB for the local run and the tests: dynalite, with the table of shared answers in it. */

import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateTableCommand, DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';

/** As the deployment makes it. */
const schema = {
  AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' as const }],
  KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' as const }],
  BillingMode: 'PAY_PER_REQUEST' as const,
};

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** @param table by default the one that is deployed in the stage dev */
export async function startEmbeddedDynamoDB(table = 'atlas-live-migration-dev-answers') {
  const { default: dynalite } = (await import('dynalite' as string)) as { default: (options: object) => Server };
  const server = dynalite({ createTableMs: 0 });
  const [listener] = server.listeners('request') as [Listener];
  server.removeAllListeners('request').on('request', (request, response) => {
    dynamoDB.counters.requests += 1;
    if (!dynamoDB.intercept?.(request, response)) listener(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new DynamoDBClient({
    endpoint: origin,
    region: 'us-east-1',
    credentials: { accessKeyId: 'embedded', secretAccessKey: 'embedded' },
  });

  const dynamoDB = {
    table,
    origin,
    /** Takes a request over before anything else happens; says whether it did. */
    intercept: undefined as ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined,
    counters: { requests: 0 },
    /** For what a test wants to put into the table, or find in it. */
    client,
    createTable: (name = table) => client.send(new CreateTableCommand({ TableName: name, ...schema })),
    items: async (name = table) => (await client.send(new ScanCommand({ TableName: name }))).Items ?? [],
    close: async () => {
      client.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  await dynamoDB.createTable();
  return dynamoDB;
}
