/** The rights of the function and of the state machines: what each needs, and nothing else. */

import { beforeAll, describe, expect, test } from 'vitest';
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
      expect.stringMatching(/^Allow secretsmanager:GetSecretValue on .*:secret:atlas\/live-migration$/),
    ]);
  });

  test('with a key, it may decrypt with that one for Secrets Manager', () => {
    const all = statements(full, 'FunctionRole');
    expect(all).toContain(`Allow kms:Decrypt on ${everything.kmsKeyArn}`);
    expect(JSON.stringify(full.Resources['FunctionRole'])).toContain(
      '{"StringEquals":{"kms:ViaService":{"Fn::Sub":"secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}}}',
    );
  });

  test('it may write traces only where it is traced', () => {
    expect(statements(full, 'FunctionRole').join()).not.toContain('xray');
  });

  test('it may read and write the items of its table, where it has one, and DynamoDB may decrypt for it', () => {
    const all = statements(full, 'FunctionRole');
    expect(all.filter((one) => one.includes('dynamodb'))).toEqual([
      'Allow dynamodb:GetItem dynamodb:UpdateItem on AnswerTable,Arn',
    ]);
    expect(all.filter((one) => one.includes(everything.tableKmsKeyArn))).toEqual([
      `Allow kms:Decrypt on ${everything.tableKmsKeyArn}`,
    ]);
    expect(JSON.stringify(full.Resources['FunctionRole'])).toContain(
      '{"StringEquals":{"kms:ViaService":{"Fn::Sub":"dynamodb.${AWS::Region}.${AWS::URLSuffix}"},"kms:EncryptionContext:aws:dynamodb:tableName":"atlas-live-migration-dev-answers"}}',
    );
  });

  describe('it may read the secret that is meant, and ask for one that does not exist; it may read no other', () => {
    const arnOf = (name: string) => `arn:aws:secretsmanager:us-east-1:123456789012:secret:${name}`;
    /** As IAM matches and decides. */
    async function judge(atlasSecretId: string) {
      const all = secret(statements(await partsOf({ atlasSecretId }), 'FunctionRole'));
      const rules = all.map((statement) => {
        const [effect, pattern = ''] = statement
          .replace('$AWS::Partition', 'aws')
          .replace('$AWS::Region', 'us-east-1')
          .replace('$AWS::AccountId', '123456789012')
          .split(' secretsmanager:GetSecretValue on ');
        return { effect, pattern: new RegExp(`^${pattern.replaceAll('?', '.')}$`) };
      });
      return (name: string) => {
        const effects = rules.filter(({ pattern }) => pattern.test(arnOf(name))).map(({ effect }) => effect);
        return effects.length > 0 && effects.every((effect) => effect === 'Allow');
      };
    }

    const project = '5f1b2c3d4e5f6a7b8c9d0e1f';
    test.each<{ id: string; yes: string[]; no: string[] }>([
      {
        id: 'atlas/live-migration',
        yes: ['atlas/live-migration-AbCd12', 'atlas/live-migration'],
        no: ['atlas/live-migration-old-AbCd12', 'atlas/live-AbCd12', 'my/atlas/live-migration-AbCd12'],
      },
      {
        id: 'atlas/{groupId}',
        yes: [`atlas/${project}-AbCd12`, `atlas/${project}`],
        // After atlas/, the first has 24 characters, as a project's id has.
        no: [
          'atlas/payments/database-AbCd12',
          'atlas/x-AbCd12',
          `atlas/${project}x-AbCd12`,
          `atlas/${project}/x-AbCd12`,
        ],
      },
      {
        id: 'atlas/{groupId}/key',
        yes: [`atlas/${project}/key-AbCd12`, `atlas/${project}/key`],
        no: [`atlas/${project}-AbCd12`, 'atlas/payments/database-AbCd12', `atlas/${project}/keys-AbCd12`],
      },
      {
        id: '{groupId}key',
        yes: [`${project}key-AbCd12`, `${project}key`],
        no: [`${'x'.repeat(20)}-AbCkey`, `${'x'.repeat(20)}-AbCd12`],
      },
      { id: '{groupId}secret', yes: [`${project}secret`], no: [`${'x'.repeat(23)}-secret`] },
      // Without six more characters, these are secrets with shorter names.
      { id: 'atlas/team-abcdef', yes: ['atlas/team-abcdef-AbCd12'], no: ['atlas/team-abcdef', 'atlas/team-AbCd12'] },
      { id: '{groupId}-abcdef', yes: [`${project}-abcdef-AbCd12`], no: [`${project}-abcdef`, `${project}-AbCd12`] },
    ])('$id', async ({ id, yes, no }) => {
      // An ARN that ends so may be whole.
      const ids = id === 'atlas/team-abcdef' ? [id] : [id, arnOf(id)];
      for (const given of ids) {
        const mayRead = await judge(given);
        for (const name of yes) expect(mayRead(name), `${given}: ${name}`).toBe(true);
        for (const name of no) expect(mayRead(name), `${given}: ${name}`).toBe(false);
      }
    });

    test('an ARN, which may have the six characters of its end', async () => {
      const mayRead = await judge(arnOf('atlas-secret'));
      expect(['atlas-secret', 'atlas-secret-AbCd12', 'atlas', 'atlas-AbCd12'].map(mayRead)).toEqual([
        true,
        true,
        false,
        false,
      ]);
    });
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
    const logs =
      'Allow logs:CreateLogDelivery logs:GetLogDelivery logs:UpdateLogDelivery logs:DeleteLogDelivery logs:ListLogDeliveries logs:PutResourcePolicy logs:DescribeResourcePolicies logs:DescribeLogGroups on *';
    const traces =
      'Allow xray:PutTraceSegments xray:PutTelemetryRecords xray:GetSamplingRules xray:GetSamplingTargets on *';
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
      expect(statements(full, role)).toEqual([...expected, logs]);
      expect(statements(plain, role).slice(-2)).toEqual([logs, traces]);
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
