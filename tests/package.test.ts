/** What is deployed: one small zip, the same on every machine, run by AWS's own runtime client. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { packageService, unpack } from '../deploy/package-service.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { serve } from '../embedded/http-server.ts';
import { runtimeIsBuilt, startRuntime } from '../embedded/lambda-runtime.ts';
import {
  allIsWell,
  atlas,
  document,
  groupId,
  liveMigrationId,
  privateKey,
  publicKey,
  readEvent,
  secretId,
  secretsManager,
} from './support/harness.ts';

const root = join(import.meta.dirname, '..');

let zip: Buffer;
let unpacked: ReturnType<typeof unpack>;

beforeAll(async () => {
  zip = (await packageService()).zip;
  unpacked = unpack(zip);
}, 60_000);
beforeEach(allIsWell);
afterAll(() => unpacked.remove());

test('the zip holds the file that the handler names, and the one that a table needs', () => {
  expect(unpacked.files).toEqual(['functions/get-live-migration.js', 'lib/sharing/table.js']);
});

test('the client of DynamoDB is in the second file only, which is loaded only where there is a table', () => {
  const hasClient = unpacked.files.map((file) =>
    readFileSync(join(unpacked.taskRoot, file), 'utf8').includes('DynamoDB_20120810'),
  );
  expect(hasClient).toEqual([false, true]);
});

test('the zip has at most 150 kB', () => {
  expect(zip.length).toBeLessThanOrEqual(150_000);
});

test('packaging in another folder makes the same bytes', { timeout: 60_000 }, async () => {
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  expect(digest((await packageService()).zip)).toBe(digest(zip));
});

const problem = (code: string) => ({
  statusCode: expect.any(Number),
  headers: expect.objectContaining({ 'content-type': 'application/problem+json' }),
  body: expect.stringContaining(`"code":"${code}"`),
});
const answer = { statusCode: 200, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } };
const plain = { ...answer, body: JSON.stringify(document) };
const pretty = { ...answer, body: `${JSON.stringify(document, null, 2)}\n` };
const thrown = (errorType: string) => ({
  errorType,
  errorMessage: expect.stringMatching(/\.$/),
  trace: [expect.stringContaining(`${errorType}: `)],
});

/** Every file of `events/`, and what Lambda hands back for it. */
const events: Record<string, object> = {
  'http-api': { value: plain },
  'http-api-pretty-envelope': { value: pretty },
  'http-api-malformed': { value: problem('InvalidRequest') },
  'http-api-unknown-migration': { value: problem('LiveMigrationNotFound') },
  'rest-api': { value: plain },
  'rest-api-pretty-envelope': { value: pretty },
  direct: { value: document },
  'direct-unknown-project': { error: thrown('ProjectNotFound') },
  'step-functions-task': { value: document },
  alb: { error: thrown('InvalidRequest') },
  sqs: { error: thrown('InvalidRequest') },
  empty: { error: thrown('InvalidRequest') },
};

test('every event file has an expectation', () => {
  expect(
    readdirSync(join(root, 'events'))
      .map((name) => name.replace('.json', ''))
      .sort(),
  ).toEqual(Object.keys(events).sort());
});

describe.skipIf(!runtimeIsBuilt)("under AWS's runtime client (npm run build:ric)", () => {
  const handler = 'functions/get-live-migration.handler';
  const environment = () => ({
    ATLAS_SECRET_ID: secretId,
    ATLAS_BASE_URL: atlas.baseUrl,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_REGION: 'us-east-1',
  });

  test('each event file is answered, in one execution environment', async () => {
    const runtime = await startRuntime(unpacked.taskRoot, handler, environment());
    try {
      for (const [name, expected] of Object.entries(events)) {
        expect({ name, ...(await runtime.invoke(readEvent(name))) }).toEqual({ name, ...expected });
      }
      expect(atlas.counters).toMatchObject({ challenges: 1, connections: 1 });
      expect(secretsManager.counters.reads).toBe(1);
      for (const secret of [privateKey, publicKey]) expect(runtime.output()).not.toContain(secret);
    } finally {
      await runtime.end();
    }
  });

  test.each(['SHA-256', 'SHA-512-256', 'MD5-sess'] as const)("the bundle's own %s is right", async (challenge) => {
    atlas.challenge = challenge;
    const runtime = await startRuntime(unpacked.taskRoot, handler, environment());
    try {
      expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
    } finally {
      await runtime.end();
    }
  });

  test('credentials may come from a container endpoint, and are asked for once', async () => {
    const asked: unknown[] = [];
    const endpoint = await serve((request, response) => {
      asked.push(request.headers.authorization);
      const Expiration = new Date(Date.now() + 3_600_000).toISOString();
      response.end(
        JSON.stringify({ AccessKeyId: 'AKIACONTAINER', SecretAccessKey: 'secret', Token: 'token', Expiration }),
      );
    });
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = environment();
    const runtime = await startRuntime(unpacked.taskRoot, handler, {
      ...without,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${endpoint.origin}/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'container-token',
      SECRET_MAX_AGE_SECONDS: '0',
    });
    try {
      for (let call = 0; call < 3; call += 1)
        expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
      expect(asked).toEqual(['container-token']);
      expect(secretsManager.counters.reads).toBe(3);
    } finally {
      await runtime.end();
      await endpoint.close();
    }
  });

  test('no credentials at all are a failure of the contract', async () => {
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = environment();
    const runtime = await startRuntime(unpacked.taskRoot, handler, without);
    try {
      expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ error: thrown('SecretUnavailable') });
    } finally {
      await runtime.end();
    }
  });

  test('with a table, several environments share an answer', async () => {
    const dynamoDB = await startEmbeddedDynamoDB();
    const variables = { AWS_ENDPOINT_URL_DYNAMODB: dynamoDB.origin, ANSWER_TABLE: dynamoDB.table };
    const start = () =>
      startRuntime(unpacked.taskRoot, handler, { ...environment(), ...variables, ANSWER_FRESHNESS_SECONDS: '60' });
    const runtimes = [await start(), await start()];
    try {
      for (const runtime of runtimes)
        expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
      expect(atlas.counters.authenticated).toBe(1);
      expect(runtimes.map((runtime) => /"answerFrom":"(\w+)"/.exec(runtime.output())?.[1])).toEqual(['atlas', 'table']);
    } finally {
      for (const runtime of runtimes) await runtime.end();
      await dynamoDB.close();
    }
  });

  test('a bad variable stops the start and is named', async () => {
    const runtime = await startRuntime(unpacked.taskRoot, handler, { ...environment(), ATLAS_TIMEOUT_MS: 'soon' });
    try {
      await expect(runtime.invoke({})).rejects.toThrow('ATLAS_TIMEOUT_MS must be a whole number');
    } finally {
      await runtime.end();
    }
  });
});
