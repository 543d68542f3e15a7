/** `npm run smoke`: what it says about a deployed API, and about each thing that may be wrong with it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { serve } from '../embedded/http-server.ts';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import { connectNetwork } from '../scripts/network.ts';
import { askDeployed, type Question, Trouble } from '../scripts/smoke/question.ts';
import { Refusal, startAws } from './support/aws.ts';
import { startGateway } from './support/gateway.ts';
import { allIsWell, document, groupId, liveMigrationId } from './support/harness.ts';

beforeEach(allIsWell);

async function cloudFormation(status: number, xml: string) {
  const server = await serve((_request, response) =>
    response.writeHead(status, { 'content-type': 'text/xml' }).end(xml),
  );
  onTestFinished(server.close);
  vi.stubEnv('AWS_ENDPOINT_URL_CLOUDFORMATION', server.origin);
}

const error = (code: string, message: string) =>
  `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>r</RequestId></ErrorResponse>`;
const noStack = error('ValidationError', 'Stack with id atlas-live-migration-prod does not exist');

describe('the program', () => {
  async function smoke(...args: string[]) {
    const child = spawn(process.execPath, ['scripts/smoke.ts', ...args], { cwd: join(import.meta.dirname, '..') });
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, out, err };
  }
  const ids = [groupId, liveMigrationId];

  test('prints the answer, and the request was signed', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    const { code, out } = await smoke(...ids, '--url', url);
    expect({ code, out }).toEqual({
      code: 0,
      out: `✓ The live migration is WORKING: lag 42 s, ready for cutover false.\n${JSON.stringify(document, null, 2)}\n`,
    });
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test('ends with exit code 1 where something is wrong', async () => {
    await cloudFormation(400, noStack);
    expect(await smoke(...ids, '--quick', '--stage', 'prod', '--region', 'eu-central-1')).toEqual({
      code: 1,
      out: '',
      err: '✗ There is no stack atlas-live-migration-prod in eu-central-1.\n  Deploy it first, or name another --stage or --region.\n',
    });
  });

  test('checks all, and prints a line for each', async () => {
    const { origin } = await startAws();
    const { code, out, err } = await smoke(...ids, '--stage', 'prod');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = out.trimEnd().split('\n');
    expect(lines.at(-1)).toBe('15 checks: 15 ok, 0 wrong');
    expect(lines.filter((line) => line.startsWith('✓ '))).toHaveLength(15);
    expect(origin).toMatch(/^http:/);
  });

  test('prints JSON for a pipeline, with exit code 1 where one is wrong', async () => {
    await startAws((answers) => {
      answers['cloudwatch:GetDashboard'] = () => new Refusal('ResourceNotFound', 'x', 404);
    });
    const { code, out } = await smoke(...ids, '--stage', 'prod', '--json');
    expect(code).toBe(1);
    const results: { check: string; result: string }[] = JSON.parse(out);
    expect(results.filter(({ result }) => result !== 'ok')).toMatchObject([{ check: 'dashboard', result: 'wrong' }]);
  });

  test('Ctrl-C removes what it has made, and is 130', async () => {
    const receiving = Promise.withResolvers<void>();
    const { calls } = await startAws((answers) => {
      answers['sqs:ReceiveMessage'] = () => {
        receiving.resolve();
        return {};
      };
    });
    const child = spawn(process.execPath, ['scripts/smoke.ts', ...ids, '--stage', 'prod'], {
      cwd: join(import.meta.dirname, '..'),
    });
    await receiving.promise;
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([130, null]);
    const names = calls.map(({ action }) => action);
    expect(names).toEqual(expect.arrayContaining(['events:RemoveTargets', 'events:DeleteRule', 'sqs:DeleteQueue']));
  });

  test('ends with exit code 2 and the usage where it is called in a wrong way', async () => {
    expect(await smoke(...ids, '--url', 'nothing')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^Usage: npm run smoke .*\n\n--url must be a URL\.\n$/s),
    });
  });
});

const ask = (options: Partial<Question>) =>
  askDeployed({ stage: 'prod', region: 'us-east-1', groupId, liveMigrationId, ...options }, connectNetwork());

async function troubleOf(options: Partial<Question>): Promise<string> {
  const error = await ask(options).catch((error) => error);
  expect(error).toBeInstanceOf(Trouble);
  return error.message;
}

describe('each failure has its advice', () => {
  test.each(failureNames)('%s', async (name) => {
    const { status } = kindOf(name);
    const { url } = await startGateway({
      status,
      body: { code: name, detail: 'What happened.', requestId: 'r' },
    });
    expect(await troubleOf({ url })).toMatch(new RegExp(`^${name}: What happened\\.\\n  .{20,}\\n  request id r$`));
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
  [502, { code: 'NewFailure', detail: 'x' }, 'without a failure code'],
])('a %i of the gateway is explained', async (status, body, words) => {
  const { url } = await startGateway({ status, body });
  expect(await troubleOf({ url })).toContain(words);
});

/** Clears the screen, sets the title and the clipboard, goes on in C1, turns the direction, and begins a line. */
const hostile = '\u001b[2J\u001b]0;t\u0007\u001b]52;c;aGk=\u0007\u009b2J\u007f\u202e\r\n\u2028';
const commands = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}]/u;

