/** The rights of the function and of the state machines: what each needs, and nothing else. */

import { beforeAll, describe, expect, test } from 'vitest';
import { iamPolicy } from '../deploy/function-role.ts';
import { definitionOf, everything, partsOf, type Template } from './support/template.ts';

let plain: Template;
let full: Template;
beforeAll(async () => {
  [plain, full] = await Promise.all([partsOf(), partsOf(everything)]);
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

  test('a release names the same rights in iam-policy.json', () => {
    const values: Record<string, string> = {
      partition: '${AWS::Partition}',
      region: '${AWS::Region}',
      account: '${AWS::AccountId}',
      secret_name: 'atlas/live-migration',
      function_name: 'atlas-live-migration-dev-getLiveMigration',
    };
    const text = JSON.stringify(iamPolicy());
    const filled = JSON.parse(text.replace(/\$\{(\w+)\}/g, (hole, name: string) => values[name] ?? hole));
    const policies = plain.Resources['FunctionRole']?.Properties['Policies'] as { PolicyDocument: object }[];
    const deployed = JSON.parse(JSON.stringify(policies[0]?.PolicyDocument), (_, value) => value?.['Fn::Sub'] ?? value);
    expect(filled).toEqual(deployed);
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
    expect(secret(statements(await partsOf({ atlasSecretId }), 'FunctionRole'))).toEqual([
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
      const roles = Object.values(template.Resources).filter(({ Type }) => Type.startsWith('AWS::IAM::'));
      expect(roles.map(({ Type }) => Type)).toEqual(Array(4).fill('AWS::IAM::Role'));
      for (const { Properties } of roles) {
        expect(Properties).not.toHaveProperty('ManagedPolicyArns');
        expect(Properties['PermissionsBoundary']).toBe(
          template === full ? everything.permissionsBoundaryArn : undefined,
        );
      }
    }
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
      const eventBusName = 'arn:aws:events:us-east-1:210987654321:event-bus/central';
      const template = await partsOf({ eventBusName });
      for (const role of ['PollLiveMigrationRole', 'RemindOfCutoverRole']) {
        expect(statements(template, role)).toContain(`Allow events:PutEvents on ${eventBusName}`);
      }
      expect(definitionOf(template, 'PollLiveMigration').values).toMatchObject({ EventBusName: eventBusName });
    });
  });
});
