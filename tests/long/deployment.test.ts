/**
 * A deployment, its rollback and its removal, and the same with the AWS CLI and the template for other tools, against an
 * emulated AWS: moto (https://docs.getmoto.org), where Python has it. It takes the template as it is; the API and the
 * function behind it are not real there. What osls asks of it is compared with docs/deploying-role.json; CloudFormation's
 * own calls are not seen there.
 */

import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { CloudFormationClient, DescribeStacksCommand, GetTemplateCommand } from '@aws-sdk/client-cloudformation';
import { GetFunctionCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { copyService } from '../../scripts/package-service.ts';
import { checkout } from '../support/checkout.ts';
import { callsBeforeRemoval, callsOfOsls } from '../support/deploying.ts';
import { allIsWell, liveMigrationId } from '../support/harness.ts';
import { allows, type PolicyStatement } from '../support/policies.ts';
import { smoke } from '../support/smoke.ts';

const root = join(import.meta.dirname, '../..');
const python = `
import io, json, sys
import moto.cloudformation.models as models
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main
# It takes the warnings of cfn-lint for errors.
models.validate_template_cfn_lint = lambda template: []
answer = DomainDispatcherApplication.__call__
def record(application, environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    names = ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_AUTHORIZATION", "HTTP_X_AMZ_TARGET"]
    request = [environ.get(name, "") for name in names] + [body.decode("latin1")]
    # In one piece: requests come at the same time.
    sys.stdout.write(json.dumps(request) + "\\n")
    sys.stdout.flush()
    return answer(application, environ, start_response)
DomainDispatcherApplication.__call__ = record
main(["-H", "127.0.0.1", "-p", "0"])
`;
// To import it takes seconds.
const find = 'from importlib.util import find_spec; find_spec("moto.server") or exit(1)';
/** The access key of whoever deploys, by which their requests are known. */
const deployer = 'DEPLOYER';
const hasMoto = spawnSync('python3', ['-c', find]).status === 0;
const hasCli = spawnSync('aws', ['--version']).status === 0;

type Call = { action: string; resource: string };

/** Which right a request needs; undefined where whoever deploys did not send it, or where it needs none. */
function readCall(line: string): Call | undefined {
  const [method = '', path = '', query = '', authorization = '', target = '', body = ''] = JSON.parse(line) as string[];
  const [, key, region, service] = /Credential=(\w+)\/\d+\/([\w-]+)\/(\w+)\//.exec(authorization) ?? [];
  if (key !== deployer || service === 'sts') return;
  const form = new URLSearchParams(body);
  const here = (resource: string) => `arn:aws:${service}:${region}:123456789012:${resource}`;
  switch (service) {
    case 'cloudformation': {
      const stack = form.get('StackName');
      const arn = stack?.startsWith('arn:') ? stack : here(`stack/${stack}/0a1b2c3d`);
      return { action: `cloudformation:${form.get('Action')}`, resource: stack ? arn : '*' };
    }
    case 's3': {
      const [bucket = '', ...rest] = path.slice(1).split('/');
      const object = rest.join('/');
      if (!object && query.startsWith('delete')) {
        const [, deleted = ''] = /<Key>(.*?)<\/Key>/.exec(body) ?? [];
        return { action: 's3:DeleteObject', resource: `arn:aws:s3:::${bucket}/${deleted}` };
      }
      if (!object) return { action: 's3:ListBucket', resource: `arn:aws:s3:::${bucket}` };
      return {
        action: method === 'PUT' ? 's3:PutObject' : 's3:GetObject',
        resource: `arn:aws:s3:::${bucket}/${object}`,
      };
    }
    case 'lambda':
      return { action: 'lambda:GetFunction', resource: here(`function:${path.split('/')[3]}`) };
    case 'states': {
      const { stateMachineArn, executionArn } = JSON.parse(body) as Record<string, string | undefined>;
      return { action: `states:${target.split('.')[1]}`, resource: stateMachineArn ?? executionArn ?? '*' };
    }
    default: {
      const [repository] = (JSON.parse(body) as { repositoryNames?: string[] }).repositoryNames ?? [];
      return { action: `${service}:${target.split('.')[1]}`, resource: here(`repository/${repository}`) };
    }
  }
}

describe.skipIf(!hasMoto)('against moto', () => {
  const server = hasMoto ? spawn('python3', ['-c', python]) : undefined;
  const folder = copyService();
  let environment: NodeJS.ProcessEnv;
  let client: CloudFormationClient;
  let lambda: LambdaClient;
  const requests: string[] = [];
  let endpoint: string;
  const StackName = 'atlas-live-migration-prod';

  beforeAll(async () => {
    let port: string | undefined;
    for await (const chunk of server?.stderr ?? []) {
      port = /127\.0\.0\.1:(\d+)/.exec(String(chunk))?.[1];
      if (port) break;
    }
    endpoint = `http://127.0.0.1:${port}`;
    if (server) createInterface({ input: server.stdout }).on('line', (line) => requests.push(line));
    environment = {
      ...process.env,
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: 'us-east-1',
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'y',
    };
    const credentials = { accessKeyId: 'x', secretAccessKey: 'y' };
    client = new CloudFormationClient({ endpoint, region: 'us-east-1', credentials });
    lambda = new LambdaClient({ endpoint, region: 'us-east-1', credentials });
  });

  beforeEach(() => void requests.splice(0));

  afterAll(async () => {
    rmSync(folder, { recursive: true });
    if (server?.kill()) await once(server, 'exit');
  });

  const run = (...args: string[]) =>
    promisify(execFile)(join(root, 'node_modules/.bin/serverless'), [...args, '--stage', 'prod'], {
      cwd: folder,
      env: { ...environment, AWS_ACCESS_KEY_ID: deployer },
    });

  /** Removes the stack. @returns what whoever deploys called in this test */
  async function remove(): Promise<Call[]> {
    await run('remove');
    const before = requests.length;
    await expect(client.send(new DescribeStacksCommand({ StackName }))).rejects.toThrow('does not exist');
    // That request is written after all others.
    await vi.waitUntil(() => requests.slice(before).some((line) => !line.includes(deployer)));
    return requests.flatMap((line) => readCall(line) ?? []);
  }

  /** The statements of a policy of the documents, which are for Frankfurt, in the region of the emulator. */
  const inRegion = (policy: string) => JSON.parse(policy.replaceAll('eu-central-1', 'us-east-1'));
  const deployingRole = (): (PolicyStatement & { Sid: string })[] =>
    inRegion(readFileSync(join(root, 'docs/deploying-role.json'), 'utf8')).Statement;
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
    const named = { ACCOUNT_ID: '123456789012', SINCE: '1795800000000', LIVE_MIGRATION_ID, EXECUTION_ARN };
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
    await sh(commands, { AWS_ACCESS_KEY_ID: deployer });
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
    const calls = await remove();
    for (const call of calls) expect(allows(deployingRole(), call), `${call.action} ${call.resource}`).toBe(true);
    const expected = [...callsOfOsls, ...(hasCli ? callsBeforeRemoval : [])];
    expect(new Set(calls.map(({ action }) => action))).toEqual(new Set(expected));
  });

  test('a deployment bucket of our own needs what docs/security.md says, and stays', async () => {
    const bucket = `${endpoint}/company-deployments`;
    await fetch(bucket, { method: 'PUT' });
    const file = join(folder, 'serverless.yml');
    const service = readFileSync(file, 'utf8');
    writeFileSync(file, service.replace('  deploymentBucket:\n', '$&    name: company-deployments\n'));
    await run('deploy');
    expect(await deployed()).not.toContain('AWS::S3');
    const calls = await remove();
    expect((await fetch(bucket, { method: 'HEAD' })).status).toBe(200);

    const page = readFileSync(join(root, 'docs/security.md'), 'utf8');
    const [, own = ''] = /^## A deployment bucket of your own$.*?^```json\n(.*?)^```/ms.exec(page) ?? [];
    const others = deployingRole().filter(({ Sid }) => !Sid.endsWith('OfTheStack'));
    const statements = [...others, ...inRegion(own)];
    for (const call of calls) expect(allows(statements, call), `${call.action} ${call.resource}`).toBe(true);
    const ofS3 = calls.filter(({ action }) => action.startsWith('s3:'));
    expect(new Set(ofS3.map(({ resource }) => resource.split('/')[0]))).toEqual(
      new Set(['arn:aws:s3:::company-deployments']),
    );
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
