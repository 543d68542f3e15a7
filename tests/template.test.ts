/** The CloudFormation template that a deployment sends: judged offline, against CloudFormation's own specification. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { loadAwsServiceSpec } from '@aws-cdk/aws-service-spec';
import { DescribeTableCommand } from '@aws-sdk/client-dynamodb';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { isIntrinsic, readSpecification } from './support/resource-specification.ts';
import {
  definitionOf,
  everything,
  type Json,
  ofType,
  only,
  packageWith,
  partsOf,
  type Template,
} from './support/template.ts';

const root = join(import.meta.dirname, '..');

/** With IAM and other accounts: a JWT goes with an HTTP API only. */
const { jwtIssuer: _, jwtAudience: __, jwtScopes: ___, corsOrigins: ____, ...withoutJwt } = everything;
/** The stack's own account among them: its identities still need a policy of their own. */
const accounts = '210987654321,345678901234,123456789012';
const endpoints = 'vpce-0a1b,vpce-2c3d';

let plain: Template;
let full: Template;
let rest: Template;
let privateApi: Template;
let none: Template;
beforeAll(async () => {
  [plain, full, rest, privateApi, none] = await Promise.all([
    packageWith(),
    packageWith(everything),
    packageWith({ api: 'rest' }),
    packageWith({ ...withoutJwt, api: 'private', vpcEndpointIds: endpoints, callerAccountIds: accounts }),
    packageWith({ api: 'none' }),
  ]);
}, 60_000);
const forms = () => ({ plain, full, rest, privateApi, none });

describe("CloudFormation's specification", () => {
  test('knows every property of every resource, and its type', async () => {
    const problemsOf = await readSpecification();
    for (const [form, template] of Object.entries(forms())) expect(problemsOf(template), form).toEqual([]);
  });

  test('tags are on everything that takes them', async () => {
    const db = await loadAwsServiceSpec();
    let count = 0;
    for (const [name, { Type, Properties }] of [full, privateApi].flatMap(({ Resources }) =>
      Object.entries(Resources),
    )) {
      const [known] = db.lookup('resource', 'cloudFormationType', 'equals', Type);
      if (!known || !Object.hasOwn(known.properties, 'Tags')) continue;
      const tags = Properties['Tags'];
      const pairs = Array.isArray(tags) ? tags.map(({ Key, Value }) => [Key, Value]) : Object.entries(tags ?? {});
      expect(pairs, name).toEqual([
        ['team', 'data'],
        ['cost centre', '42'],
      ]);
      count += 1;
    }
    expect(count).toBeGreaterThan(20);
  });

  test('is really asked', async () => {
    const problemsOf = await readSpecification();
    const broken = {
      Broken: { Type: 'AWS::Lambda::Function', Properties: { Role: 'r', Code: { S3Buckt: 'b' }, Timeout: '20' } },
    };
    expect(problemsOf({ Resources: broken })).toEqual([
      'Broken.Code.S3Buckt: there is no such property',
      'Broken.Timeout: "20" is no integer',
    ]);
  });

  test('no null is in the template, which CloudFormation refuses anywhere', () => {
    const nulls = (value: unknown, path: string): string[] =>
      value === null
        ? [path]
        : typeof value === 'object'
          ? Object.entries(value).flatMap(([key, item]) => nulls(item, `${path}.${key}`))
          : [];
    expect(Object.entries(forms()).flatMap(([form, template]) => nulls(template, form))).toEqual([]);
  });
});

test('the parts that other tests look at are in the template as they are', async () => {
  for (const [template, parameters] of [
    [plain, {}],
    [full, everything],
  ] as const) {
    const { Resources, Outputs } = await partsOf(parameters);
    expect(Object.keys(Resources).length).toBeGreaterThan(15);
    for (const [id, resource] of Object.entries(Resources)) expect(template.Resources[id], id).toEqual(resource);
    expect(template.Outputs).toMatchObject(Outputs);
  }
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
    });
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

