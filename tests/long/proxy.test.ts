/**
 * In a network whose only way out is a proxy that inspects TLS: it shows certificates of its own authority. The packaged
 * function with and without `caFile`, and the tools of the operator.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { startEmbeddedDynamoDB } from '../../embedded/dynamodb.ts';
import { serve } from '../../embedded/http-server.ts';
import { startInvokeEndpoint } from '../../embedded/lambda-invoke.ts';
import { runtimeIsBuilt, startRuntime } from '../../embedded/lambda-runtime.ts';
import { makeCertificate, serveTls } from '../../embedded/tls.ts';
import { packageService, unpack } from '../../scripts/package-service.ts';
import { startAws } from '../support/aws.ts';
import { startConnectProxy } from '../support/connect-proxy.ts';
import { startGateway } from '../support/gateway.ts';
import {
  allIsWell,
  atlas,
  coldStart,
  document,
  groupId,
  liveMigrationId,
  readEvent,
  secretId,
  secretsManager,
} from '../support/harness.ts';
import { start } from '../support/npm-start.ts';
import { only } from '../support/template.ts';

const root = join(import.meta.dirname, '../..');
/** Names that never resolve (RFC 6761, section 6.4): nothing but the proxy can reach them. */
const hosts = ['atlas', 'secretsmanager', 'dynamodb', 'api', 'lambda', 'cloudformation', 'aws'].map(
  (name) => `${name}.invalid`,
);
const [atlasHost = '', secretsHost = '', tableHost = '', apiHost = '', lambdaHost = '', stacksHost = ''] = hosts;
const authority = await makeCertificate(['DNS:authority.invalid'], { subject: 'Company' });
const certificate =
  authority &&
  (await makeCertificate(
    hosts.map((host) => `DNS:${host}`),
    { issuer: authority, isAuthority: false, subject: 'proxy' },
  ));

const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
const caFile = join(folder, 'company.pem');
beforeAll(() => writeFileSync(caFile, authority?.cert ?? ''));
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(allIsWell);

/** A proxy that shows its own certificate in front of these servers. */
async function startProxy(servers: Record<string, { server: Server }>, login?: string) {
  if (!certificate) throw new Error('There is no openssl.');
  const routes: Record<string, number> = {};
  for (const [host, plain] of Object.entries(servers)) {
    const inspecting = await serveTls(certificate, plain);
    onTestFinished(() => void inspecting.close());
    routes[`${host}:443`] = inspecting.port;
  }
  const proxy = await startConnectProxy(routes, login);
  onTestFinished(proxy.close);
  return proxy;
}

