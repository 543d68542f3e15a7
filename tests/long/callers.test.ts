/**
 * The examples of the docs in Python, which are skipped where boto3 is not there; and the workflows in JSONPath, which
 * aws-local-stepfunctions runs.
 */

import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { StateMachine } from 'aws-local-stepfunctions';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { atlasError } from '../../embedded/atlas.ts';
import { type Definition, type State, TaskError } from '../../embedded/step-functions.ts';
import {
  deploy,
  examples,
  problemOf,
  readExample,
  readWorkflow,
  retryable,
  runWorkflow,
  workflowInput,
} from '../support/callers.ts';
import { startGateway } from '../support/gateway.ts';
import { allIsWell, asTask, atlas, coldStart, document, groupId, liveMigrationId } from '../support/harness.ts';
import { bringAbout } from '../support/scenarios.ts';

const hasBoto3 = spawnSync('python3', ['-c', 'import boto3']).status === 0;
beforeEach(allIsWell);

/** Calls the example's function. @returns what it returns, or what it raises */
async function call(name: string, text: string, ...args: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, name);
  writeFileSync(file, text);
  const program = `
import json, runpy, sys
try:
    print(json.dumps(runpy.run_path(sys.argv[1])["get_live_migration"](*sys.argv[2:])))
except Exception as error:
    print(json.dumps({"raised": type(error).__name__, "args": error.args}, default=str))
`;
  const { stdout } = await promisify(execFile)('python3', ['-c', program, file, ...args], {
    env: { ...process.env, AWS_DEFAULT_REGION: 'us-east-1', AWS_PROFILE: undefined },
  });
  return JSON.parse(stdout);
}

describe.skipIf(!hasBoto3)('another Lambda in Python', () => {
  const example = readExample('ask-from-a-lambda.py');
  const ask = (text = example) => call('ask-from-a-lambda.py', text, groupId, liveMigrationId);

  test('gets the document', async () => {
    await deploy(await coldStart());
    expect(await ask()).toEqual(document);
  });

  test.each(retryable)('invokes once after %s', async (name) => {
    bringAbout(name);
    const { invocations } = await deploy(await coldStart());
    expect(await ask()).toEqual({ raised: 'RuntimeError', args: [name, expect.any(String)] });
    expect(invocations).toHaveLength(1);
  });

  test('invokes a function that hangs once, for 25 seconds', async () => {
    const { invocations, asked } = await deploy(() => new Promise(() => undefined));
    expect(example).toContain('connect_timeout=5, read_timeout=25, ');
    expect(await ask(example.replace('read_timeout=25', 'read_timeout=0.5'))).toMatchObject({
      raised: 'ReadTimeoutError',
    });
    await asked;
    expect(invocations).toHaveLength(1);
  });
});