describe('the REST API', () => {
  test('wants IAM signatures, on its one method', () => {
    for (const template of [rest, privateApi]) {
      const methods = ofType(template, 'AWS::ApiGateway::Method');
      expect(methods.map(({ Properties }) => [Properties['HttpMethod'], Properties['AuthorizationType']])).toEqual([
        ['GET', 'AWS_IAM'],
      ]);
      expect(ofType(template, 'AWS::ApiGateway::Resource').map(({ Properties }) => Properties['PathPart'])).toEqual([
        'groups',
        '{groupId}',
        'liveMigrations',
        '{liveMigrationId}',
      ]);
    }
  });

  test('is throttled and traced, and logs what the HTTP API logs, for as long', () => {
    expect(only(rest, 'AWS::ApiGateway::Stage')).toMatchObject({
      StageName: 'dev',
      TracingEnabled: true,
      MethodSettings: [{ HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 8, ThrottlingBurstLimit: 20 }],
      AccessLogSetting: {
        DestinationArn: { 'Fn::GetAtt': ['RestApiLogGroup', 'Arn'] },
        Format: (only(plain, 'AWS::ApiGatewayV2::Stage')['AccessLogSettings'] as Json)['Format'],
      },
    });
    expect(only(privateApi, 'AWS::ApiGateway::Stage')).toMatchObject({
      MethodSettings: [{ ThrottlingRateLimit: 7, ThrottlingBurstLimit: 9 }],
    });
    expect(privateApi.Resources['RestApiLogGroup']?.Properties['RetentionInDays']).toBe(30);
  });

  test('may invoke the function, and no other API may', () => {
    const permissions = (template: Template) =>
      ofType(template, 'AWS::Lambda::Permission').map(({ Properties }) => JSON.stringify(Properties['SourceArn']));
    expect(permissions(rest)).toEqual([expect.stringContaining(':${RestApi}/dev/GET/groups/*/liveMigrations/*')]);
    expect(permissions(plain)).toEqual([expect.stringContaining('{"Ref":"HttpApi"}')]);
    expect(permissions(none)).toEqual([]);
  });

  test('makes no role for the whole account', () => {
    for (const template of Object.values(forms())) {
      expect(ofType(template, 'AWS::ApiGateway::Account')).toEqual([]);
      expect(Object.values(template.Resources).filter(({ Type }) => Type.startsWith('Custom::'))).toEqual([]);
    }
  });

  test('another policy is another deployment', async () => {
    const idOf = (template: Template) =>
      Object.keys(template.Resources).find((id) => id.startsWith('RestApiDeployment'));
    expect(idOf(rest)).not.toBe(idOf(privateApi));
    expect(idOf(await packageWith({ api: 'rest' }))).toBe(idOf(rest));
  });

  test('is regional, or reached by the listed endpoints only', () => {
    expect(only(rest, 'AWS::ApiGateway::RestApi')['EndpointConfiguration']).toEqual({ Types: ['REGIONAL'] });
    expect(only(privateApi, 'AWS::ApiGateway::RestApi')['EndpointConfiguration']).toEqual({
      Types: ['PRIVATE'],
      VpcEndpointIds: ['vpce-0a1b', 'vpce-2c3d'],
    });
  });

  type Statement = {
    Effect: 'Allow' | 'Deny';
    Principal: '*' | { AWS: { 'Fn::Sub': string }[] };
    Condition?: { StringNotEquals: Record<string, unknown> };
  };
  type Caller = { account: string; endpoint?: string; identityAllows: boolean };
  const here = '123456789012';

  /**
   * As API Gateway decides about a signed request.
   *
   * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html
   */
  function mayCall(template: Template, { account, endpoint, identityAllows }: Caller): boolean {
    const { Statement: statements = [] } = (only(template, 'AWS::ApiGateway::RestApi')['Policy'] ?? {}) as {
      Statement?: Statement[];
    };
    const context: Record<string, string | undefined> = { 'aws:SourceVpce': endpoint, 'aws:PrincipalAccount': account };
    const holds = ({ Principal, Condition }: Statement) =>
      (Principal === '*' ||
        Principal.AWS.some((arn) => arn['Fn::Sub'] === `arn:\${AWS::Partition}:iam::${account}:root`)) &&
      // A key that is missing is not equal.
      Object.entries(Condition?.StringNotEquals ?? {}).every(([key, values]) => {
        const texts = [values].flat().map((value) => (isIntrinsic(value) ? here : value));
        return !texts.includes(context[key]);
      });
    const effects = statements.filter(holds).map(({ Effect }) => Effect);
    if (effects.includes('Deny')) return false;
    const policyAllows = effects.includes('Allow');
    return account === here ? identityAllows || policyAllows : identityAllows && policyAllows;
  }

  let withAccounts: Promise<Template>;
  beforeAll(() => {
    withAccounts = packageWith({ api: 'rest', callerAccountIds: accounts });
  });
  const [named, stranger] = ['210987654321', '999999999999'];
  test.each<[Caller, boolean]>([
    [{ account: here, endpoint: 'vpce-0a1b', identityAllows: true }, true],
    [{ account: here, endpoint: 'vpce-2c3d', identityAllows: true }, true],
    [{ account: here, endpoint: 'vpce-0a1b', identityAllows: false }, false],
    [{ account: here, endpoint: 'vpce-9999', identityAllows: true }, false],
    [{ account: here, identityAllows: true }, false],
    [{ account: named, endpoint: 'vpce-0a1b', identityAllows: true }, true],
    [{ account: named, endpoint: 'vpce-0a1b', identityAllows: false }, false],
    [{ account: named, endpoint: 'vpce-9999', identityAllows: true }, false],
    [{ account: named, identityAllows: true }, false],
    [{ account: stranger, endpoint: 'vpce-0a1b', identityAllows: true }, false],
  ])('the policy of the private form, for %j: %s', (caller, expected) => {
    expect(mayCall(privateApi, caller)).toBe(expected);
  });

  test.each<[Caller, boolean]>([
    [{ account: here, identityAllows: true }, true],
    [{ account: here, identityAllows: false }, false],
    [{ account: named, identityAllows: true }, true],
    [{ account: named, identityAllows: false }, false],
    [{ account: stranger, identityAllows: true }, false],
  ])('the policy of the regional form with other accounts, for %j: %s', async (caller, expected) => {
    expect(mayCall(await withAccounts, caller)).toBe(expected);
  });

  test('has no policy where nothing asks for one', () => {
    expect(only(rest, 'AWS::ApiGateway::RestApi')).not.toHaveProperty('Policy');
  });
});

