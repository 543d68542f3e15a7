/**
 * What is ours of the CloudFormation template, in every form of the API. tests/package.test.ts looks at the whole template;
 * tests/iam.test.ts, tests/metrics.test.ts and tests/alarms.test.ts look at roles, the dashboard and alarms.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DescribeTableCommand } from '@aws-sdk/client-dynamodb';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { isIntrinsic } from './support/resource-specification.ts';
import {
  accounts,
  callersOf,
  definitionOf,
  deploymentWith,
  everything,
  ofType,
  only,
  otherForms,
  partsOf,
  type Template,
} from './support/template.ts';

const root = join(import.meta.dirname, '..');

let plain: Template;
let full: Template;
let rest: Template;
let privateApi: Template;
let none: Template;
beforeAll(async () => {
  [plain, full, rest, privateApi, none] = await Promise.all([
    partsOf(),
    partsOf(everything),
    partsOf(otherForms.rest),
    partsOf(otherForms.private),
    partsOf(otherForms.none),
  ]);
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

  test('is throttled and traced, and logs what the HTTP API logs, for as long', async () => {
    const { logs } = await deploymentWith();
    const stage = only(rest, 'AWS::ApiGateway::Stage');
    expect(stage).toMatchObject({
      StageName: 'dev',
      TracingEnabled: true,
      MethodSettings: [{ HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 8, ThrottlingBurstLimit: 20 }],
      AccessLogSetting: {
        DestinationArn: { 'Fn::GetAtt': ['RestApiLogGroup', 'Arn'] },
      },
    });
    expect(logs).toEqual({ httpApi: { format: stage['AccessLogSetting']?.['Format'] } });
    expect(only(privateApi, 'AWS::ApiGateway::Stage')).toMatchObject({
      TracingEnabled: false,
      MethodSettings: [{ ThrottlingRateLimit: 7, ThrottlingBurstLimit: 9 }],
    });
    expect(privateApi.Resources['RestApiLogGroup']?.Properties).toMatchObject({
      LogGroupName: '/aws/vendedlogs/rest-api/atlas-live-migration-dev',
      RetentionInDays: 30,
      KmsKeyId: everything.logsKmsKeyArn,
    });
  });

  test('may invoke the function', () => {
    for (const template of [rest, privateApi])
      expect(callersOf(template)).toEqual([expect.stringContaining(':${RestApi}/dev/GET/groups/*/liveMigrations/*')]);
  });

  test('another policy is another deployment', async () => {
    const idOf = (template: Template) =>
      Object.keys(template.Resources).find((id) => id.startsWith('RestApiDeployment'));
    expect(idOf(rest)).not.toBe(idOf(privateApi));
    expect(idOf(await partsOf(otherForms.rest))).toBe(idOf(rest));
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
    withAccounts = partsOf({ api: 'rest', callerAccountIds: accounts });
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

test('the alarms and the dashboard look at the API and at the logs that exist', () => {
  const logOf = (template: Template) =>
    template.Resources['IntegrationFailuresFilter1']?.Properties['LogGroupName'] as { Ref: string } | undefined;
  const body = (template: Template) => JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard')['DashboardBody']);
  expect(logOf(plain)).toEqual({ Ref: 'HttpApiLogGroup' });
  for (const template of [rest, privateApi]) {
    expect(template.Resources[logOf(template)?.Ref ?? '']?.Type).toBe('AWS::Logs::LogGroup');
    expect(body(template)).toContain('5XXError');
  }
  for (const name of ['ApiFailsAlarm', 'IntegrationFailuresFilter1']) expect(none.Resources).not.toHaveProperty(name);
  expect(body(none)).not.toContain('ApiGateway');
});

test('the output ApiUrl is the base of the API, with the stage where the URL has one', () => {
  const apiUrl = ({ Outputs }: Template) => JSON.stringify(Outputs['ApiUrl']?.Value);
  const host = 'execute-api.${AWS::Region}.${AWS::URLSuffix}';
  expect(apiUrl(plain)).toBe(JSON.stringify({ 'Fn::Sub': `https://\${HttpApi}.${host}` }));
  expect(apiUrl(rest)).toBe(JSON.stringify({ 'Fn::Sub': `https://\${RestApi}.${host}/dev` }));
  expect(none.Outputs).not.toHaveProperty('ApiUrl');
});

describe('the table of shared answers', () => {
  test('is on demand and encrypted, and deletes its items by itself and with the stack', () => {
    expect(ofType(full, 'AWS::DynamoDB::Table')).toMatchObject([
      {
        DeletionPolicy: 'Delete',
        Properties: {
          TableName: 'atlas-live-migration-dev-answers',
          BillingMode: 'PAY_PER_REQUEST',
          SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: everything.tableKmsKeyArn },
          TimeToLiveSpecification: { AttributeName: 'expiresAt', Enabled: true },
        },
      },
    ]);
  });

  test('has the key of the account for DynamoDB, where no other is named', async () => {
    const template = await partsOf({ freshnessSeconds: '5' });
    expect(only(template, 'AWS::DynamoDB::Table')['SSESpecification']).toEqual({ SSEEnabled: true });
    expect(JSON.stringify(template)).not.toContain('kms:');
  });

  test('is the one that the embedded DynamoDB has', async () => {
    const dynamoDB = await startEmbeddedDynamoDB();
    const { Table } = await dynamoDB.client.send(new DescribeTableCommand({ TableName: dynamoDB.table }));
    const { AttributeDefinitions, KeySchema } = only(full, 'AWS::DynamoDB::Table');
    expect(Table).toMatchObject({ AttributeDefinitions, KeySchema });
    await dynamoDB.close();
  });

  test('is not there by default: no table, no right, no alarm', () => {
    for (const template of [plain, rest, none])
      expect(JSON.stringify(template)).not.toMatch(/dynamodb|AnswerTable|TableFail|SharedAnswers/i);
  });
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

  test.each([true, false])('log errors without data, and are traced: %s', (isTraced) => {
    const machines = ofType(isTraced ? plain : full, 'AWS::StepFunctions::StateMachine');
    expect(machines).toHaveLength(3);
    for (const { Properties } of machines) {
      expect(Properties).toMatchObject({
        LoggingConfiguration: {
          Level: 'ERROR',
          IncludeExecutionData: false,
          Destinations: [{ CloudWatchLogsLogGroup: { LogGroupArn: { 'Fn::GetAtt': ['WaitingLogGroup', 'Arn'] } } }],
        },
        TracingConfiguration: { Enabled: isTraced },
      });
    }
  });
});