describe.skipIf(!hasBoto3)('an internal app in Python', () => {
  const example = readExample('ask-over-https.py');
  const ask = (url: string, text = example) =>
    call('ask-over-https.py', text, url, 'us-east-1', groupId, liveMigrationId);

  test('signs, and gets the document', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    expect(await ask(url)).toEqual(document);
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test("tells API Gateway's message", async () => {
    const { url } = await startGateway({ status: 403, body: { message: 'Forbidden' } });
    expect(await ask(url)).toEqual({ raised: 'RuntimeError', args: ['HTTP 403', "{'message': 'Forbidden'}"] });
  });

  test.each(retryable)('asks once after %s', async (name) => {
    const { url, signatures } = await startGateway(await problemOf(name));
    expect(await ask(url)).toEqual({ raised: 'RuntimeError', args: [name, expect.any(String)] });
    expect(signatures).toHaveLength(1);
  });

  test('asks once where no answer comes, for 25 seconds', async () => {
    const { url, signatures, asked } = await startGateway();
    expect(example).toContain('timeout=25)');
    expect(await ask(url, example.replace('timeout=25', 'timeout=0.5'))).toMatchObject({ raised: 'TimeoutError' });
    await asked;
    expect(signatures).toHaveLength(1);
  });
});

/** It has no types. */
const aslValidator: (definition: object) => { isValid: boolean; errorsText?: (separator: string) => string } =
  createRequire(import.meta.url)('asl-validator');

test.each(readdirSync(examples).filter((name) => name.endsWith('.asl.json')))('%s is valid', (name) => {
  const { isValid, errorsText } = aslValidator(JSON.parse(readExample(name)));
  expect(isValid, errorsText?.('; ')).toBe(true);
});

type Invoke = (payload: unknown) => Promise<unknown>;
type Workflow = { StartAt: string; States: Record<string, State & { QueryLanguage?: string }> };

/** Runs states in JSONata, which the interpreter of the waits knows, and throws as the service does. */
async function runJsonata(StartAt: string, States: Definition['States'], input: unknown, invoke: Invoke) {
  const { result } = await runWorkflow({ QueryLanguage: 'JSONata', StartAt, States }, invoke, input);
  if (result instanceof Error) throw result;
  return result;
}

/** Runs a workflow in JSONPath. What its tasks do with their arguments does not depend on the language. */
async function runJsonPath({ States, ...rest }: Workflow, input: unknown, invoke: Invoke): Promise<unknown> {
  const taskResourceLocalHandlers: Record<string, (args: unknown) => Promise<unknown>> = {};
  const retryIntervalOverrides: Record<string, number[]> = {};
  for (const [name, { Type, Resource = '', Retry = [] }] of Object.entries(States)) {
    if (Type !== 'Task') continue;
    taskResourceLocalHandlers[name] = (Arguments) =>
      runJsonata(name, { [name]: { Type, Resource, Arguments } }, {}, invoke);
    // They are waited for in real time.
    retryIntervalOverrides[name] = Retry.map(() => 0);
  }
  const machine = new StateMachine({ ...rest, States } as never, { validationOptions: { noValidate: true } });
  const overrides = { taskResourceLocalHandlers, retryIntervalOverrides } as never;
  const context = { Execution: { Id: 'arn:aws:states:us-east-1:123456789012:execution:example:1' } };
  const run = machine.run(input as never, { overrides, context } as never);
  const failed = (async () => {
    for await (const event of run.eventLogs)
      if (event.type === 'ExecutionFailed') return event as unknown as { Error: string; Cause: string };
    return undefined;
  })();
  return run.result.catch(async () => {
    const { Error: name = '', Cause: cause = '' } = (await failed) ?? {};
    throw new TaskError(name, cause);
  });
}

/** Runs a workflow that begins with a state in JSONata, and goes on in JSONPath: each part in its own language. */
async function runMixed({ StartAt, States }: Workflow, input: unknown, invoke: Invoke): Promise<unknown> {
  const { QueryLanguage, ...first } = States[StartAt] as Workflow['States'][string];
  expect(QueryLanguage).toBe('JSONata');
  const { [StartAt]: _, ...others } = States;
  const arrivals = Object.keys(others).map((name) => [
    name,
    { Type: 'Pass', Output: { next: name, input: '{% $states.input %}' }, End: true },
  ]);
  const left = await runJsonata(StartAt, { [StartAt]: first, ...Object.fromEntries(arrivals) }, input, invoke);
  const { next, input: handedOn } = left as { next?: string; input: unknown };
  return next ? runJsonPath({ StartAt: next, States: others }, handedOn, invoke) : left;
}

describe.each([
  ['jsonpath', runJsonPath],
  ['mixed', runMixed],
] as const)('a workflow in JSONPath (%s)', (form, run) => {
  const runExample = (name: string, invoke: Invoke) =>
    run(readWorkflow(`${name}.${form}.asl.json`) as Workflow, workflowInput, invoke).catch((error: Error) => error);
  const ask = async () => runExample('ask-from-a-workflow', asTask(await coldStart(), 1500));

  test('gets the document', async () => {
    expect(await ask()).toEqual(document);
  });

  test('asks again after a rate limit', async () => {
    atlas.reply = (_request, count) =>
      count <= 2 ? { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '60' } } : undefined;
    expect(await ask()).toEqual(document);
    expect(atlas.counters.authenticated).toBe(3);
  });

  test('retries and catches what the one in JSONata does', () => {
    const taskOf = (name: string) => (readWorkflow(name) as Workflow).States['GetLiveMigration'];
    const { Retry, Catch } = taskOf('ask-from-a-workflow.asl.json') as State;
    expect(Retry).toHaveLength(2);
    expect(taskOf(`ask-from-a-workflow.${form}.asl.json`)).toMatchObject({ Retry, Catch });
  });

  test.each([
    ['RESOURCE_NOT_FOUND', 404, 'there is no such live migration'],
    ['ACCESS_FORBIDDEN', 403, 'somebody has to look at the key'],
  ])('catches %s by the name of the failure', async (code, status, result) => {
    atlas.reply = () => atlasError(status, code);
    expect(await ask()).toBe(result);
  });

  const waitFor = async (answer: object) => {
    atlas.reply = (_request, count) => ({
      status: 200,
      body: { _id: liveMigrationId, status: 'NEW', ...(count > 1 && answer) },
    });
    return runExample('wait-then-go-on', asTask(await coldStart(), 1500));
  };

  test('goes on when the migration is ready', async () => {
    const state = await waitFor({ status: 'WORKING', readyForCutover: true });
    expect(state).toMatchObject({ groupId, status: 'WORKING', readyForCutover: true });
  });

  test('fails under the name of Step Functions where the wait cannot be started', async () => {
    const workflow = JSON.stringify(readWorkflow(`wait-then-go-on.${form}.asl.json`)).replace(
      'awaitLiveMigration',
      'gone',
    );
    const failure = run(JSON.parse(workflow), workflowInput, async () => ({}));
    await expect(failure).rejects.toMatchObject({ name: 'StepFunctions.StateMachineDoesNotExistException' });
  });

  test("fails under the wait's own name when it failed", async () => {
    const failure = (await waitFor({ status: 'FAILED' })) as TaskError;
    expect(failure).toMatchObject({ name: 'LiveMigrationFailed' });
    expect(JSON.parse(failure.message)).toMatchObject({ id: liveMigrationId, status: 'FAILED' });
  });
});

test('a task in JSONPath keeps its input with the two fields that docs/callers.md names', async () => {
  const page = readFileSync(new URL('../callers.md', examples), 'utf8');
  const fields = [...page.matchAll(/`("Result\w+": [^`]+)`/g)].map(([, field]) => field);
  expect(fields).toHaveLength(2);
  const { States, ...rest } = readWorkflow('ask-from-a-workflow.jsonpath.asl.json') as Workflow;
  const { OutputPath: _, ...task } = States['GetLiveMigration'] as Workflow['States'][string] & { OutputPath: string };
  const GetLiveMigration = { ...task, ...JSON.parse(`{${fields.join()}}`) };
  const workflow = { ...rest, States: { ...States, GetLiveMigration } };
  expect(await runJsonPath(workflow, workflowInput, asTask(await coldStart()))).toEqual({
    ...workflowInput,
    liveMigration: { document },
  });
});