test('the alarms and the dashboard look at the API that exists', () => {
  const alarm = (template: Template) => JSON.stringify(template.Resources['ApiFailsAlarm']?.Properties['Metrics']);
  const body = (template: Template) => JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard')['DashboardBody']);
  expect(alarm(plain)).toContain('"MetricName":"5xx","Dimensions":[{"Name":"ApiId","Value":{"Ref":"HttpApi"}}]');
  expect(alarm(plain)).toContain('{"Name":"door","Value":"http-api"}');
  for (const template of [rest, privateApi]) {
    expect(alarm(template)).toContain(
      '"MetricName":"5XXError","Dimensions":[{"Name":"ApiName","Value":"atlas-live-migration-dev"},{"Name":"Stage","Value":"dev"}]',
    );
    expect(alarm(template)).toContain('{"Name":"door","Value":"rest-api"}');
    expect(body(template)).toContain('5XXError');
  }
  expect(none.Resources).not.toHaveProperty('ApiFailsAlarm');
  expect(body(none)).not.toContain('ApiGateway');
});

test('the output ApiUrl is the base of the API, with the stage where the URL has one', () => {
  const apiUrl = ({ Outputs }: Template) => JSON.stringify(Outputs['ApiUrl']?.Value);
  const host = 'execute-api.${AWS::Region}.${AWS::URLSuffix}';
  expect(apiUrl(plain)).toBe(JSON.stringify({ 'Fn::Sub': `https://\${HttpApi}.${host}` }));
  expect(apiUrl(rest)).toBe(JSON.stringify({ 'Fn::Sub': `https://\${RestApi}.${host}/dev` }));
  expect(none.Outputs).not.toHaveProperty('ApiUrl');
  for (const { Outputs } of Object.values(forms()))
    expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(['GetLiveMigrationArn', 'AwaitLiveMigrationArn']));
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
  });

  test('is not tried again where it was invoked without waiting for the answer', () => {
    expect(only(plain, 'AWS::Lambda::EventInvokeConfig')).toMatchObject({ MaximumRetryAttempts: 0 });
  });

  test('gets the parameters', () => {
    expect(only(full, 'AWS::Lambda::Function')).toMatchObject({
      VpcConfig: { SubnetIds: ['subnet-0a1b', 'subnet-2c3d'], SecurityGroupIds: ['sg-0a1b'] },
      ReservedConcurrentExecutions: 5,
      Environment: {
        Variables: {
          ATLAS_SECRET_ID: 'atlas/{groupId}/key',
          ATLAS_BASE_URL: 'https://cloud.mongodb.com/api/atlas/v2',
          ANSWER_FRESHNESS_SECONDS: '5',
          ANSWER_TABLE: 'atlas-live-migration-dev-answers',
          HTTPS_PROXY: 'http://proxy.example.com:3128',
          NO_PROXY: '.amazonaws.com,example.com',
        },
      },
    });
  });
});

