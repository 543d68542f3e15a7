/** The examples of the docs: each caller's few lines, run. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { StateMachine } from 'aws-local-stepfunctions';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { startExecution, TaskError } from '../embedded/state-machine.ts';
import { startGateway } from './support/gateway.ts';
import { allIsWell, asTask, atlas, coldStart, document, groupId, liveMigrationId } from './support/harness.ts';

const examples = new URL('../docs/examples/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, examples), 'utf8');

beforeEach(allIsWell);

test('the docs show each example as it is', () => {
  const docs = ['callers.md', 'waiting.md']
    .map((name) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8'))
    .join('');
  for (const name of readdirSync(examples)) expect(docs, name).toContain(`\n${read(name)}\`\`\``);
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
  test('in TypeScript, gets the document', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    const { getLiveMigration } = await import('../docs/examples/ask-over-https.ts');
    expect(await getLiveMigration(url, 'us-east-1', groupId, liveMigrationId)).toEqual(document);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test.each([
    [404, { code: 'ProjectNotFound', detail: 'Atlas does not know it.' }, 'ProjectNotFound', 'Atlas does not know it.'],
    [403, { message: 'Forbidden' }, 'HTTP 403', 'Forbidden'],
  ])('in TypeScript, tells a %i', async (status, body, name, message) => {
    const { url } = await startGateway({ status, body });
    const { getLiveMigration } = await import('../docs/examples/ask-over-https.ts');
    await expect(getLiveMigration(url, 'us-east-1', groupId, liveMigrationId)).rejects.toMatchObject({ name, message });
  });

  test('with curl, gets the document', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    const { stdout } = await promisify(execFile)('sh', ['-c', read('ask-over-https.sh')], {
      env: { ...process.env, API_URL: url, GROUP_ID: groupId, LIVE_MIGRATION_ID: liveMigrationId },
    });
    expect(JSON.parse(stdout)).toEqual(document);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });
});

/** Runs an example workflow; tasks are given by the name of their state. */
async function runExample(name: string, tasks: Record<string, (parameters: never) => Promise<unknown>>) {
  const machine = new StateMachine(JSON.parse(read(name)), { validationOptions: { checkArn: false } });
  const execution = machine.run(
    { groupId, liveMigrationId },
    {
      context: { Execution: { Id: 'parent' } },
      overrides: { taskResourceLocalHandlers: tasks as never, retryIntervalOverrides: { GetLiveMigration: 0 } },
    },
  );
  return execution.result.catch((error: { cause: Error }) => error.cause);
}

describe('a Step Functions task', () => {
  const ask = async () => {
    const invoke = asTask(await coldStart(), 1500);
    return runExample('ask-from-a-workflow.asl.json', {
      GetLiveMigration: async ({ Payload }: { Payload: unknown }) => ({ Payload: await invoke(Payload) }),
    });
  };

  test('gets the document', async () => {
    expect(await ask()).toEqual(document);
  });

  test('is retried by the name of the failure', async () => {
    atlas.reply = (_request, count) =>
      count <= 2 ? { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '60' } } : undefined;
    expect(await ask()).toEqual(document);
    expect(atlas.counters.authenticated).toBe(3);
  });

  test.each([
    ['RESOURCE_NOT_FOUND', 404, 'there is no such live migration'],
    ['ACCESS_FORBIDDEN', 403, 'somebody has to look at the key'],
  ])('is caught by the name of the failure: %s', async (code, status, result) => {
    atlas.reply = () => atlasError(status, code);
    expect(await ask()).toBe(result);
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
    return runExample('wait-then-go-on.asl.json', {
      WaitForCutover: async ({ Input }: { Input: unknown }) => {
        const execution = startExecution(Input, { invoke, putEvent: () => undefined }, { waits: { Pause: 0 } });
        // As Step Functions tells it: a child that failed is States.TaskFailed, with its description as the cause.
        const Output = await execution.result.catch(({ cause: { name, message } }: { cause: Error }) => {
          throw new TaskError('States.TaskFailed', JSON.stringify({ Status: 'FAILED', Error: name, Cause: message }));
        });
        return { Output };
      },
    });
  };

  test('goes on when the migration is ready', async () => {
    const state = await waitAndGoOn([{ status: 'NEW' }, { status: 'WORKING', readyForCutover: true }]);
    expect(state).toMatchObject({ groupId, wait: { document: { status: 'WORKING', readyForCutover: true } } });
  });

  test("fails under the wait's own name when it failed", async () => {
    expect(await waitAndGoOn([{ status: 'NEW' }, { status: 'FAILED' }])).toMatchObject({ name: 'LiveMigrationFailed' });
  });
});
