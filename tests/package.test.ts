/**
 * What `serverless package` makes: the template as a whole, judged offline against CloudFormation's own specification, and
 * one small zip, run by AWS's own runtime client. It is packaged here only: tests/template.test.ts and others look at
 * the parts of the template that are ours, and tests/long/package.test.ts packages the other forms of the API.
 */

import { createHash, createHmac } from 'node:crypto';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SignatureV4 } from '@smithy/signature-v4';
import { AwsClient } from 'aws4fetch';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Resource } from '../deploy/cloudformation.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { serve } from '../embedded/http-server.ts';
import { runtimeIsBuilt, startRuntime } from '../embedded/lambda-runtime.ts';
import { packageService, unpack } from '../scripts/package-service.ts';
import { plainTemplate } from '../scripts/plain-template.ts';
import { beyondLimits, limitsWithoutUse } from './support/aws-limits.ts';
import { rightsByType } from './support/deploying.ts';
import {
  allIsWell,
  atlas,
  document,
  groupId,
  liveMigrationId,
  privateKey,
  publicKey,
  readEvent,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { readSpecification } from './support/resource-specification.ts';
import {
  callersOf,
  everything,
  nullsIn,
  ofType,
  only,
  otherForms,
  partsOf,
  splitResources,
  type Template,
} from './support/template.ts';

const root = join(import.meta.dirname, '..');

let zip: Buffer;
let unpacked: ReturnType<typeof unpack>;
let plain: Template;
let full: Template;

beforeAll(async () => {
  const [byDefault, withEverything] = await Promise.all([packageService(), packageService(everything)]);
  ({ zip, template: plain } = byDefault);
  full = withEverything.template;
  unpacked = unpack(zip);
});
beforeEach(allIsWell);
afterAll(() => unpacked.remove());

test('the parts that other tests look at are in the template as they are, and osls adds no role', async () => {
  for (const [template, parameters] of [
    [plain, {}],
    [full, everything],
  ] as const) {
    const parts = await partsOf(parameters);
    const { ours, added } = splitResources(template, parts);
    expect(ours).toEqual(parts.Resources);
    expect(added).toEqual([
      'AWS::ApiGatewayV2::Api',
      ...(template === full ? ['AWS::ApiGatewayV2::Authorizer'] : []),
      'AWS::ApiGatewayV2::Integration',
      'AWS::ApiGatewayV2::Route',
      'AWS::ApiGatewayV2::Stage',
      'AWS::Lambda::EventInvokeConfig',
      'AWS::Lambda::Function',
      'AWS::Lambda::Permission',
      'AWS::Lambda::Version',
      'AWS::Logs::LogGroup',
      'AWS::Logs::LogGroup',
      'AWS::S3::Bucket',
      'AWS::S3::BucketPolicy',
    ]);
    expect(template.Outputs).toMatchObject(parts.Outputs);
    expect(Object.keys(template.Outputs)).toEqual(
      expect.arrayContaining(['ApiUrl', 'GetLiveMigrationArn', 'AwaitLiveMigrationArn', 'RemindOfCutoverArn']),
    );
  }
});

test('for each type of resource, it is known which rights its deployment needs', async () => {
  const templates = [plain, full, ...(await Promise.all(Object.values(otherForms).map((form) => partsOf(form))))];
  const types = new Set(templates.flatMap(({ Resources }) => Object.values(Resources).map(({ Type }) => Type)));
  expect(Object.keys(rightsByType).toSorted()).toEqual([...types].toSorted());
});

describe("CloudFormation's specification", () => {
  let specification: Awaited<ReturnType<typeof readSpecification>>;
  beforeAll(async () => {
    specification = await readSpecification();
  });

  test('knows every property of every resource, and its type', async () => {
    const { problemsOf } = specification;
    expect({ plain: problemsOf(plain), full: problemsOf(full) }).toEqual({ plain: [], full: [] });
    for (const [form, parameters] of Object.entries(otherForms))
      expect(problemsOf(await partsOf(parameters)), form).toEqual([]);
  });

  test('tags are on everything that takes them in every region', async () => {
    let count = 0;
    for (const { Resources } of [full, await partsOf(otherForms.private)]) {
      for (const [name, { Type, Properties }] of Object.entries(Resources)) {
        if (!specification.takesTags(Type) || Type === 'AWS::CloudWatch::Dashboard') continue;
        const tags = Properties['Tags'];
        const pairs = Array.isArray(tags) ? tags.map(({ Key, Value }) => [Key, Value]) : Object.entries(tags ?? {});
        expect(pairs, name).toEqual([
          ['team', 'data'],
          ['cost centre', '42'],
        ]);
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(20);
  });

  test('is really asked', () => {
    const broken = {
      Broken: { Type: 'AWS::Lambda::Function', Properties: { Role: 'r', Code: { S3Buckt: 'b' }, Timeout: '20' } },
    };
    expect(specification.problemsOf({ Resources: broken })).toEqual([
      'Broken.Code.S3Buckt: there is no such property',
      'Broken.Timeout: "20" is no integer',
    ]);
  });

  test('knows every resource in the documents', () => {
    const tags = ['Ref', 'Sub', 'GetAtt'].map((name) => ({
      tag: `!${name}`,
      resolve: (text: string) => ({ [name === 'Ref' ? name : `Fn::${name}`]: text }),
    }));
    let count = 0;
    for (const document of globSync(['*.md', 'docs/*.md', 'contract/*.md'], { cwd: root })) {
      for (const [, block = ''] of readFileSync(join(root, document), 'utf8').matchAll(/```yaml\n(.*?)```/gs)) {
        if (!block.includes('Type: AWS::')) continue;
        const parsed = parse(block, { customTags: tags });
        // Some are whole templates.
        const Resources: Record<string, Resource> = parsed.Resources ?? parsed;
        expect(specification.problemsOf({ Resources }), document).toEqual([]);
        count += Object.keys(Resources).length;
      }
    }
    expect(count).toBeGreaterThan(15);
  });

  test('knows the channel of Microsoft Teams as docs/waiting.md describes it', () => {
    const page = readFileSync(join(root, 'docs/waiting.md'), 'utf8');
    const [, Type = '', ids = ''] =
      /`(AWS::Chatbot::Microsoft\w+)`, with ((?:`\w+`[,\s]*(?:and\s)?){3})/.exec(page) ?? [];
    const others = { ConfigurationName: 'x', IamRoleArn: 'x', SnsTopicArns: ['x'] };
    const Properties = { ...others, ...Object.fromEntries([...ids.matchAll(/\w+Id/g)].map(([id]) => [id, 'x'])) };
    expect(specification.problemsOf({ Resources: { Channel: { Type, Properties } } })).toEqual([]);
  });
});

test('each metric filter reads a log group that the template has', () => {
  for (const template of [plain, full]) {
    const filters = ofType(template, 'AWS::Logs::MetricFilter');
    expect(filters).toHaveLength(5);
    for (const { Properties } of filters) {
      const { Ref } = Properties['LogGroupName'] as { Ref: string };
      expect(template.Resources[Ref]?.Type).toBe('AWS::Logs::LogGroup');
    }
  }
});

test('no null is in the template, which CloudFormation refuses anywhere', () => {
  expect([...nullsIn(plain, 'plain'), ...nullsIn(full, 'full')]).toEqual([]);
});

test('the limits of AWS are kept, also by what osls makes', () => {
  expect({ plain: beyondLimits(plain), full: beyondLimits(full) }).toEqual({ plain: [], full: [] });
  expect(limitsWithoutUse([full]).filter((limit) => !limit.startsWith('AWS::ApiGateway::'))).toEqual([]);
});

describe('callers', () => {
  test('sign with IAM, on every route', () => {
    expect(ofType(plain, 'AWS::ApiGatewayV2::Route')).toMatchObject([{ Properties: { AuthorizationType: 'AWS_IAM' } }]);
  });

  test('bring a JWT where an issuer is named, on every route', () => {
    expect(ofType(full, 'AWS::ApiGatewayV2::Route')).toMatchObject([
      {
        Properties: {
          AuthorizationType: 'JWT',
          AuthorizerId: { Ref: 'HttpApiAuthorizerJwt' },
          AuthorizationScopes: ['migrations/read', 'admin'],
        },
      },
    ]);
    expect(only(full, 'AWS::ApiGatewayV2::Authorizer')).toMatchObject({
      JwtConfiguration: { Audience: ['one', 'two'], Issuer: 'https://issuer.example.com' },
    });
  });

  test('come from no page of another origin, but from those that are named', () => {
    expect(only(plain, 'AWS::ApiGatewayV2::Api')).not.toHaveProperty('CorsConfiguration');
    expect(only(full, 'AWS::ApiGatewayV2::Api')['CorsConfiguration']).toMatchObject({
      AllowOrigins: ['https://app.example.com', 'https://other.example.com'],
      AllowMethods: ['GET'],
      AllowHeaders: ['authorization', 'x-amz-date', 'x-amz-security-token', 'x-amz-content-sha256', 'x-amz-user-agent'],
      ExposeHeaders: ['retry-after', 'age'],
    });
  });

  test('may bring from those pages what the signers of web pages send', async () => {
    const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'x', sessionToken: 'token' };
    const hostname = 'abc.execute-api.eu-central-1.amazonaws.com';
    const path = `/groups/${groupId}/liveMigrations/${liveMigrationId}`;
    const { headers: byAws4fetch } = await new AwsClient(credentials).sign(`https://${hostname}${path}`);
    class Sha256 {
      private readonly hash;
      constructor(key?: string | ArrayBuffer | ArrayBufferView) {
        this.hash = key === undefined ? createHash('sha256') : createHmac('sha256', key as string);
      }
      update(data: string | ArrayBuffer | ArrayBufferView) {
        this.hash.update(data as string);
      }
      reset() {}
      digest = async () => new Uint8Array(this.hash.digest());
    }
    const signer = new SignatureV4({ credentials, region: 'eu-central-1', service: 'execute-api', sha256: Sha256 });
    const { headers: bySmithy } = await signer.sign({
      ...{ method: 'GET', protocol: 'https:', hostname, path },
      headers: { host: hostname, 'x-amz-user-agent': 'aws-amplify/6' },
    });
    const allowed = only(full, 'AWS::ApiGatewayV2::Api')['CorsConfiguration'] as { AllowHeaders: string[] };
    const sent = [...byAws4fetch.keys(), ...Object.keys(bySmithy)].map((name) => name.toLowerCase());
    // A browser sets Host itself, and asks nobody whether it may.
    const asked = new Set(sent.filter((name) => name !== 'host'));
    expect([...asked].sort()).toEqual([...allowed.AllowHeaders].sort());
  });

  test('are throttled', () => {
    expect(only(plain, 'AWS::ApiGatewayV2::Stage')['DefaultRouteSettings']).toEqual({
      ThrottlingRateLimit: 8,
      ThrottlingBurstLimit: 20,
    });
    expect(only(full, 'AWS::ApiGatewayV2::Stage')['DefaultRouteSettings']).toEqual({
      ThrottlingRateLimit: 7,
      ThrottlingBurstLimit: 9,
    });
  });
});

test('only the API may invoke the function', () => {
  for (const template of [plain, full])
    expect(callersOf(template)).toEqual([expect.stringContaining('{"Ref":"HttpApi"}')]);
});

describe('the function', () => {
  test('runs on arm64 and nodejs24.x, ends before API Gateway does, and is traced', () => {
    const properties = only(plain, 'AWS::Lambda::Function');
    expect(properties).toMatchObject({
      Runtime: 'nodejs24.x',
      Architectures: ['arm64'],
      TracingConfig: { Mode: 'Active' },
    });
    expect(Number(properties['Timeout'])).toBeLessThan(30);
    expect(properties).not.toHaveProperty('VpcConfig');
    expect(properties).not.toHaveProperty('ReservedConcurrentExecutions');
    expect(properties).toMatchObject({
      Environment: { Variables: { ANSWER_FRESHNESS_SECONDS: '0', ANSWER_TABLE: '' } },
    });
  });

  test('is not tried again where it was invoked without waiting for the answer', () => {
    expect(only(plain, 'AWS::Lambda::EventInvokeConfig')).toMatchObject({ MaximumRetryAttempts: 0 });
  });

  test('gets the parameters', () => {
    expect(only(full, 'AWS::Lambda::Function')).not.toHaveProperty('TracingConfig');
    expect(only(full, 'AWS::Lambda::Function')).toMatchObject({
      VpcConfig: { SubnetIds: ['subnet-0a1b', 'subnet-2c3d'], SecurityGroupIds: ['sg-0a1b2c3d'] },
      ReservedConcurrentExecutions: 5,
      Environment: {
        Variables: {
          ATLAS_SECRET_ID: 'atlas/{groupId}/key',
          ATLAS_BASE_URL: 'https://cloud.mongodb.com/api/atlas/v2',
          ANSWER_FRESHNESS_SECONDS: '5',
          ANSWER_TABLE: 'atlas-live-migration-dev-answers',
          HTTPS_PROXY: 'http://proxy.example.com:3128',
          NO_PROXY: '.amazonaws.com,example.com',
          POWERTOOLS_SERVICE_NAME: 'atlas-live-migration-dev',
        },
      },
    });
  });
});

test.each([
  ['plain', 90, undefined],
  ['full', 30, everything.logsKmsKeyArn],
])('every log group of the %s template is kept for %i days, under the key %s', (which, days, key) => {
  const template = which === 'plain' ? plain : full;
  const groups = ofType(template, 'AWS::Logs::LogGroup');
  expect(groups).toHaveLength(3);
  for (const { Properties } of groups) {
    expect(Properties['RetentionInDays']).toBe(days);
    expect(Properties['KmsKeyId']).toBe(key);
  }
  expect(template.Resources['HttpApiLogGroup']?.Properties['LogGroupName']).toBe(
    '/aws/vendedlogs/http-api/atlas-live-migration-dev',
  );
});

test('access logs are JSON', () => {
  const { Format } = only(plain, 'AWS::ApiGatewayV2::Stage')['AccessLogSettings'] as { Format: string };
  expect(Object.keys(JSON.parse(Format.replace(/"\$[\w.]+"|\$[\w.]+/g, '"x"')))).toEqual([
    'requestId',
    'time',
    'ip',
    'caller',
    'subject',
    'path',
    'status',
    'ms',
    'functionRequestId',
    'integrationMs',
    'error',
    'integrationError',
    'authorizerError',
  ]);
  expect(Format).toContain('"functionRequestId":"$context.integration.requestId"');
  // The runbook's query over both log groups.
  const [query = ''] = /^fields coalesce[^`]+/m.exec(readFileSync(join(root, 'docs/operate.md'), 'utf8')) ?? [];
  expect(query).toContain('coalesce(function_request_id, functionRequestId)');
  const ofLogLine = ['outcome', 'detail', '@timestamp'];
  const fields = [...query.matchAll(/latest\(([@\w]+)\)/g)];
  expect(fields.length).toBeGreaterThan(5);
  for (const [, field = ''] of fields) expect(ofLogLine.includes(field) || Format.includes(`"${field}":`)).toBe(true);
});

describe('the template for other tools', () => {
  test('can be passed without a bucket where only defaults are set', () => {
    expect(Buffer.byteLength(JSON.stringify(plainTemplate(plain)))).toBeLessThanOrEqual(51_200);
  });

  test.each(['sh', 'hcl', 'ts'])('gets what it needs in the example of the documents: %s', (language) => {
    const document = readFileSync(join(root, 'docs/other-tools.md'), 'utf8');
    const blocks = [...document.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(
      ([, block]) => block,
    );
    const example = blocks.find((block) => block?.includes('dist/template.json'));
    const parameters = Object.keys(plainTemplate(plain).Parameters);
    for (const text of [...parameters, 'dist/function.zip', 'atlas-live-migration-prod'])
      expect(example).toContain(text);
    expect(example).toMatch(/STAGE( = "|=|: ')prod/);
    // The CDK acknowledges it by itself.
    if (language !== 'ts') expect(example).toContain('CAPABILITY_IAM');
  });

  test('has no role with a name of its own, which would need CAPABILITY_NAMED_IAM', () => {
    for (const template of [plain, full])
      for (const { Properties } of ofType(template, 'AWS::IAM::Role'))
        expect(Properties).not.toHaveProperty('RoleName');
  });
});

test('the zip holds the file that the handler names, and the one that a table needs', () => {
  expect(unpacked.files).toEqual(['functions/get-live-migration.js', 'lib/sharing/table.js']);
});

test('the client of DynamoDB is in the second file only, which is loaded only where there is a table', () => {
  const hasClient = unpacked.files.map((file) =>
    readFileSync(join(unpacked.taskRoot, file), 'utf8').includes('DynamoDB_20120810'),
  );
  expect(hasClient).toEqual([false, true]);
});

test('the zip has at most 150 kB', () => {
  expect(zip.length).toBeLessThanOrEqual(150_000);
});

const problem = (code: string) => ({
  statusCode: expect.any(Number),
  headers: expect.objectContaining({ 'content-type': 'application/problem+json' }),
  body: expect.stringContaining(`"code":"${code}"`),
});
const answer = { statusCode: 200, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } };
const compact = { ...answer, body: JSON.stringify(document) };
const pretty = { ...answer, body: `${JSON.stringify(document, null, 2)}\n` };
const thrown = (errorType: string) => ({
  errorType,
  errorMessage: expect.stringMatching(/\.$/),
  trace: [expect.stringContaining(`${errorType}: `)],
});

/** Every file of `events/`, and what Lambda hands back for it. */
const events: Record<string, object> = {
  'http-api': { value: compact },
  'http-api-pretty-envelope': { value: pretty },
  'http-api-malformed': { value: problem('InvalidRequest') },
  'http-api-unknown-migration': { value: problem('LiveMigrationNotFound') },
  'rest-api': { value: compact },
  'rest-api-pretty-envelope': { value: pretty },
  direct: { value: document },
  'direct-unknown-project': { error: thrown('ProjectNotFound') },
  'step-functions-task': { value: document },
  alb: { error: thrown('InvalidRequest') },
  sqs: { error: thrown('InvalidRequest') },
  empty: { error: thrown('InvalidRequest') },
};

test('every event file has an expectation', () => {
  expect(
    readdirSync(join(root, 'events'))
      .map((name) => name.replace('.json', ''))
      .sort(),
  ).toEqual(Object.keys(events).sort());
});

describe.skipIf(!runtimeIsBuilt)("under AWS's runtime client (npm run build:ric)", () => {
  const handler = 'functions/get-live-migration.handler';
  const environment = () => ({
    ATLAS_SECRET_ID: secretId,
    ATLAS_BASE_URL: atlas.baseUrl,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_REGION: 'us-east-1',
  });

  test('each event file is answered, in one execution environment', async () => {
    const runtime = await startRuntime(unpacked.taskRoot, handler, environment());
    try {
      for (const [name, expected] of Object.entries(events)) {
        expect({ name, ...(await runtime.invoke(readEvent(name))) }).toEqual({ name, ...expected });
      }
      expect(atlas.counters).toMatchObject({ challenges: 1, connections: 1 });
      expect(secretsManager.counters.reads).toBe(1);
      for (const secret of [privateKey, publicKey]) expect(runtime.output()).not.toContain(secret);
    } finally {
      await runtime.end();
    }
  });

  test.each(['SHA-256', 'SHA-512-256', 'MD5-sess'] as const)("the bundle's own %s is right", async (challenge) => {
    atlas.challenge = challenge;
    const runtime = await startRuntime(unpacked.taskRoot, handler, environment());
    try {
      expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
    } finally {
      await runtime.end();
    }
  });

  test('credentials may come from a container endpoint, and are asked for once', async () => {
    const asked: unknown[] = [];
    const endpoint = await serve((request, response) => {
      asked.push(request.headers.authorization);
      const Expiration = new Date(Date.now() + 3_600_000).toISOString();
      response.end(
        JSON.stringify({ AccessKeyId: 'AKIACONTAINER', SecretAccessKey: 'secret', Token: 'token', Expiration }),
      );
    });
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = environment();
    const runtime = await startRuntime(unpacked.taskRoot, handler, {
      ...without,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${endpoint.origin}/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'container-token',
      SECRET_MAX_AGE_SECONDS: '0',
    });
    try {
      for (let call = 0; call < 3; call += 1)
        expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
      expect(asked).toEqual(['container-token']);
      expect(secretsManager.counters.reads).toBe(3);
    } finally {
      await runtime.end();
      await endpoint.close();
    }
  });

  test('no credentials at all are a failure of the contract', async () => {
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = environment();
    const runtime = await startRuntime(unpacked.taskRoot, handler, without);
    try {
      expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ error: thrown('SecretUnavailable') });
    } finally {
      await runtime.end();
    }
  });

  test('with a table, several environments share an answer', async () => {
    const dynamoDB = await startEmbeddedDynamoDB();
    const variables = { AWS_ENDPOINT_URL_DYNAMODB: dynamoDB.origin, ANSWER_TABLE: dynamoDB.table };
    const start = () =>
      startRuntime(unpacked.taskRoot, handler, { ...environment(), ...variables, ANSWER_FRESHNESS_SECONDS: '60' });
    const runtimes = [await start(), await start()];
    try {
      for (const runtime of runtimes)
        expect(await runtime.invoke({ groupId, liveMigrationId })).toEqual({ value: document });
      expect(atlas.counters.authenticated).toBe(1);
      expect(runtimes.map((runtime) => /"answerFrom":"(\w+)"/.exec(runtime.output())?.[1])).toEqual(['atlas', 'table']);
    } finally {
      for (const runtime of runtimes) await runtime.end();
      await dynamoDB.close();
    }
  });

  test('a bad variable stops the start and is named', async () => {
    const runtime = await startRuntime(unpacked.taskRoot, handler, { ...environment(), ATLAS_TIMEOUT_MS: 'soon' });
    try {
      await expect(runtime.invoke({})).rejects.toThrow('ATLAS_TIMEOUT_MS must be a whole number');
    } finally {
      await runtime.end();
    }
  });
});