describe('the table of shared answers', () => {
  test('is on demand and encrypted, and deletes its items by itself and with the stack', () => {
    expect(ofType(full, 'AWS::DynamoDB::Table')).toMatchObject([
      {
        DeletionPolicy: 'Delete',
        Properties: {
          TableName: 'atlas-live-migration-dev-answers',
          BillingMode: 'PAY_PER_REQUEST',
          SSESpecification: { SSEEnabled: true },
          TimeToLiveSpecification: { AttributeName: 'expiresAt', Enabled: true },
        },
      },
    ]);
  });

  test('is the one that the embedded DynamoDB has', async () => {
    const dynamoDB = await startEmbeddedDynamoDB();
    const { Table } = await dynamoDB.client.send(new DescribeTableCommand({ TableName: dynamoDB.table }));
    const { AttributeDefinitions, KeySchema } = only(full, 'AWS::DynamoDB::Table');
    expect(Table).toMatchObject({ AttributeDefinitions, KeySchema });
    await dynamoDB.close();
  });

  test('is not there by default: no table, no right, no alarm', () => {
    for (const template of [plain, rest, none]) {
      expect(JSON.stringify(template)).not.toMatch(/dynamodb|AnswerTable|TableFail|SharedAnswers/i);
      expect(only(template, 'AWS::Lambda::Function')).toMatchObject({
        Environment: { Variables: { ANSWER_FRESHNESS_SECONDS: '0', ANSWER_TABLE: '' } },
      });
    }
  });
});

