/** docs/deploying-role.json: what whoever deploys may do is what a deployment and a removal need, in this stack only. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { functionNameOf } from '../deploy/function-role.ts';
import { callsBeforeRemoval, callsOfOsls, rightsByType } from './support/deploying.ts';
import { allows, type PolicyStatement } from './support/policies.ts';
import { everything, partsOf } from './support/template.ts';

const text = readFileSync(join(import.meta.dirname, '../docs/deploying-role.json'), 'utf8');
const { Statement: statements } = JSON.parse(text) as { Statement: (PolicyStatement & { Sid: string })[] };
const actionsOf = (some: PolicyStatement[]) => new Set(some.flatMap(({ Action }) => Action));

test('it allows what osls and a removal call, what CloudFormation needs for the types of the stack, and nothing else', () => {
  const needed = [...callsOfOsls, ...callsBeforeRemoval, ...Object.values(rightsByType).flat()];
  expect(actionsOf(statements)).toEqual(new Set(needed));
  expect(new Set(statements.map(({ Effect }) => Effect))).toEqual(new Set(['Allow']));
});

test('it fits into the inline policies of a role', () => {
  expect(JSON.stringify(JSON.parse(text)).length).toBeLessThanOrEqual(10_240);
});

test('only actions that AWS knows no resource for, or that list and describe, are allowed on everything', () => {
  expect([...actionsOf(statements.filter(({ Resource }) => Resource === '*'))].toSorted()).toEqual([
    'cloudformation:ValidateTemplate',
    'cloudwatch:DescribeAlarms',
    ...['DescribeNetworkInterfaces', 'DescribeSecurityGroups', 'DescribeSubnets', 'DescribeVpcs'].map(
      (action) => `ec2:${action}`,
    ),
    ...['CreateLogDelivery', 'DeleteLogDelivery', 'DescribeLogGroups', 'DescribeResourcePolicies'].map(
      (action) => `logs:${action}`,
    ),
    ...['GetLogDelivery', 'ListLogDeliveries', 'PutResourcePolicy', 'UpdateLogDelivery'].map(
      (action) => `logs:${action}`,
    ),
    'states:ListStateMachines',
  ]);
});

describe('it reaches the resources of the stage prod, and none of another stage', () => {
  const here = (service: string, resource: string) => `arn:aws:${service}:eu-central-1:123456789012:${resource}`;
  const may = (action: string, resource: string, context: Record<string, string> = {}) =>
    allows(statements, { action, resource, context });
  const stack = 'atlas-live-migration-prod';

  /** The ARN of a resource of the stack, and what is done to it first and last. */
  const places: Record<string, [property: string, arn: (name: string) => string, actions: string[]]> = {
    'AWS::CloudWatch::Alarm': [
      'AlarmName',
      (name) => here('cloudwatch', `alarm:${name}`),
      ['cloudwatch:PutMetricAlarm', 'cloudwatch:DeleteAlarms'],
    ],
    'AWS::CloudWatch::CompositeAlarm': [
      'AlarmName',
      (name) => here('cloudwatch', `alarm:${name}`),
      ['cloudwatch:PutCompositeAlarm', 'cloudwatch:DeleteAlarms'],
    ],
    'AWS::CloudWatch::Dashboard': [
      'DashboardName',
      (name) => `arn:aws:cloudwatch::123456789012:dashboard/${name}`,
      ['cloudwatch:PutDashboard', 'cloudwatch:DeleteDashboards'],
    ],
    'AWS::DynamoDB::Table': [
      'TableName',
      (name) => here('dynamodb', `table/${name}`),
      ['dynamodb:CreateTable', 'dynamodb:DeleteTable'],
    ],
    'AWS::Logs::LogGroup': [
      'LogGroupName',
      (name) => here('logs', `log-group:${name}`),
      ['logs:CreateLogGroup', 'logs:AssociateKmsKey', 'logs:PutMetricFilter', 'logs:DeleteLogGroup'],
    ],
    'AWS::StepFunctions::StateMachine': [
      'StateMachineName',
      (name) => here('states', `stateMachine:${name}`),
      ['states:CreateStateMachine', 'states:DeleteStateMachine'],
    ],
  };

  test('by the names that they have in the template', async () => {
    const named = async (stage: string) => {
      const forms = [
        await partsOf(everything, stage),
        await partsOf({ api: 'rest', logsKmsKeyArn: everything.logsKmsKeyArn }, stage),
      ];
      return forms
        .flatMap(({ Resources }) => Object.values(Resources))
        .flatMap(({ Type, Properties }) => {
          const [property = '', arn, actions = []] = places[Type] ?? [];
          if (!arn) return [];
          const name = Properties[property];
          const plain = typeof name === 'string' ? name : (name as { 'Fn::Sub': string })['Fn::Sub'];
          return actions.map((action) => ({
            type: Type,
            action,
            arn: arn(plain.replace('${AWS::Region}', 'eu-central-1')),
          }));
        });
    };
    const ours = await named('prod');
    expect(new Set(ours.map(({ type }) => type))).toEqual(new Set(Object.keys(places)));
    for (const { action, arn } of ours) expect(may(action, arn), `${action} ${arn}`).toBe(true);
    for (const { action, arn } of await named('dev')) expect(may(action, arn), `${action} ${arn}`).toBe(false);
  });

  test.each([
    ['lambda:UpdateFunctionCode', (name: string) => here('lambda', `function:${functionNameOf(name)}`)],
    ['lambda:DeleteFunction', (name: string) => here('lambda', `function:${functionNameOf(name)}:7`)],
    ['logs:CreateLogGroup', (name: string) => here('logs', `log-group:/aws/lambda/${functionNameOf(name)}`)],
    ['logs:DeleteLogGroup', (name: string) => here('logs', `log-group:/aws/vendedlogs/http-api/${name}:*`)],
    ['iam:PutRolePolicy', (name: string) => `arn:aws:iam::123456789012:role/${name}-FunctionRole-1A2B3C4D5E6F`],
    ['cloudformation:DeleteStack', (name: string) => here('cloudformation', `stack/${name}/0a1b2c3d`)],
  ])('%s', (action, arn) => {
    expect(may(action, arn(stack))).toBe(true);
    expect(may(action, arn('atlas-live-migration-dev'))).toBe(false);
    expect(may(action, arn(stack).replace('123456789012', '999999999999'))).toBe(false);
  });

  test('it hands its roles to Lambda and Step Functions only', () => {
    const role = `arn:aws:iam::123456789012:role/${stack}-FunctionRole-1A2B3C4D5E6F`;
    const pass = (service: string) => may('iam:PassRole', role, { 'iam:PassedToService': service });
    expect(['lambda.amazonaws.com', 'states.amazonaws.com', 'ec2.amazonaws.com'].map(pass)).toEqual([
      true,
      true,
      false,
    ]);
    expect(may('iam:PassRole', role)).toBe(false);
  });

  test('it uses the key of the table through DynamoDB only', () => {
    const key = here('kms', 'key/1234abcd-12ab');
    const through = (service: string) =>
      may('kms:CreateGrant', key, { 'kms:ViaService': `${service}.eu-central-1.amazonaws.com` });
    expect([through('dynamodb'), through('s3'), may('kms:Decrypt', key)]).toEqual([true, false, false]);
  });
});