test.each([
  ['a message', 403, { message: hostile }],
  ['a failure', 502, { code: 'AtlasUnavailable', detail: hostile, requestId: hostile }],
])('%s of the gateway cannot command the terminal', async (_, status, body) => {
  const { url } = await startGateway({ status, body });
  const trouble = await troubleOf({ url });
  expect(trouble).not.toMatch(commands);
  expect(trouble).toContain('\\u001b[2J');
  expect(trouble.split('\n').length).toBeLessThanOrEqual(3);
});

test('a document cannot command the terminal, and means what it meant', async () => {
  const answer = { ...document, status: hostile, migrationHosts: [hostile] };
  const { url } = await startGateway({ status: 200, body: answer });
  const text = await ask({ url });
  expect(text).not.toMatch(commands);
  expect(JSON.parse(text.slice(text.indexOf('\n')))).toEqual(answer);
});

test('a token is sent instead of a signature', async () => {
  const seen: unknown[] = [];
  const api = await serve((request, response) => {
    seen.push(request.headers.authorization);
    response.end(JSON.stringify(document));
  });
  onTestFinished(api.close);
  expect(await ask({ url: api.origin, token: 'j.w.t' })).toContain('✓');
  expect(seen).toEqual(['Bearer j.w.t']);
});

test.each([
  [401, { message: 'Unauthorized' }],
  [403, { message: 'Forbidden' }],
])('where a token is refused (%i), the token is blamed', async (status, body) => {
  const { url } = await startGateway({ status, body });
  expect(await troubleOf({ url, token: 'j.w.t' })).toMatch(/refuses the token.*\n.*one of the scopes/);
});

test('that there are no credentials is said', async () => {
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('HOME', '/nonexistent');
  expect(await troubleOf({ url: 'http://127.0.0.1:1' })).toContain('No AWS credentials were found.');
});

test('that no server is at that address is said, with the address', async () => {
  expect(await troubleOf({ url: 'http://127.0.0.1:1' })).toContain('Nothing answers at http://127.0.0.1:1.');
});

describe('the address is looked up by the stage', () => {
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
    await cloudFormation(200, stackWith('ApiUrl', `${api.origin}${stage}`));
    expect(await ask({})).toContain('✓');
    expect(paths).toEqual([`${stage}/groups/${groupId}/liveMigrations/${liveMigrationId}`]);
  });

  test('a stack without an API is not mistaken for a missing one', async () => {
    await cloudFormation(200, stackWith('GetLiveMigrationArn', 'arn:x'));
    expect(await troubleOf({})).toMatch(/has no output ApiUrl\.\n.*With api=none, there is no API/);
  });

  test.each([
    [400, noStack, 'There is no stack atlas-live-migration-prod in us-east-1.'],
    [403, error('AccessDenied', 'not authorized'), 'Your identity needs cloudformation:DescribeStacks'],
    [
      403,
      error('Denied&#x9b;2J', 'not authorized'),
      'CloudFormation refuses to describe the stack atlas-live-migration-prod (Denied\\u009b2J).',
    ],
  ])('a %i of CloudFormation is explained', async (status, xml, words) => {
    await cloudFormation(status, xml);
    expect(await troubleOf({})).toContain(words);
  });
});