test.each([
  ['plain', 90],
  ['full', 30],
])('every log group of the %s template is kept for %i days', (which, days) => {
  const template = which === 'plain' ? plain : full;
  const groups = ofType(template, 'AWS::Logs::LogGroup');
  expect(groups).toHaveLength(3);
  for (const { Properties } of groups) expect(Properties['RetentionInDays']).toBe(days);
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

describe('state machines', () => {
  test.each([
    ['AwaitLiveMigration', 'await-live-migration', { PollLiveMigrationArn: { Ref: 'PollLiveMigration' } }],
    [
      'PollLiveMigration',
      'poll-live-migration',
      {
        GetLiveMigrationArn: { 'Fn::GetAtt': ['GetLiveMigrationLambdaFunction', 'Arn'] },
        EventBusName: 'migrations',
        RemindOfCutoverArn: { Ref: 'RemindOfCutover' },
      },
    ],
    [
      'RemindOfCutover',
      'remind-of-cutover',
      {
        GetLiveMigrationArn: { 'Fn::GetAtt': ['GetLiveMigrationLambdaFunction', 'Arn'] },
        EventBusName: 'migrations',
        AlarmTopicArn: everything.alarmTopicArn,
      },
    ],
  ])('%s is the file as it is, and all that the file leaves open is filled in', (id, file, open) => {
    const { text, values } = definitionOf(full, id);
    expect(JSON.parse(text)).toEqual(parse(readFileSync(join(root, `deploy/${file}.asl.yml`), 'utf8')));
    expect(values).toEqual({ ...open, Service: 'atlas-live-migration-dev' });
    const holes = new Set([...text.matchAll(/\$\{([\w:]+)\}/g)].map(([, name]) => name));
    expect(holes).toEqual(new Set([...Object.keys(values), 'AWS::Partition']));
  });

  test('log errors without data, and are traced', () => {
    const machines = ofType(full, 'AWS::StepFunctions::StateMachine');
    expect(machines).toHaveLength(3);
    for (const { Properties } of machines) {
      expect(Properties).toMatchObject({
        LoggingConfiguration: {
          Level: 'ERROR',
          IncludeExecutionData: false,
          Destinations: [{ CloudWatchLogsLogGroup: { LogGroupArn: { 'Fn::GetAtt': ['WaitingLogGroup', 'Arn'] } } }],
        },
        TracingConfiguration: { Enabled: true },
      });
    }
  });
});

test.each(['hcl', 'ts'])(
  'the example for another tool deploys the same function with the same rights: %s',
  (language) => {
    const document = readFileSync(join(root, 'docs/other-tools.md'), 'utf8');
    const example = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(document)?.[1] ?? '';
    const value = (name: RegExp) => new RegExp(`(?:${name.source})\\s*[:=]\\s*(.*?),?$`, 'm').exec(example)?.[1];
    const properties = only(plain, 'AWS::Lambda::Function');
    const { Handler, Runtime, MemorySize, Timeout, Environment } = properties;
    expect(value(/handler/)).toMatch(new RegExp(`^["']${Handler}["']$`));
    expect(value(/runtime/)).toContain(Runtime);
    expect(value(/memory_size|memorySize/)).toBe(String(MemorySize));
    expect(value(/timeout/)?.replace(/\D/g, '')).toBe(String(Timeout));
    expect(
      value(/architectures?/)
        ?.toLowerCase()
        .replace('_', ''),
    ).toContain('arm64');
    expect(example).toMatch(/mode = "Active"|Tracing\.ACTIVE/);
    expect(value(/maximum_retry_attempts|retryAttempts/)).toBe('0');

    const variables = [
      ...(/(?:variables|environment)\s*[:=]\s*\{(.*?)\}/s.exec(example)?.[1] ?? '').matchAll(/([A-Z_]+)\s*[:=]/g),
    ];
    expect(variables.map(([, name]) => name)).toEqual(Object.keys((Environment as { Variables: object }).Variables));

    // Its rights are those of iam-policy.json, which tests/release.test.ts compares: each value in it is filled in.
    const { iamPolicy } = createRequire(import.meta.url)('../deploy/function-role.cjs');
    const holes = new Set([...JSON.stringify(iamPolicy()).matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name));
    const filled = [...example.matchAll(/^ +(\w+) *[:=] (?:data\.|local\.|var\.|this\.|functionName,|secretName,)/gm)];
    expect(new Set(filled.map(([, name]) => name))).toEqual(holes);
    for (const file of ['dist/function.zip', 'dist/iam-policy.json']) expect(example).toContain(file);
  },
);
