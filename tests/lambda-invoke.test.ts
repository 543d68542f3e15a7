/** The local Invoke API, as the AWS SDK for another Lambda uses it. */

import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { InvokeCommand, type InvokeCommandInput, LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { maxBodyBytes, type Served } from '../embedded/http-server.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { allIsWell, atlas, coldStart, document, groupId, liveMigrationId, secretsManager } from './support/harness.ts';

let endpoint: Served;
beforeAll(async () => {
  allIsWell();
  // What is written is of interest in LogResult only.
  process.stdout.write = () => true;
  process.stderr.write = () => true;
  endpoint = await startInvokeEndpoint(await coldStart());
});
beforeEach(() => {
  allIsWell();
  vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', endpoint.origin);
});
afterAll(() => endpoint.close());

const question = { groupId, liveMigrationId };

async function invoke(options: Partial<InvokeCommandInput> = {}, payload: unknown = question) {
  const command = { FunctionName: 'getLiveMigration', Payload: JSON.stringify(payload), ...options };
  const { Payload, LogResult, $metadata, ...answer } = await new LambdaClient().send(new InvokeCommand(command));
  const text = Buffer.from(Payload ?? []).toString();
  return {
    ...answer,
    requestId: $metadata.requestId,
    log: LogResult && Buffer.from(LogResult, 'base64').toString(),
    value: text && JSON.parse(text),
  };
}

test('an answer has the version that ran and the id of the request', async () => {
  expect(await invoke()).toEqual({
    StatusCode: 200,
    ExecutedVersion: '$LATEST',
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    log: undefined,
    value: document,
  });
});

test('a failure has its name, and FunctionError tells that it is one', async () => {
  expect(await invoke({}, { ...question, groupId: 'x' })).toMatchObject({
    StatusCode: 200,
    FunctionError: 'Unhandled',
    ExecutedVersion: '$LATEST',
    value: { errorType: 'InvalidRequest' },
  });
});

test.each([
  ['an answer', question, 'Answered'],
  ['a failure', { ...question, groupId: 'x' }, 'InvalidRequest'],
  ['a failure that is a warning', { ...question, liveMigrationId: 'f'.repeat(24) }, 'AtlasUnexpectedAnswer'],
])('LogType Tail: %s comes with the log of its own invocation', async (_, payload, outcome) => {
  if (outcome === 'AtlasUnexpectedAnswer') atlas.reply = () => ({ status: 200, body: 'no JSON' });
  const answers = await Promise.all([1, 2, 3].map(() => invoke({ LogType: 'Tail' }, payload)));
  for (const { log = '', requestId } of answers) {
    const [start, line = '', end, report, rest] = log.split('\n');
    expect(start).toBe(`START RequestId: ${requestId} Version: $LATEST`);
    expect(JSON.parse(line)).toMatchObject({ outcome, function_request_id: requestId });
    expect(end).toBe(`END RequestId: ${requestId}`);
    expect(report).toMatch(
      new RegExp(
        `^REPORT RequestId: ${requestId}\tDuration: [\\d.]+ ms\tBilled Duration: \\d+ ms\tMemory Size: 512 MB\tMax Memory Used: \\d+ MB\t$`,
      ),
    );
    expect(rest).toBe('');
  }
});

test('of a long log, the last 4 KB come', async () => {
  const talkative = await startInvokeEndpoint(async () => {
    process.stdout.write(`${'y'.repeat(100)}${'x'.repeat(5000)}\n`);
    process.stdout.write('last\n');
  });
  vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', talkative.origin);
  const { log = '' } = await invoke({ LogType: 'Tail' });
  await talkative.close();
  expect(log).toHaveLength(4096);
  expect(log).toMatch(/^x+\nlast\nEND RequestId.*\nREPORT .*\n$/);
});

describe('the function is found by', () => {
  const deployed = 'atlas-live-migration-prod-getLiveMigration';
  test.each([
    deployed,
    `000000000000:function:${deployed}`,
    `arn:aws:lambda:eu-central-1:123456789012:function:${deployed}`,
    `arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:${deployed}:live`,
    `${deployed}:7`,
  ])('%s', async (FunctionName) => {
    expect((await invoke({ FunctionName })).value).toEqual(document);
  });

  test.each(['forgetLiveMigration', 'getLiveMigrations'])('but not by %s', async (FunctionName) => {
    await expect(invoke({ FunctionName })).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
  });
});

describe('a body', () => {
  /** Sent in these parts; nothing says how long it will be. */
  const post = (origin: string, parts: Buffer[]) =>
    fetch(`${origin}/2015-03-31/functions/getLiveMigration/invocations`, {
      method: 'POST',
      body: ReadableStream.from(parts),
      duplex: 'half',
    });
  const blanks = Buffer.alloc(maxBodyBytes, ' ');

  test('longer than Lambda takes it is refused', async () => {
    const answer = await post(endpoint.origin, [blanks, Buffer.from('{}')]);
    expect(answer.status).toBe(413);
    expect(await answer.json()).toEqual({ message: 'The body of a request may have 6291456 bytes at most.' });
    // Blanks alone are no JSON.
    expect((await post(endpoint.origin, [blanks])).status).toBe(400);
  });

  test('may come in parts that divide a character', async () => {
    const echo = await startInvokeEndpoint(async (event) => event);
    const body = Buffer.from('"é"');
    const answer = await post(echo.origin, [body.subarray(0, 2), body.subarray(2)]);
    expect(await answer.json()).toBe('é');
    await echo.close();
  });
});

test.each([
  ['Secrets Manager', () => secretsManager, 'GET / HTTP/1.1', 'UnknownOperationException'],
  [
    'Secrets Manager',
    () => secretsManager,
    'POST / HTTP/1.1\r\nx-amz-target: secretsmanager.GetSecretValue\r\nauthorization: AWS4-HMAC-SHA256 x',
    'could not be answered',
  ],
  ['Atlas', () => atlas, 'GET // HTTP/1.1', 'could not be answered'],
])('the embedded %s answers what it cannot read', async (_, service, head, words) => {
  const { host, port } = new URL(service().origin);
  const socket = connect(Number(port), '127.0.0.1');
  socket.end(`${head}\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
  expect(await text(socket)).toMatch(new RegExp(`^HTTP/1.1 400 .*${words}`, 's'));
});

test('DryRun does not call the function, and Event does not wait for it', async () => {
  expect(await invoke({ InvocationType: 'DryRun' })).toMatchObject({ StatusCode: 204, value: '' });
  expect(atlas.counters.requests).toBe(0);
  const asked = new Promise<void>((resolve) => {
    atlas.reply = () => {
      resolve();
      return undefined;
    };
  });
  expect(await invoke({ InvocationType: 'Event' })).toMatchObject({ StatusCode: 202, value: '' });
  await asked;
});