describe.skipIf(!authority)('the packaged function', () => {
  let taskRoot = '';
  let variable = '';
  let files: string[] = [];
  beforeAll(async () => {
    const { zip, template } = await packageService({ caFile });
    const unpacked = unpack(zip);
    ({ taskRoot, files } = unpacked);
    remove = unpacked.remove;
    const { Environment } = only(template, 'AWS::Lambda::Function') as {
      Environment: { Variables: Record<string, string> };
    };
    variable = Environment.Variables['NODE_EXTRA_CA_CERTS'] ?? '';
  });
  let remove: (() => void) | undefined;
  afterAll(() => remove?.());

  /** Loads the bundle and hands it an event, as a runtime does, and prints what it returns or throws. */
  const program = `
    const { handler } = require(process.argv[1] + '/functions/get-live-migration.js');
    handler(JSON.parse(process.argv[2]), { awsRequestId: 'r', getRemainingTimeInMillis: () => 20000 }).then(
      (value) => process.stdout.write(JSON.stringify({ value })),
      ({ name, message }) => process.stdout.write(JSON.stringify({ error: name, detail: message })));`;

  async function invoke(environment: Record<string, string>) {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['-e', program, taskRoot, JSON.stringify(readEvent('direct'))],
      { env: { PATH: process.env['PATH'], ...environment } },
    );
    const [line = '', outcome = ''] = stdout.trim().split('\n').slice(-2);
    return { outcome: JSON.parse(outcome), line: JSON.parse(line) };
  }

  /** Everything behind the proxy. */
  async function setUp() {
    const dynamoDB = await startEmbeddedDynamoDB();
    onTestFinished(dynamoDB.close);
    const servers = { [atlasHost]: atlas, [secretsHost]: secretsManager, [tableHost]: dynamoDB };
    const proxy = await startProxy(servers);
    return {
      proxy,
      environment: {
        HTTPS_PROXY: proxy.url,
        ATLAS_SECRET_ID: secretId,
        ATLAS_BASE_URL: `https://${atlasHost}/api/atlas/v1.0`,
        AWS_ENDPOINT_URL_SECRETS_MANAGER: `https://${secretsHost}`,
        AWS_ENDPOINT_URL_DYNAMODB: `https://${tableHost}`,
        ANSWER_FRESHNESS_SECONDS: '5',
        ANSWER_TABLE: dynamoDB.table,
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        AWS_REGION: 'us-east-1',
      },
    };
  }
  const trusting = () => ({ NODE_EXTRA_CA_CERTS: variable.replace('/var/task', taskRoot) });

  test('has the file beside its code, and the variable names it', () => {
    expect(files.toSorted()).toEqual(['ca.pem', 'functions/get-live-migration.js', 'lib/sharing/table.js']);
    expect(variable).toBe('/var/task/ca.pem');
  });

  test('answers with the file, through the proxy alone', async () => {
    const { environment, proxy } = await setUp();
    const { outcome, line } = await invoke({ ...environment, ...trusting() });
    expect(outcome).toEqual({ value: document });
    expect(line).not.toHaveProperty('tableFailure');
    expect(new Set(proxy.log)).toEqual(new Set([atlasHost, secretsHost, tableHost].map((host) => `${host}:443 200`)));
  });

  test('without it, names the host, the code and the parameter, for each server', async () => {
    const { environment, proxy } = await setUp();
    const why = (host: string) =>
      `The TLS certificate of ${host} is not trusted, through the proxy ${proxy.host} (UNABLE_TO_VERIFY_LEAF_SIGNATURE). If a proxy or a firewall inspects TLS, set the deployment parameter caFile.`;
    expect((await invoke(environment)).outcome).toEqual({
      error: 'SecretUnavailable',
      detail: `The secret ${secretId} could not be read from Secrets Manager. ${why(secretsHost)}`,
    });
    const plainSecrets = { ...environment, AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin };
    const { outcome, line } = await invoke(plainSecrets);
    expect(outcome).toEqual({ error: 'AtlasUnexpectedAnswer', detail: why(atlasHost) });
    expect(line).toMatchObject({ tableFailure: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  });

  test.skipIf(!runtimeIsBuilt)("under AWS's runtime client, both", async () => {
    const { environment } = await setUp();
    const handler = 'functions/get-live-migration.handler';
    for (const [more, expected] of [
      [trusting(), { value: document }],
      [{}, { error: expect.objectContaining({ errorType: 'SecretUnavailable' }) }],
    ] as const) {
      const runtime = await startRuntime(taskRoot, handler, { ...environment, ...more });
      try {
        expect(await runtime.invoke(readEvent('direct'))).toEqual(expected);
      } finally {
        await runtime.end();
      }
    }
  });
});

describe.skipIf(!authority)('the tools of the operator', () => {
  const base = { PATH: process.env['PATH'] ?? '', HOME: folder, AWS_EC2_METADATA_DISABLED: 'true' };
  const keys = () => ({
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: process.env['AWS_SECRET_ACCESS_KEY'] ?? '',
  });
  const endpoints = {
    AWS_ENDPOINT_URL_CLOUDFORMATION: `https://${stacksHost}`,
    AWS_ENDPOINT_URL_LAMBDA: `https://${lambdaHost}`,
  };
  const run = (program: string, args: string[], environment: Record<string, string>) =>
    promisify(execFile)(process.execPath, [`scripts/${program}.ts`, ...args], {
      cwd: root,
      env: { ...base, ...keys(), ...endpoints, ...environment },
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    );
  const ids = [groupId, liveMigrationId];

  /** The stack, its API and its function behind the proxy. */
  async function setUp(login?: string) {
    const stacks = await serve((_, response) => {
      const output = `<member><OutputKey>ApiUrl</OutputKey><OutputValue>https://${apiHost}</OutputValue></member>`;
      response
        .writeHead(200, { 'content-type': 'text/xml' })
        .end(
          `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>s</StackName><Outputs>${output}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
        );
    });
    onTestFinished(stacks.close);
    const { server, signatures } = await startGateway({ status: 200, body: document });
    const lambda = await startInvokeEndpoint(await coldStart());
    onTestFinished(lambda.close);
    const proxy = await startProxy({ [stacksHost]: stacks, [apiHost]: { server }, [lambdaHost]: lambda }, login);
    return { proxy, signatures };
  }

  test('npm run smoke asks CloudFormation and the API through it', async () => {
    const { proxy, signatures } = await setUp('user:pass');
    const environment = { HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: caFile };
    const { code, stdout } = await run('smoke', ['--quick', '--stage', 'prod', ...ids], environment);
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('The live migration is WORKING'),
    });
    expect(proxy.log).toEqual([`${stacksHost}:443 200`, `${apiHost}:443 200`]);
    expect(signatures).toHaveLength(1);
  });

  test('all checks of npm run smoke go through it', async () => {
    const { server } = await startAws();
    const proxy = await startProxy({ 'aws.invalid': { server } });
    const { code, stdout } = await run('smoke', ['--stage', 'prod', ...ids], {
      HTTPS_PROXY: proxy.url,
      NODE_EXTRA_CA_CERTS: caFile,
      AWS_ENDPOINT_URL: 'https://aws.invalid',
      AWS_ENDPOINT_URL_LAMBDA: '',
      AWS_ENDPOINT_URL_CLOUDFORMATION: '',
    });
    expect({ code, last: stdout.trimEnd().split('\n').at(-1) }).toEqual({ code: 0, last: '15 checks: 15 ok, 0 wrong' });
    expect(new Set(proxy.log)).toEqual(new Set(['aws.invalid:443 200']));
  });

  test('npm run wait -- --stage invokes the function through it', async () => {
    const { proxy } = await setUp();
    const migration = { _id: liveMigrationId, status: 'COMPLETE' };
    atlas.reply = () => ({ status: 200, body: migration });
    const environment = { https_proxy: proxy.url, NODE_EXTRA_CA_CERTS: caFile };
    const { code, stdout } = await run('wait', ['--stage', 'prod', '--group-id', ...ids], environment);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ status: 'COMPLETE' });
    expect(proxy.log).toEqual([`${lambdaHost}:443 200`]);
  });

  const smoke = ['smoke', '--quick', '--stage', 'prod', ...ids];
  const smokeOfUrl = ['smoke', '--url', `https://${apiHost}`, ...ids];
  const wait = ['wait', '--stage', 'prod', '--group-id', ...ids];

  test.each([
    ['CloudFormation', smoke],
    [apiHost, smokeOfUrl],
    ['Lambda in us-east-1', wait],
  ])(
    'a certificate that is not trusted is named, with the remedy and the proxy: %s',
    async (host, [program = '', ...args]) => {
      const { proxy } = await setUp();
      const { code, stderr } = await run(program, args, { HTTPS_PROXY: proxy.url });
      expect(code).toBe(1);
      expect(stderr).toContain(`The TLS certificate of ${host} is not trusted`);
      expect(stderr).toContain('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
      expect(stderr).toContain('NODE_EXTRA_CA_CERTS=FILE');
      expect(stderr).toContain(`HTTPS_PROXY is set to ${proxy.host}; hosts in NO_PROXY are reached without it.`);
    },
  );

  test.each([
    ['CloudFormation', smoke],
    [apiHost, smokeOfUrl],
    ['Lambda in us-east-1', wait],
  ])('a proxy that refuses is named, without its password: %s', async (host, [program = '', ...args]) => {
    const { proxy } = await setUp('user:other');
    const { code, stderr } = await run(program, args, { HTTPS_PROXY: `http://user:PASSWORD@${proxy.host}` });
    expect(code).toBe(1);
    expect(stderr).toContain(`${host} cannot be reached through the proxy ${proxy.host} (HTTP 407).`);
    expect(stderr).toContain(`HTTPS_PROXY is set to ${proxy.host}`);
    expect(stderr).not.toContain('PASSWORD');
  });

  test('NO_PROXY takes hosts out, and a proxy that can be none is refused', async () => {
    const { proxy } = await setUp();
    const { stderr } = await run('smoke', smoke.slice(1), { HTTPS_PROXY: proxy.url, NO_PROXY: '.invalid' });
    expect(stderr).toContain('CloudFormation cannot be reached (ENOTFOUND)');
    expect(proxy.log).toEqual([]);
    for (const [program = '', ...args] of [smoke, wait]) {
      const refused = await run(program, args, { HTTPS_PROXY: 'socks5://proxy.example.com' });
      expect(refused).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('HTTPS_PROXY must be an http or https URL'),
      });
    }
  });

  /** A profile of SSO, signed in. */
  function signIn() {
    const session = [
      'sso_start_url = https://company.awsapps.com/start',
      'sso_region = us-east-1',
      'sso_account_id = 123456789012',
      'sso_role_name = role',
      'region = us-east-1',
    ];
    const config = join(folder, 'config');
    writeFileSync(config, ['[profile company]', ...session, ''].join('\n'));
    const cache = join(folder, '.aws/sso/cache');
    mkdirSync(cache, { recursive: true });
    const name = createHash('sha1').update('https://company.awsapps.com/start').digest('hex');
    const token = { accessToken: 'token', expiresAt: new Date(Date.now() + 3_600_000).toISOString() };
    writeFileSync(join(cache, `${name}.json`), JSON.stringify(token));
    return { AWS_PROFILE: 'company', AWS_CONFIG_FILE: config, AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
  }
  const portalHost = 'portal.sso.us-east-1.amazonaws.com';

  test('credentials of SSO are fetched through it', async () => {
    const { proxy } = await setUp();
    for (const [program = '', ...args] of [smoke, wait])
      expect(await run(program, args, { HTTPS_PROXY: proxy.url, ...signIn() })).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(
          `AWS credentials could not be fetched (through the proxy ${proxy.host} (HTTP 502)).`,
        ),
      });
    expect(new Set(proxy.log)).toEqual(new Set([`${portalHost}:443 502`]));
  });

  test('npm start with a secret of AWS asks through it, with credentials of SSO, and trusts what Node.js is told to trust', async () => {
    const portal = await serve((_, response) => {
      const roleCredentials = {
        accessKeyId: 'AKIDOFSSO',
        secretAccessKey: 'x',
        sessionToken: 'y',
        expiration: Date.now() + 3_600_000,
      };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ roleCredentials }));
    });
    onTestFinished(portal.close);
    const issued =
      authority &&
      (await makeCertificate([`DNS:${portalHost}`], { issuer: authority, subject: 'portal', isAuthority: false }));
    if (!issued) throw new Error('There is no openssl.');
    const portalTls = await serveTls(issued, portal);
    onTestFinished(() => void portalTls.close());
    const proxy = await startProxy({ [atlasHost]: atlas, [secretsHost]: secretsManager });
    proxy.routes[`${portalHost}:443`] = portalTls.port;
    const { http, output } = await start([], {
      ...base,
      ...signIn(),
      HTTPS_PROXY: proxy.url,
      NODE_EXTRA_CA_CERTS: caFile,
      ATLAS_SECRET_ID: secretId,
      ATLAS_BASE_URL: `https://${atlasHost}/api/atlas/v1.0`,
      AWS_ENDPOINT_URL_SECRETS_MANAGER: `https://${secretsHost}`,
    });
    expect(output).toContain('REAL services');
    const answer = await fetch(`${http}/groups/${groupId}/liveMigrations/${liveMigrationId}`);
    expect(await answer.json()).toEqual(document);
    expect(new Set(proxy.log)).toEqual(new Set([portalHost, secretsHost, atlasHost].map((host) => `${host}:443 200`)));
  });
});
