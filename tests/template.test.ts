/** The CloudFormation template that a deployment sends: judged offline, against CloudFormation's own specification. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadAwsServiceSpec } from '@aws-cdk/aws-service-spec';
import { DescribeTableCommand } from '@aws-sdk/client-dynamodb';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { packageService } from '../deploy/package-service.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  entity,
  invokeHttp,
  readEvent,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { isIntrinsic, readSpecification } from './support/resource-specification.ts';

const root = join(import.meta.dirname, '..');

type Json = Record<string, unknown>;
type Template = Awaited<ReturnType<typeof packageService>>['template'];

const packageWith = async (parameters?: Record<string, string>) => (await packageService(parameters)).template;

const everything = {
  atlasSecretId: 'atlas/{groupId}/key',
  atlasBaseUrl: 'https://cloud.mongodb.com/api/atlas/v2',
  jwtIssuer: 'https://issuer.example.com',
  jwtAudience: 'one,two',
  jwtScopes: 'migrations/read,admin',
  corsOrigins: 'https://app.example.com, https://other.example.com',
  throttlingRate: '7',
  throttlingBurst: '9',
  freshnessSeconds: '5',
  reservedConcurrency: '5',
  logRetentionDays: '30',
  kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab',
  alarmTopicArn: 'arn:aws:sns:us-east-1:123456789012:alarms',
  eventBusName: 'migrations',
  subnetIds: 'subnet-0a1b,subnet-2c3d',
  securityGroupIds: 'sg-0a1b',
  httpsProxy: 'http://proxy.example.com:3128',
  noProxy: '.amazonaws.com,example.com',
  runbookUrl: 'https://wiki.example.com/migrations',
  permissionsBoundaryArn: 'arn:aws:iam::123456789012:policy/boundary',
  tags: 'team=data, cost centre=42',
};

/** With IAM and other accounts: a JWT goes with an HTTP API only. */
const { jwtIssuer: _, jwtAudience: __, jwtScopes: ___, corsOrigins: ____, ...withoutJwt } = everything;
const accounts = '210987654321,345678901234';
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

const ofType = (template: Template, type: string) =>
  Object.values(template.Resources).filter((resource) => resource.Type === type);
