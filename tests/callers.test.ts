/** The examples of the docs: each caller's few lines, run. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { createStepFunctions, type Service, TaskError } from '../embedded/step-functions.ts';
import { readDefinition } from '../embedded/waiting.ts';
import { startGateway } from './support/gateway.ts';
import { allIsWell, asTask, atlas, coldStart, document, groupId, liveMigrationId } from './support/harness.ts';
import { virtualClock } from './support/virtual-clock.ts';

const examples = new URL('../docs/examples/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, examples), 'utf8');

beforeEach(allIsWell);

test('the docs show each example as it is', () => {
  const docs = ['callers.md', 'waiting.md']
    .map((name) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8'))
    .join('');
  const names = readdirSync(examples);
  expect(names.length).toBeGreaterThan(4);
  for (const name of names) expect(docs, name).toContain(`\n${read(name)}\`\`\``);
});

describe('another Lambda', () => {
  test('gets the document, or an Error with the name of the failure', async () => {
    const endpoint = await startInvokeEndpoint(await coldStart());
    onTestFinished(endpoint.close);
    vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', endpoint.origin);
    vi.stubEnv(
      'GET_LIVE_MIGRATION',
      'arn:aws:lambda:us-east-1:000000000000:function:atlas-live-migration-dev-getLiveMigration',
    );
    const { getLiveMigration } = await import('../docs/examples/ask-from-a-lambda.ts');
    expect(await getLiveMigration(groupId, liveMigrationId)).toEqual(document);
    await expect(getLiveMigration(groupId, 'f'.repeat(24))).rejects.toMatchObject({
      name: 'LiveMigrationNotFound',
      message: expect.stringContaining('has no live migration'),
    });
  });
});

describe('an internal app that signs', () => {
  const problem = {
    type: 'urn:problem-type:atlas-live-migration:ProjectNotFound',
    code: 'ProjectNotFound',
    detail: 'Atlas does not know it.',
  };

  test('in TypeScript, gets the document', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    const { getLiveMigration } = await import('../docs/examples/ask-over-https.ts');
    expect(await getLiveMigration(url, 'us-east-1', groupId, liveMigrationId)).toEqual(document);
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test.each([
    [404, problem, 'ProjectNotFound', 'Atlas does not know it.'],
    [403, { message: 'Forbidden' }, 'Error', 'HTTP 403: {"message":"Forbidden"}'],
  ])('in TypeScript, throws an Error that explains a %i', async (status, body, name, message) => {
    const { url } = await startGateway({ status, body });
    const { getLiveMigration } = await import('../docs/examples/ask-over-https.ts');
    await expect(getLiveMigration(url, 'us-east-1', groupId, liveMigrationId)).rejects.toMatchObject({ name, message });
  });

  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, ofReadme = ''] = /```sh\n(curl --aws-sigv4.*?)```/s.exec(readme) ?? [];
  const curls = {
    'docs/callers.md': read('ask-over-https.sh'),
    'README.md': ofReadme.replace(/"https:\/\/.*?amazonaws\.com/, '"$API_URL'),
  };
  // curl signs a header that has no value, and does not send it.
  test.each(
    Object.entries(curls).flatMap(([document, command]) =>
      ['A-SESSION-TOKEN', ''].map((token) => [document, token, command]),
    ),
  )('with the curl of %s, gets the document (session token "%s")', async (_, token, command = '') => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    const environment = { API_URL: url, GROUP_ID: groupId, LIVE_MIGRATION_ID: liveMigrationId };
    const { stdout } = await promisify(execFile)('sh', ['-c', command], {
      env: { ...process.env, ...environment, AWS_SESSION_TOKEN: token },
    });
    expect(JSON.parse(stdout)).toEqual(document);
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });
});

/** Runs an example workflow in virtual time. Where it starts a wait, the deployed one runs. */
async function runExample(name: string, invoke: (payload: unknown) => Promise<unknown>) {
  const text = read(name).replace(
    /\$\{(\w)(\w+)Arn\}/g,
    (_, first: string, rest: string) => first.toLowerCase() + rest,
  );
  const clock = virtualClock();
  const begin = clock.now();
  const services: Record<string, Service> = {
    'lambda:invoke': async ({ Payload }: { Payload: unknown }) => ({ Payload: await invoke(Payload) }),
    'events:putEvents': () => ({}),
  };
  const machines = {
    example: JSON.parse(text),
    awaitLiveMigration: readDefinition('awaitLiveMigration'),
    pollLiveMigration: readDefinition('pollLiveMigration'),
    remindOfCutover: readDefinition('remindOfCutover'),
  };
  const { start, executions } = createStepFunctions(machines, services, clock);
  const result = await start('example', { groupId, liveMigrationId, other: 1 }).result.catch((error: Error) => error);
  for (const execution of executions) execution.stop();
  return { result, seconds: (clock.now() - begin) / 1000 };
}

describe('a Step Functions task', () => {
  const ask = async () => runExample('ask-from-a-workflow.asl.json', asTask(await coldStart(), 1500));

  test('gets the document', async () => {
    expect(await ask()).toMatchObject({ result: document });
  });

  test('is retried after a rate limit, a minute later at least', async () => {
    atlas.reply = (_request, count) =>
      count <= 2 ? { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '60' } } : undefined;
    expect(await ask()).toEqual({ result: document, seconds: 60 + 120 });
    expect(atlas.counters.authenticated).toBe(3);
  });

  test.each([...['ServiceException', 'AWSLambdaException', 'SdkClientException', 'TooManyRequestsException']])(
    'is retried after Lambda.%s',
    async (name) => {
      let calls = 0;
      const { result } = await runExample('ask-from-a-workflow.asl.json', async () => {
        calls += 1;
        if (calls === 1) throw new TaskError(`Lambda.${name}`, '');
        return document;
      });
      expect(result).toEqual(document);
    },
  );

  test.each([
    ['RESOURCE_NOT_FOUND', 404, 'there is no such live migration'],
    ['ACCESS_FORBIDDEN', 403, 'somebody has to look at the key'],
  ])('is caught by the name of the failure: %s', async (code, status, result) => {
    atlas.reply = () => atlasError(status, code);
    expect(await ask()).toMatchObject({ result });
  });
});

describe('a workflow that waits and then goes on', () => {
  const waitAndGoOn = async (answers: object[]) => {
    const invoke = asTask(await coldStart(), 1500);
    let asked = 0;
    atlas.reply = () => {
      asked += 1;
      return { status: 200, body: { _id: liveMigrationId, ...answers[Math.min(asked, answers.length) - 1] } };
    };
    return (await runExample('wait-then-go-on.asl.json', invoke)).result;
  };

  test('goes on when the migration is ready', async () => {
    const state = await waitAndGoOn([{ status: 'NEW' }, { status: 'WORKING', readyForCutover: true }]);
    expect(state).toMatchObject({ groupId, status: 'WORKING', readyForCutover: true });
  });

  test("fails under the wait's own name when it failed", async () => {
    expect(await waitAndGoOn([{ status: 'NEW' }, { status: 'FAILED' }])).toMatchObject({ name: 'LiveMigrationFailed' });
  });
});
