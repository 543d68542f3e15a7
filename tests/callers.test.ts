/** The examples of the docs: each caller's few lines, run. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { serve } from '../embedded/http-server.ts';
import { type Definition, TaskError } from '../embedded/step-functions.ts';
import { deploy, examples, problemOf, readExample, readWorkflow, retryable, runWorkflow } from './support/callers.ts';
import { startGateway } from './support/gateway.ts';
import { allIsWell, asTask, atlas, coldStart, document, groupId, liveMigrationId } from './support/harness.ts';
import { bringAbout } from './support/scenarios.ts';

beforeEach(allIsWell);

test('the docs show each example as it is', () => {
  const docs = ['callers.md', 'waiting.md']
    .map((name) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8'))
    .join('');
  const names = readdirSync(examples);
  expect(names.length).toBeGreaterThan(4);
  for (const name of names) expect(docs, name).toContain(`\n${readExample(name)}\`\`\``);
});

/**
 * Lets a time limit be over once the request is there, so that no test waits for it.
 *
 * @returns the milliseconds of each limit that was set
 */
function endTimeLimitsAfter(asked: Promise<void>): number[] {
  const limits: number[] = [];
  vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
    limits.push(ms);
    const controller = new AbortController();
    void asked.then(() => controller.abort(new DOMException('The time is over.', 'TimeoutError')));
    return controller.signal;
  });
  return limits;
}

describe('another Lambda', () => {
  const ask = async (id = liveMigrationId) => {
    // Its client keeps the endpoint that it was made with.
    vi.resetModules();
    const { getLiveMigration } = await import('../docs/examples/ask-from-a-lambda.ts');
    return getLiveMigration(groupId, id);
  };

  test('gets the document, or an Error with the name of the failure', async () => {
    await deploy(await coldStart());
    expect(await ask()).toEqual(document);
    await expect(ask('f'.repeat(24))).rejects.toMatchObject({
      name: 'LiveMigrationNotFound',
      message: expect.stringContaining('has no live migration'),
    });
  });

  test.each(retryable)('invokes once after %s', async (name) => {
    bringAbout(name);
    const { invocations } = await deploy(await coldStart());
    await expect(ask()).rejects.toMatchObject({ name });
    expect(invocations).toHaveLength(1);
  });

  test('invokes a function that hangs once, for 25 seconds', async () => {
    const { invocations, asked } = await deploy(() => new Promise(() => undefined));
    const limits = endTimeLimitsAfter(asked);
    await expect(ask()).rejects.toMatchObject({ name: 'AbortError' });
    expect(invocations).toHaveLength(1);
    expect(limits).toEqual([25_000]);
  });

  test('leaves it to the SDK to ask again where Lambda throttles', async () => {
    let requests = 0;
    const throttle = await serve((_, response) => {
      requests += 1;
      response.writeHead(429, { 'x-amzn-errortype': 'TooManyRequestsException' }).end('{}');
    });
    onTestFinished(throttle.close);
    vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', throttle.origin);
    vi.stubEnv('GET_LIVE_MIGRATION', 'getLiveMigration');
    await expect(ask()).rejects.toMatchObject({ name: 'TooManyRequestsException' });
    expect(requests).toBe(3);
  });
});

const overHttps = {
  'an internal app in TypeScript': async (url: string) =>
    (await import('../docs/examples/ask-over-https.ts')).getLiveMigration(url, 'us-east-1', groupId, liveMigrationId),
  'a browser app': async (url: string) =>
    (await import('../docs/examples/ask-from-a-browser.ts')).getLiveMigration(url, 'A-TOKEN', groupId, liveMigrationId),
};