const only = (template: Template, type: string) => ofType(template, type)[0]?.Properties as Record<string, Json>;
describe("CloudFormation's specification", () => {
  test('knows every property of every resource, and its type', async () => {
    const problemsOf = await readSpecification();
    for (const [form, template] of Object.entries(forms())) expect(problemsOf(template), form).toEqual([]);
  });

  test('tags are on everything that takes them', async () => {
    const db = await loadAwsServiceSpec();
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
    }
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

describe('callers', () => {
  test('sign with IAM, on every route', () => {
    for (const { Properties } of ofType(plain, 'AWS::ApiGatewayV2::Route'))
      expect(Properties['AuthorizationType']).toBe('AWS_IAM');
    expect(ofType(plain, 'AWS::ApiGatewayV2::Route')).toHaveLength(1);
  });

  test('bring a JWT where an issuer is named, on every route', () => {
    for (const { Properties } of ofType(full, 'AWS::ApiGatewayV2::Route')) {
      expect(Properties).toMatchObject({
        AuthorizationType: 'JWT',
        AuthorizerId: { Ref: 'HttpApiAuthorizerJwt' },
        AuthorizationScopes: ['migrations/read', 'admin'],
      });
    }
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
    expect(mayCall(await packageWith({ api: 'rest', callerAccountIds: accounts }), caller)).toBe(expected);
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

/** Each statement as action and resource, in words. */
const statements = (template: Template, role: string) => {
  const policies = template.Resources[role]?.Properties['Policies'] as {
    PolicyDocument: { Statement: { Effect: string; Action: string | string[]; Resource: unknown }[] };
  }[];
  return policies.flatMap(({ PolicyDocument }) =>
    PolicyDocument.Statement.flatMap(({ Effect, Action, Resource: resource }) =>
      [resource].flat().map(
        (one) =>
          `${Effect} ${[Action].flat().join(' ')} on ${JSON.stringify(one)
            .replace(/[{}[\]"]/g, '')
            .replace(/Fn::(Sub|GetAtt|Join):|Ref:/g, '')}`,
      ),
    ),
  );
};

/** The text of a state machine's definition, and what is filled in. */
const definitionOf = (template: Template, id: string) => {
  const { DefinitionString } = template.Resources[id]?.Properties ?? {};
  const { 'Fn::Sub': substitution } = DefinitionString as { 'Fn::Sub': [string, Record<string, unknown>] };
  return { text: substitution[0], values: substitution[1] };
};

describe('least privilege', () => {
  const logs =
    'Allow logs:CreateLogStream logs:PutLogEvents on arn:$AWS::Partition:logs:$AWS::Region:$AWS::AccountId:log-group:/aws/lambda/atlas-live-migration-dev-getLiveMigration:*';
  const traces = 'Allow xray:PutTraceSegments xray:PutTelemetryRecords on *';
  const secret = (statement: string[]) => statement.filter((one) => one.includes('secretsmanager'));

  test('the function may read that secret, and write its logs and traces', () => {
    const all = statements(plain, 'FunctionRole');
    expect(all.filter((one) => !one.includes('secretsmanager'))).toEqual([logs, traces]);
    expect(secret(all)).toEqual([
      expect.stringMatching(/^Allow secretsmanager:GetSecretValue on .*:secret:atlas\/live-migration-\?{6}$/),
    ]);
  });

  test('with {groupId}, it may read the secrets of that pattern; with a key, it may decrypt with that one for Secrets Manager', () => {
    const all = statements(full, 'FunctionRole');
    expect(secret(all)).toEqual([expect.stringMatching(/:secret:atlas\/\?{24}\/key-\?{6}$/)]);
    expect(all).toContain(`Allow kms:Decrypt on ${everything.kmsKeyArn}`);
    expect(JSON.stringify(full.Resources['FunctionRole'])).toContain(
      '{"StringEquals":{"kms:ViaService":{"Fn::Sub":"secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}}}',
    );
  });

  test('it may read and write the items of its table, where it has one', () => {
    const all = statements(full, 'FunctionRole').filter((one) => one.includes('dynamodb'));
    expect(all).toEqual(['Allow dynamodb:GetItem dynamodb:UpdateItem on AnswerTable,Arn']);
  });

  test('of an ARN, with or without the six characters of its end, it may read that one', async () => {
    const atlasSecretId = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:atlas-secret';
    expect(secret(statements(await packageWith({ atlasSecretId }), 'FunctionRole'))).toEqual([
      `Allow secretsmanager:GetSecretValue on ${atlasSecretId}`,
      `Allow secretsmanager:GetSecretValue on ${atlasSecretId}-??????`,
    ]);
  });

  test('in a VPC, Lambda may make network interfaces with the role, and the code may not', () => {
    const ec2 = statements(full, 'FunctionRole').filter((one) => one.includes('ec2:'));
    const actions =
      'ec2:CreateNetworkInterface ec2:DescribeNetworkInterfaces ec2:DescribeSubnets ec2:DeleteNetworkInterface ec2:AssignPrivateIpAddresses ec2:UnassignPrivateIpAddresses on *';
    expect(ec2).toEqual([`Allow ${actions}`, `Deny ${actions}`]);
    expect(JSON.stringify(full.Resources['FunctionRole'])).toContain(
      '{"ArnEquals":{"lambda:SourceFunctionArn":{"Fn::Sub":"arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:atlas-live-migration-dev-getLiveMigration"}}}',
    );
  });

  test('no role has a managed policy; each has the boundary, where there is one', () => {
    for (const template of [plain, full]) {
      const roles = ofType(template, 'AWS::IAM::Role');
      expect(roles).toHaveLength(4);
      for (const { Properties } of roles) {
        expect(Properties).not.toHaveProperty('ManagedPolicyArns');
        expect(Properties['PermissionsBoundary']).toBe(
          template === full ? everything.permissionsBoundaryArn : undefined,
        );
      }
    }
    expect(ofType(full, 'AWS::IAM::ManagedPolicy')).toEqual([]);
  });

  describe('a state machine may do what its tasks do, and nothing else', () => {
    const here = '$AWS::Region:$AWS::AccountId';
    const machine = (type: string, name: string) =>
      `arn:$AWS::Partition:states:${here}:${type}:atlas-live-migration-dev-${name}`;
    const count = 'Allow cloudwatch:PutMetricData on *';
    const always = [
      'Allow logs:CreateLogDelivery logs:GetLogDelivery logs:UpdateLogDelivery logs:DeleteLogDelivery logs:ListLogDeliveries logs:PutResourcePolicy logs:DescribeResourcePolicies logs:DescribeLogGroups on *',
      'Allow xray:PutTraceSegments xray:PutTelemetryRecords xray:GetSamplingRules xray:GetSamplingTargets on *',
    ];
    const ask = 'Allow lambda:InvokeFunction on GetLiveMigrationLambdaFunction,Arn';
    const tell = `Allow events:PutEvents on arn:$AWS::Partition:events:${here}:event-bus/migrations`;

    test.each([
      [
        'AwaitLiveMigrationRole',
        [
          `Allow states:StartExecution on ${machine('stateMachine', 'pollLiveMigration')}`,
          `Allow states:DescribeExecution states:StopExecution on ${machine('execution', 'pollLiveMigration')}:*`,
          `Allow events:PutTargets events:PutRule events:DescribeRule on arn:$AWS::Partition:events:${here}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule`,
          count,
        ],
      ],
      [
        'PollLiveMigrationRole',
        [ask, tell, `Allow states:StartExecution on ${machine('stateMachine', 'remindOfCutover')}`, count],
      ],
      ['RemindOfCutoverRole', [ask, tell, `Allow sns:Publish on ${everything.alarmTopicArn}`, count]],
    ])('%s', (role, expected) => {
      expect(statements(full, role)).toEqual([...expected, ...always]);
      expect(JSON.stringify(full.Resources[role]?.Properties['Policies'])).toContain(
        '{"StringEquals":{"cloudwatch:namespace":"AtlasLiveMigration"}}',
      );
    });

    test('without a topic, no message may be sent', () => {
      expect(statements(plain, 'RemindOfCutoverRole').join()).not.toContain('sns');
    });

    test('only Step Functions takes each role, for its own machine in this account', () => {
      for (const name of ['awaitLiveMigration', 'pollLiveMigration', 'remindOfCutover']) {
        const role = `${name[0]?.toUpperCase()}${name.slice(1)}Role`;
        expect(full.Resources[role]?.Properties['AssumeRolePolicyDocument']).toEqual({
          Version: '2012-10-17',
          Statement: [
            {
              Effect: 'Allow',
              Principal: { Service: 'states.amazonaws.com' },
              Action: 'sts:AssumeRole',
              Condition: {
                StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } },
                ArnLike: {
                  'aws:SourceArn': {
                    'Fn::Sub': `arn:\${AWS::Partition}:states:\${AWS::Region}:\${AWS::AccountId}:stateMachine:atlas-live-migration-dev-${name}`,
                  },
                },
              },
            },
          ],
        });
      }
    });

    test('a bus in another account is used by its ARN', async () => {
      const eventBusName = 'arn:aws:events:eu-central-1:210987654321:event-bus/central';
      const template = await packageWith({ eventBusName });
      for (const role of ['PollLiveMigrationRole', 'RemindOfCutoverRole']) {
        expect(statements(template, role)).toContain(`Allow events:PutEvents on ${eventBusName}`);
      }
      expect(definitionOf(template, 'PollLiveMigration').values).toMatchObject({ EventBusName: eventBusName });
    });
  });

  test('no other role is there', () => {
    expect(ofType(full, 'AWS::IAM::Role')).toHaveLength(4);
    expect(ofType(full, 'AWS::IAM::Policy')).toHaveLength(0);
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
  for (const [, field = ''] of query.matchAll(/latest\(([@\w]+)\)/g))
    expect(ofLogLine.includes(field) || Format.includes(`"${field}":`)).toBe(true);
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
    const document = readFileSync(join(root, 'docs/deploy.md'), 'utf8');
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

describe('metrics', () => {
  type AlarmMetric = { Namespace: string; MetricName: string; Dimensions: { Name: string; Value: unknown }[] };
  type Emf = {
    _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] };
  } & Json;

  /** What the function really emits, as namespace, name and sorted dimensions. */
  async function emitted(): Promise<Set<string>> {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false', SECRET_MAX_AGE_SECONDS: '0' });
    await ask(handler);
    await invokeHttp(handler, readEvent('http-api'));
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    atlas.reply = () => ({ status: 503, body: '' });
    await ask(handler);
    allIsWell();
    atlas.serviceAccounts['account'] = 'CLIENT-SECRET';
    secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'account', clientSecret: 'CLIENT-SECRET' });
    const withoutTable = { AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:9', ANSWER_TABLE: 'none' };
    await ask(
      await coldStart({ ...withoutTable, ANSWER_FRESHNESS_SECONDS: '5', POWERTOOLS_METRICS_DISABLED: 'false' }),
    );
    const lines = output.lines().filter((line) => '_aws' in line) as Emf[];
    // The state machines count for themselves.
    const counted = ['EventsRefused', 'RemindersRefused', 'PollsWithoutAnswer', 'LostRounds'];
    return new Set([
      ...counted.map((name) => `AtlasLiveMigration ${name} service`),
      ...lines.flatMap(({ _aws }) =>
        _aws.CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics }) =>
          Metrics.flatMap(({ Name }) => Dimensions.map((names) => [Namespace, Name, ...[...names].sort()].join(' '))),
        ),
      ),
    ]);
  }

  test('are written without a warning beside them', async () => {
    allIsWell();
    const output = captureOutput();
    const warn = vi.spyOn(console, 'warn');
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false' });
    await ask(handler);
    await ask(handler, 'direct', { groupId: 'x' });
    expect(
      output
        .text()
        .split('\n')
        .filter((line) => line && !line.startsWith('{"_aws"')),
    ).toEqual([]);
    expect(warn).not.toHaveBeenCalled();
  });

  test('each alarm looks at a metric that is really emitted, says what to do, and tells the topic', async () => {
    const known = await emitted();
    const alarms = ofType(full, 'AWS::CloudWatch::Alarm');
    expect(alarms.length).toBeGreaterThanOrEqual(7);
    for (const { Properties } of alarms) {
      const { Metrics, AlarmName, AlarmDescription, AlarmActions, OKActions, ...one } = Properties as AlarmMetric & {
        Metrics?: { MetricStat?: { Metric: AlarmMetric } }[];
        AlarmName: string;
        AlarmDescription: string;
        AlarmActions: unknown;
        OKActions: unknown;
      };
      // What is wrong, what to do first, where the runbook is.
      const runbook = `Runbook: ${everything.runbookUrl}, section ${AlarmName.split('-').at(-1)}.`;
      expect(AlarmDescription).toMatch(/^[^.]+\. .+\. Runbook: .+\.$/);
      expect(AlarmDescription.endsWith(runbook)).toBe(true);
      expect(AlarmDescription.length).toBeLessThanOrEqual(1024);
      expect([AlarmActions, OKActions]).toEqual(Array(2).fill([everything.alarmTopicArn]));
      const looksAt = Metrics?.flatMap(({ MetricStat }) => MetricStat?.Metric ?? []) ?? [one];
      expect(looksAt.length).toBeGreaterThan(0);
      for (const { Namespace, MetricName, Dimensions } of looksAt) {
        if (Namespace.startsWith('AWS/')) continue;
        expect(known).toContain([Namespace, MetricName, ...Dimensions.map(({ Name }) => Name).sort()].join(' '));
        expect(Dimensions).toContainEqual({ Name: 'service', Value: 'atlas-live-migration-dev' });
      }
    }
    expect(only(full, 'AWS::Lambda::Function')).toMatchObject({
      Environment: { Variables: { POWERTOOLS_SERVICE_NAME: 'atlas-live-migration-dev' } },
    });
  });

  test.each(['plain', 'full'])('the dashboard shows metrics that are really emitted: %s', async (which) => {
    const known = await emitted();
    const template = which === 'plain' ? plain : full;
    const [body] = (
      only(template, 'AWS::CloudWatch::Dashboard')['DashboardBody'] as unknown as { 'Fn::Sub': [string] }
    )['Fn::Sub'];
    const { widgets } = JSON.parse(body) as {
      widgets: { properties: { title: string; metrics: (string | { expression?: string })[][] } }[];
    };
    expect(widgets.map(({ properties }) => properties.title)).toEqual([
      'Replication lag',
      'Ready for cutover',
      'Requests by outcome',
      'Latency of Atlas',
      'Answers and requests to Atlas',
      'The function',
      'Waits',
      'Events and reminders',
    ]);
    for (const { properties } of widgets) {
      for (const [first, name, ...rest] of properties.metrics) {
        if (typeof first === 'object') {
          const [, list = '', metric = ''] =
            /^SEARCH\('\{([^}]+)\} MetricName="(\w+)" service="\$\{Service\}"', '\w+', \d+\)$/.exec(
              first.expression ?? '',
            ) ?? [];
          const [namespace = '', ...dimensions] = list.split(',');
          expect(known).toContain([namespace, metric, ...dimensions.sort()].join(' '));
        } else if (first === 'AtlasLiveMigration') {
          const dimensions = rest.filter((_, index) => index % 2 === 0).filter((part) => typeof part === 'string');
          expect(known).toContain([first, name, ...dimensions.sort()].join(' '));
        }
      }
    }
  });

  test('without a topic, alarms only change their state, and name the runbook in this repository', () => {
    for (const { Properties } of ofType(plain, 'AWS::CloudWatch::Alarm')) {
      expect(Properties).toMatchObject({ AlarmActions: [], OKActions: [] });
      expect(Properties['AlarmDescription']).toContain('Runbook: docs/operate.md, section ');
    }
  });

  test('lag and readiness are emitted for each migration, and the lag only where Atlas says it', async () => {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false' });
    atlas.reply = () => ({ status: 200, body: { ...entity, readyForCutover: true, lagTimeSeconds: 3 } });
    await ask(handler);
    atlas.reply = () => ({ status: 200, body: { ...entity, readyForCutover: undefined, lagTimeSeconds: null } });
    await ask(handler);
    const [first, second] = output.lines().filter((line) => 'liveMigrationId' in line && '_aws' in line);
    expect(first).toMatchObject({ ReplicationLag: 3, ReadyForCutover: 1, groupId: expect.any(String) });
    expect(second).toMatchObject({ ReadyForCutover: 0 });
    expect(second).not.toHaveProperty('ReplicationLag');
  });
});

describe('parameters that are wrong are named before anything is deployed', () => {
  /** Judges the parameters as serverless does, with the defaults for the others. */
  const judge = (parameters: Record<string, string>, params: object = { default: {} }) => {
    const { defaults, deployment } = createRequire(import.meta.url)('../deploy/parameters.cjs');
    return deployment({
      resolveConfigurationProperty: async () => params,
      options: { param: Object.entries(parameters).map(([name, value]) => `${name}=${value}`) },
      resolveVariable: async (variable: string) => {
        if (variable === 'self:provider.region') return 'us-east-1';
        const name = variable.slice('param:'.length).split(',')[0] ?? '';
        return { ...defaults, ...parameters }[name];
      },
    });
  };

  test('the defaults are not', async () => {
    expect(await judge({})).toMatchObject({ events: [{ httpApi: { authorizer: { type: 'aws_iam' } } }] });
  });

  test.each<[Record<string, string>, string]>([
    [{ atlasSecretId: 'a b' }, 'atlasSecretId must be the name or ARN of a secret'],
    [{ atlasSecretId: 'atlas/{projectId}' }, 'atlasSecretId must be'],
    [{ atlasBaseUrl: 'http://cloud.mongodb.com' }, 'atlasBaseUrl must be an https URL'],
    [{ jwtIssuer: 'http://issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer must be an https URL'],
    [{ atlasBaseUrl: 'http://localhost/v2' }, 'atlasBaseUrl must be an https URL'],
    [{ jwtIssuer: 'https://issuer.example.com', jwtAudience: ',' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ subnetIds: 'subnet-1', securityGroupIds: ',' }, 'subnetIds and securityGroupIds are needed together'],
    [{ jwtIssuer: 'https://issuer.example.com' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ corsOrigins: '*' }, 'corsOrigins must be origins such as https://app.example.com'],
    [{ throttlingRate: '0' }, 'throttlingRate must be a whole number from 1 to 10000'],
    [{ throttlingBurst: 'many' }, 'throttlingBurst must be a whole number'],
    [{ freshnessSeconds: '61' }, 'freshnessSeconds must be a whole number from 0 to 60'],
    [{ freshnessSeconds: '2.5' }, 'freshnessSeconds must be a whole number from 0 to 60'],
    [{ reservedConcurrency: '0' }, 'reservedConcurrency must be a whole number from 1 to 1000'],
    [{ logRetentionDays: '2' }, 'logRetentionDays must be one of 1, 3, 5'],
    [{ kmsKeyArn: 'alias/key' }, 'kmsKeyArn must be the ARN of a KMS key'],
    [{ alarmTopicArn: 'alarms' }, 'alarmTopicArn must be the ARN of an SNS topic'],
    [{ eventBusName: 'my bus' }, 'eventBusName must be the name or ARN of an EventBridge bus'],
    [{ eventBusName: 'arn:aws:sns:eu-west-1:123456789012:bus' }, 'eventBusName must be the name or ARN'],
    [{ subnetIds: 'subnet-1' }, 'subnetIds and securityGroupIds are needed together'],
    [{ subnetIds: 'vpc-1', securityGroupIds: 'sg-1' }, 'subnetIds must be ids of subnets'],
    [{ httpsProxy: 'proxy.example.com:3128' }, 'httpsProxy must be an http or https URL such as'],
    [{ runbookUrl: 'wiki.example.com' }, 'runbookUrl must be an https URL'],
    [{ noProxy: 'https://example.com/' }, 'noProxy must be names of hosts or domains'],
    [{ noProxy: 'a;b' }, 'noProxy must be names of hosts or domains'],
    [{ secretId: 'x' }, 'there is no parameter secretId'],
    [{ api: 'graphql' }, 'api must be http, rest, private or none'],
    [{ api: 'private' }, 'api private needs vpcEndpointIds'],
    [{ vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'rest', vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'private', vpcEndpointIds: 'vpc-1' }, 'vpcEndpointIds must be ids of VPC endpoints'],
    [{ api: 'rest', jwtIssuer: 'https://issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer needs api http'],
    [{ api: 'private', vpcEndpointIds: 'vpce-1', corsOrigins: 'https://a.example.com' }, 'corsOrigins needs api http'],
    [{ api: 'none', jwtScopes: 'read' }, 'jwtScopes needs api http'],
    [{ jwtScopes: 'read' }, 'jwtScopes need jwtIssuer'],
    [{ callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ api: 'none', callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ api: 'rest', callerAccountIds: '21098765432' }, 'callerAccountIds must be ids of AWS accounts'],
    [{ permissionsBoundaryArn: 'boundary' }, 'permissionsBoundaryArn must be the ARN of an IAM policy'],
    [{ tags: 'team' }, 'such as team=data'],
    [{ tags: 'AWS:team=data' }, 'tags must be at most 50 pairs'],
    [{ tags: 'Team=a,team=b' }, 'tags must be at most 50 pairs'],
    [{ tags: Array.from({ length: 51 }, (_, at) => `t${at}=x`).join() }, 'tags must be at most 50 pairs'],
    [{ jwtIssuer: 'https:issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer must be an https URL'],
    [{ alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:t' }, 'alarmTopicArn is in eu-west-1'],
    [{ kmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/a' }, 'kmsKeyArn is in eu-west-1'],
    [
      { atlasSecretId: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:x' },
      'atlasSecretId is in eu-west-1, and the deployment in us-east-1',
    ],
  ])('%j', async (parameters, message) => {
    await expect(judge(parameters)).rejects.toThrow(message);
  });

  test('also where a wrong value stands under another stage, and variables of serverless are left to it', async () => {
    await expect(judge({}, { prod: { subnetIds: 'nonsense', api: '${env:API}', throttlingRate: 5 } })).rejects.toThrow(
      'under prod, subnetIds must be ids of subnets, comma-separated.',
    );
    await expect(
      judge({}, { prod: { api: '${env:API}', throttlingRate: 5, runbookUrl: null } }),
    ).resolves.toBeDefined();
  });

  test('blanks around a value and doubles in a list do not count', async () => {
    const { httpApi } = await judge({ jwtIssuer: ' https://issuer.example.com', jwtAudience: 'a, a' });
    expect(httpApi.authorizers.jwt).toMatchObject({ issuerUrl: 'https://issuer.example.com', audience: ['a'] });
  });

  test('also where an unknown name stands in serverless.yml, under any stage', async () => {
    await expect(judge({}, { default: {}, prod: { subnetIDs: 'subnet-1' }, other: null })).rejects.toThrow(
      'there is no parameter subnetIDs',
    );
  });

  test.each(['deploy', 'rollback', 'remove'])('%s is refused where no region is named', async (command) => {
    const { AWS_REGION: _, ...env } = process.env;
    const serverless = join(root, 'node_modules/.bin/serverless');
    const { stdout, stderr } = await promisify(execFile)(serverless, [command], { cwd: root, env }).then(
      () => ({ stdout: '', stderr: '' }),
      (error: { stdout: string; stderr: string }) => error,
    );
    expect(stdout + stderr).toContain('Name the region: set AWS_REGION');
  });

  test('all of them at once, in one message, by serverless itself', async () => {
    const wrong = { logRetentionDays: '2', corsOrigins: '*', kmsKeyArn: 'x', nonsense: '1' };
    const { stdout, stderr } = await packageService(wrong).then(
      () => ({ stdout: '', stderr: '' }),
      (error: { stdout: string; stderr: string }) => error,
    );
    for (const name of Object.keys(wrong)) expect((stdout + stderr).split(name)).toHaveLength(2);
  });
});
