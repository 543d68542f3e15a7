/** `npm run smoke`: what it says about a deployed API, and about each thing that may be wrong with it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { serve } from '../embedded/http-server.ts';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import { startGateway } from './support/gateway.ts';
import { allIsWell, document, groupId, liveMigrationId } from './support/harness.ts';

beforeEach(allIsWell);

async function smoke(args: string[], environment: Record<string, string | undefined> = {}) {
  const child = spawn(process.execPath, ['scripts/smoke.ts', ...args], {
    cwd: join(import.meta.dirname, '..'),
    env: { ...process.env, AWS_EC2_METADATA_DISABLED: 'true', ...environment },
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, out, err };
}

const ids = [groupId, liveMigrationId];

test('it prints the answer, and the request was signed', async () => {
  const { url, signatures } = await startGateway({ status: 200, body: document });
  const { code, out } = await smoke([...ids, '--url', url]);
  expect({ code, out }).toEqual({
    code: 0,
    out: expect.stringContaining('✓ The live migration is WORKING: lag 42 s, ready for cutover false.'),
  });
  expect(signatures).toHaveLength(1);
  expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
});

describe('each failure has its advice', () => {
  test.each(failureNames)('%s', async (name) => {
    const { status } = kindOf(name);
    const { url } = await startGateway({
      status,
      body: { code: name, detail: 'What happened.', requestId: 'r' },
    });
    const { code, err } = await smoke([...ids, '--url', url]);
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`^✗ ${name}: What happened\\.\\n  .{20,}\\n  request id r\\n$`));
  });
});

test.each([
  [403, { message: 'Forbidden' }, `It needs execute-api:Invoke on GET /groups/${groupId}/liveMigrations/*`],
  [401, { message: 'Unauthorized' }, '--token'],
  [404, { message: 'Not Found' }, 'is it this API, with its stage'],
  // A REST API's words.
  [403, { message: 'Missing Authentication Token' }, 'is it this API, with its stage'],
  [
    403,
    { Message: 'User: anonymous is not authorized to perform: execute-api:Invoke with an explicit deny' },
    'ask from a machine inside their VPCs',
  ],
  [
    403,
    {
      Message:
        'User: arn:x is not authorized to perform: execute-api:Invoke with an explicit deny in an identity-based policy',
    },
    'It needs execute-api:Invoke on',
  ],
  [403, { message: 'The security token included in the request is expired' }, 'Sign in again'],
  [403, { message: 'Credential should be scoped to a valid region.' }, '--region'],
  [403, { Message: 'User: arn:x is not authorized to perform: execute-api:Invoke' }, 'It needs execute-api:Invoke on'],
  [429, { message: 'Too Many Requests' }, 'throttlingRate'],
  [500, { message: 'Internal Server Error' }, 'The function did not start'],
  [200, {}, 'is it this API?'],
])('a %i of the gateway is explained', async (status, body, words) => {
  const { url } = await startGateway({ status, body });
  expect(await smoke([...ids, '--url', url])).toMatchObject({ code: 1, err: expect.stringContaining(words) });
});

test('a token is sent instead of a signature', async () => {
  const seen: unknown[] = [];
  const api = await serve((request, response) => {
    seen.push(request.headers.authorization);
    response.end(JSON.stringify(document));
  });
  onTestFinished(api.close);
  expect(await smoke([...ids, '--url', api.origin, '--token', 'j.w.t'])).toMatchObject({ code: 0 });
  expect(seen).toEqual(['Bearer j.w.t']);
});

test.each([
  [401, { message: 'Unauthorized' }],
  [403, { message: 'Forbidden' }],
])('where a token is refused (%i), the token is blamed', async (status, body) => {
  const { url } = await startGateway({ status, body });
  expect(await smoke([...ids, '--url', url, '--token', 'j.w.t'])).toMatchObject({
    code: 1,
    err: expect.stringMatching(/refuses the token.*\n.*one of the scopes/),
  });
});

test('no credentials: exit code 1, and the error says so', async () => {
  const none = {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_SESSION_TOKEN: undefined,
    HOME: '/nonexistent',
  };
  expect(await smoke([...ids, '--url', 'http://127.0.0.1:1'], none)).toMatchObject({
    code: 1,
    err: expect.stringContaining('No AWS credentials were found.'),
  });
});

test('no server at that address: exit code 1, with the address', async () => {
  expect(await smoke([...ids, '--url', 'http://127.0.0.1:1'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('Nothing answers at http://127.0.0.1:1.'),
  });
});

describe('the address is looked up by the stage', () => {
  async function cloudFormation(status: number, xml: string) {
    const server = await serve((_request, response) =>
      response.writeHead(status, { 'content-type': 'text/xml' }).end(xml),
    );
    onTestFinished(server.close);
    return { AWS_ENDPOINT_URL_CLOUDFORMATION: server.origin };
  }

  const stackWith = (key: string, value: string) => {
    const output = `<member><OutputKey>${key}</OutputKey><OutputValue>${value}</OutputValue></member>`;
    return `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>s</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>${output}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`;
  };

  // The address of a REST API, regional or private, ends in its stage.
  test.each(['', '/prod'])('in the output ApiUrl of the stack, and asked with its path "%s"', async (stage) => {
    const paths: unknown[] = [];
    const api = await serve((request, response) => {
      paths.push(request.url);
      response.end(JSON.stringify(document));
    });
    onTestFinished(api.close);
    const environment = await cloudFormation(200, stackWith('ApiUrl', `${api.origin}${stage}`));
    expect(await smoke([...ids, '--stage', 'prod'], environment)).toMatchObject({ code: 0 });
    expect(paths).toEqual([`${stage}/groups/${groupId}/liveMigrations/${liveMigrationId}`]);
  });

  test('a stack without an API is not mistaken for a missing one', async () => {
    const environment = await cloudFormation(200, stackWith('GetLiveMigrationArn', 'arn:x'));
    expect(await smoke([...ids, '--stage', 'prod'], environment)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/has no output ApiUrl\.\n.*With api=none, there is no API/),
    });
  });

  test.each([
    [
      'ValidationError',
      'Stack with id atlas-live-migration-prod does not exist',
      400,
      'There is no stack atlas-live-migration-prod in us-east-1.',
    ],
    ['AccessDenied', 'not authorized', 403, 'Your identity needs cloudformation:DescribeStacks'],
  ])('%s: %s is explained', async (code, message, status, words) => {
    const xml = `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>r</RequestId></ErrorResponse>`;
    expect(await smoke([...ids, '--stage', 'prod'], await cloudFormation(status, xml))).toMatchObject({
      code: 1,
      err: expect.stringContaining(words),
    });
  });
});

test.each([[[]], [[groupId]], [['--nonsense']], [[...ids, '--url', 'nothing']]])(
  '%j ends with exit code 2 and the usage',
  async (args) => {
    expect(await smoke(args)).toMatchObject({ code: 2, err: expect.stringContaining('Usage: npm run smoke') });
  },
);