describe.each(Object.entries(overHttps))('%s', (_, ask) => {
  const problem = {
    type: 'urn:problem-type:atlas-live-migration:ProjectNotFound',
    code: 'ProjectNotFound',
    detail: 'Atlas does not know it.',
  };

  test('gets the document', async () => {
    const { url, headers } = await startGateway({ status: 200, body: document });
    expect(await ask(url)).toEqual(document);
    expect(headers).toHaveLength(1);
  });

  test.each([
    [404, problem, 'ProjectNotFound', 'Atlas does not know it.'],
    [403, { message: 'Forbidden' }, 'Error', 'HTTP 403: {"message":"Forbidden"}'],
  ])('throws an Error that explains a %i', async (status, body, name, message) => {
    const { url } = await startGateway({ status, body });
    await expect(ask(url)).rejects.toMatchObject({ name, message });
  });

  test.each(retryable)('asks once after %s', async (name) => {
    const { url, headers } = await startGateway(await problemOf(name));
    await expect(ask(url)).rejects.toMatchObject({ name });
    expect(headers).toHaveLength(1);
  });

  test('asks once where no answer comes, for 25 seconds', async () => {
    const { url, headers, asked } = await startGateway();
    const limits = endTimeLimitsAfter(asked);
    await expect(ask(url)).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(headers).toHaveLength(1);
    expect(limits).toEqual([25_000]);
  });
});

test('a browser app sends its token', async () => {
  const { url, headers } = await startGateway({ status: 200, body: document });
  await overHttps['a browser app'](url);
  expect(headers[0]?.authorization).toBe('Bearer A-TOKEN');
});

describe('an internal app signs', () => {
  test('in TypeScript', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    await overHttps['an internal app in TypeScript'](url);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, ofReadme = ''] = /```sh\n(curl --max-time 25 --aws-sigv4.*?)```/s.exec(readme) ?? [];
  const curls = {
    'docs/callers.md': readExample('ask-over-https.sh'),
    'README.md': ofReadme.replace(/"https:\/\/.*?amazonaws\.com/, '"$API_URL'),
  };
  const curl = (url: string, command: string) =>
    promisify(execFile)('sh', ['-c', command], {
      env: { ...process.env, API_URL: url, GROUP_ID: groupId, LIVE_MIGRATION_ID: liveMigrationId },
    });
  // curl signs a header that has no value, and does not send it.
  test.each(
    Object.entries(curls).flatMap(([document, command]) =>
      ['A-SESSION-TOKEN', ''].map((token) => [document, token, command]),
    ),
  )('with the curl of %s, and gets the document (session token "%s")', async (_, token, command = '') => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    vi.stubEnv('AWS_SESSION_TOKEN', token);
    const { stdout } = await curl(url, command);
    expect(JSON.parse(stdout)).toEqual(document);
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test.each(retryable)('with curl, and asks once after %s', async (name) => {
    const { url, signatures } = await startGateway(await problemOf(name));
    const { stdout } = await curl(url, readExample('ask-over-https.sh'));
    expect(JSON.parse(stdout)).toMatchObject({ code: name });
    expect(signatures).toHaveLength(1);
  });

  test('with curl, and asks once where no answer comes, for 25 seconds', async () => {
    const { url, signatures, asked } = await startGateway();
    // The limit is the same one, made shorter.
    const command = readExample('ask-over-https.sh').replace('--max-time 25 ', '--max-time 0.5 ');
    await expect(curl(url, command)).rejects.toMatchObject({ code: 28 });
    await asked;
    expect(signatures).toHaveLength(1);
  });
});

const runExample = (name: string, invoke: (payload: unknown) => Promise<unknown>) =>
  runWorkflow(readWorkflow(name) as Definition, invoke);

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

  test('fails under the name of Step Functions where the wait cannot be started', async () => {
    const workflow = JSON.parse(
      JSON.stringify(readWorkflow('wait-then-go-on.asl.json')).replace('awaitLiveMigration', 'gone'),
    );
    const { result } = await runWorkflow(workflow, async () => ({}));
    expect(result).toMatchObject({ name: 'StepFunctions.StateMachineDoesNotExistException' });
  });

  test("fails under the wait's own name when it failed", async () => {
    expect(await waitAndGoOn([{ status: 'NEW' }, { status: 'FAILED' }])).toMatchObject({ name: 'LiveMigrationFailed' });
  });
});
