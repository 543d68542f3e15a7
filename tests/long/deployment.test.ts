/**
 * A deployment, its rollback and its removal, and the same with the AWS CLI and the template for other tools, against an
 * emulated AWS: moto (https://docs.getmoto.org), where Python has it. It takes the template as it is; the API and the
 * function behind it are not real there.
 */

import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CloudFormationClient, DescribeStacksCommand, GetTemplateCommand } from '@aws-sdk/client-cloudformation';
import { GetFunctionCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyService } from '../../scripts/package-service.ts';
import { checkout } from '../support/checkout.ts';
import { allIsWell, liveMigrationId } from '../support/harness.ts';
import { smoke } from '../support/smoke.ts';

const root = join(import.meta.dirname, '../..');
const python = `
import moto.cloudformation.models as models
# It takes the warnings of cfn-lint for errors.
models.validate_template_cfn_lint = lambda template: []
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
`;
// To import it takes seconds.
const find = 'from importlib.util import find_spec; find_spec("moto.server") or exit(1)';
const hasMoto = spawnSync('python3', ['-c', find]).status === 0;
const hasCli = spawnSync('aws', ['--version']).status === 0;

describe.skipIf(!hasMoto)('against moto', () => {
  const server = hasMoto ? spawn('python3', ['-c', python]) : undefined;
  const folder = copyService();
  let environment: NodeJS.ProcessEnv;
  let client: CloudFormationClient;
  let lambda: LambdaClient;
  const StackName = 'atlas-live-migration-prod';

  beforeAll(async () => {
    let port: string | undefined;
    for await (const chunk of server?.stderr ?? []) {
      port = /127\.0\.0\.1:(\d+)/.exec(String(chunk))?.[1];
      if (port) break;
    }
    const endpoint = `http://127.0.0.1:${port}`;
    const credentials = { accessKeyId: 'x', secretAccessKey: 'y' };
    environment = {
      ...process.env,
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: 'us-east-1',
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    };
    client = new CloudFormationClient({ endpoint, region: 'us-east-1', credentials });
    lambda = new LambdaClient({ endpoint, region: 'us-east-1', credentials });
  });

  afterAll(async () => {
    rmSync(folder, { recursive: true });
    if (server?.kill()) await once(server, 'exit');
  });

  const run = (...args: string[]) =>
    promisify(execFile)(join(root, 'node_modules/.bin/serverless'), [...args, '--stage', 'prod'], {
      cwd: folder,
      env: environment,
    });
  const deployed = async () => {
    const { TemplateBody = '' } = await client.send(new GetTemplateCommand({ StackName }));
    return TemplateBody;
  };

  const page = readFileSync(join(root, 'docs/operate.md'), 'utf8');
  const sh = async (command: string, more: Record<string, string> = {}, cwd = root) => {
    const env = { ...environment, ...more };
    return (await promisify(execFile)('sh', ['-ec', command], { cwd, env })).stdout.trim();
  };
  const machine = (name: string) =>
    `arn:aws:states:us-east-1:123456789012:stateMachine:atlas-live-migration-prod-${name}`;

  /**
   * `npm run smoke`, with what moto can: the identity, the definition of the state machine, rules, events, queues, and the
   * dashboard. It has neither the outputs of the stack nor its alarms, runs no execution, and has no line of the function.
   */
  async function answersTheChecks() {
    const origin = String(environment['AWS_ENDPOINT_URL']);
    const Detail = JSON.stringify({ id: liveMigrationId, status: 'WORKING' });
    const entry = { Source: 'atlas.live-migration', DetailType: 'Live Migration Status Changed', Detail };
    const scope = 'x/20261128/us-east-1/events/aws4_request';
    const putEvent = () =>
      fetch(origin, {
        method: 'POST',
        headers: {
          'x-amz-target': 'AWSEvents.PutEvents',
          'content-type': 'application/x-amz-json-1.1',
          authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=0`,
        },
        body: JSON.stringify({ Entries: [entry] }),
      });
    const { of, results, world } = await smoke(
      (answers) => {
        const start = answers['states:StartExecution'];
        answers['states:StartExecution'] = async (input, count) => {
          // As the wait would do it.
          if (input.input.includes(liveMigrationId)) await putEvent();
          return start?.(input, count);
        };
      },
      { pace: 1 / 10 },
      {
        origin,
        keep: /^(cloudformation|lambda|sns|xray):|:(StartExecution|DescribeExecution|StopExecution|GetMetricData|DescribeAlarms|StartQuery|GetQueryResults)$/,
      },
    );
    expect(results.filter(({ result }) => result === 'wrong')).toEqual([]);
    expect(of('dashboard').text).toContain('is there');
    expect(world.calls.map(({ action }) => action)).toContain('events:DeleteRule');
  }

  /** The first command for each symptom. */
  async function takesTheCommandsForSymptoms() {
    const rows = [...page.matchAll(/^\| .* \| .* \| `(aws .*)` \|$/gm)].map(([, command = '']) => command);
    expect(rows).toHaveLength(7);
    const LIVE_MIGRATION_ID = '7e68e12770616e75e6df43d0';
    const start = `aws stepfunctions start-execution --state-machine-arn ${machine('remindOfCutover')} --name ${LIVE_MIGRATION_ID}`;
    const { executionArn: EXECUTION_ARN } = JSON.parse(await sh(start));
    const named = { ACCOUNT_ID: '123456789012', LIVE_MIGRATION_ID, EXECUTION_ARN };
    const answers = await Promise.all(
      rows.map(async (command) => [command.split(' ')[2], JSON.parse(await sh(command, named))]),
    );
    expect(answers).toContainEqual(['describe-execution', expect.objectContaining({ executionArn: EXECUTION_ARN })]);
    expect(answers).toContainEqual(['get-execution-history', { events: expect.any(Array) }]);
    expect(answers.filter(([name]) => name === 'filter-log-events')).toHaveLength(3);
    await sh(`aws stepfunctions stop-execution --execution-arn ${EXECUTION_ARN}`);
  }

  /** The commands that docs/operate.md has for the time before a removal. */
  async function stopsWhatRuns() {
    const [commands = ''] = /^for machine in .*?^done$/ms.exec(page) ?? [];
    const running = (name: string) =>
      sh(
        `aws stepfunctions list-executions --state-machine-arn ${machine(name)} --status-filter RUNNING --query 'length(executions)'`,
      );
    const machines = ['awaitLiveMigration', 'remindOfCutover'];
    for (const name of machines)
      for (const execution of ['one', 'two'])
        await sh(`aws stepfunctions start-execution --state-machine-arn ${machine(name)} --name ${execution}`);
    const listOnly = commands.replace(/^ *aws stepfunctions stop-execution .*\n/m, '');
    expect(listOnly).not.toBe(commands);
    const listed = (await sh(listOnly)).split('\n').map((arn) => arn.split('-prod-')[1]);
    expect(listed.sort()).toEqual(machines.flatMap((name) => [`${name}:one`, `${name}:two`]));
    expect(await Promise.all(machines.map(running))).toEqual(['2', '2']);
    await sh(commands);
    expect(await Promise.all(machines.map(running))).toEqual(['0', '0']);
  }

  test('a deployment is rolled back to the one before; then what runs is stopped, and the stack is removed', async () => {
    await run('deploy', '--param', 'tags=team=data');
    const first = await deployed();
    const { Stacks } = await client.send(new DescribeStacksCommand({ StackName }));
    expect(Stacks?.[0]?.Tags).toContainEqual({ Key: 'team', Value: 'data' });

    await run('deploy', '--param', 'tags=team=data', '--param', 'reservedConcurrency=7');
    expect(await deployed()).toContain('ReservedConcurrentExecutions');

    const { stdout, stderr } = await run('deploy', 'list');
    const [timestamp = ''] = /(?<=Timestamp: )\d+/.exec(stdout + stderr) ?? [];
    await run('rollback', '--timestamp', timestamp);
    expect(await deployed()).toBe(first);

    allIsWell();
    await answersTheChecks();
    if (hasCli) await takesTheCommandsForSymptoms();
    if (hasCli) await stopsWhatRuns();
    await run('remove');
    await expect(client.send(new DescribeStacksCommand({ StackName }))).rejects.toThrow('does not exist');
  });

  test.skipIf(!hasCli)('the commands of docs/other-tools.md make the stack, change it and remove it', async () => {
    const page = readFileSync(join(root, 'docs/other-tools.md'), 'utf8');
    const [make = '', deploy = '', remove = ''] = [...page.matchAll(/(?<=```sh\n).*?(?=\n```)/gs)].map(String);
    const project = checkout('project');
    const read = (name: string) => readFileSync(join(project, 'dist', name));
    // By this name, moto finds the bucket in the URL of a template.
    const endpoint = environment['AWS_ENDPOINT_URL']?.replace('127.0.0.1', 'localhost');
    const run = (...commands: string[]) =>
      sh([`export AWS_ENDPOINT_URL=${endpoint} BUCKET=releases`, ...commands].join('\n'), {}, project);
    const sumOfCode = async () => {
      const FunctionName = `${StackName}-getLiveMigration`;
      return (await lambda.send(new GetFunctionCommand({ FunctionName }))).Configuration?.CodeSha256;
    };

    await run('aws s3 mb "s3://$BUCKET"', make, deploy);
    expect(await deployed()).toBe(read('template.json').toString());
    const first = await sumOfCode();
    expect(first).toBe(createHash('sha256').update(read('function.zip')).digest('base64'));
    const { Stacks } = await client.send(new DescribeStacksCommand({ StackName }));
    expect(Stacks?.[0]?.Tags).toEqual([{ Key: 'STAGE', Value: 'prod' }]);

    const makeOther = `${make} --param "reservedConcurrency=7"`;
    await run(makeOther, deploy);
    expect(await deployed()).toContain('"ReservedConcurrentExecutions":7');
    expect(await sumOfCode()).toBe(first);

    appendFileSync(join(project, 'functions/get-live-migration.ts'), 'console.log();');
    await run(makeOther, deploy);
    expect(await sumOfCode()).toBe(createHash('sha256').update(read('function.zip')).digest('base64'));
    expect(await sumOfCode()).not.toBe(first);

    await run(remove);
    await expect(client.send(new DescribeStacksCommand({ StackName }))).rejects.toThrow('does not exist');
  });
});
