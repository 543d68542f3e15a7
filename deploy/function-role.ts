/** The function's role: what it may do, and nothing else. */

import { arn, type Part, type Statement, type Text } from './cloudformation.ts';
import { allow, role } from './iam.ts';
import type { Settings } from './parameters.ts';

/** As osls names it. */
export const functionNameOf = (service: string) => `${service}-getLiveMigration`;

/** The ARN of the secret, as narrow as its id allows: Secrets Manager ends each ARN in six characters of its own. */
function secretArn(id: string): Text | Text[] {
  // The id of a project has 24 characters.
  const pattern = id.replaceAll('{groupId}', '?'.repeat(24));
  // An ARN may be whole or without them; a name that ends like them can't be told from a whole one.
  if (pattern.startsWith('arn:')) return [pattern, `${pattern}-??????`];
  return arn('secretsmanager', `secret:${pattern}-??????`);
}

/** What Lambda needs to put the function into a VPC. The code of the function may not use it. */
function networkInterfaces(functionName: string): Statement[] {
  const actions = [
    ...['ec2:CreateNetworkInterface', 'ec2:DescribeNetworkInterfaces', 'ec2:DescribeSubnets'],
    ...['ec2:DeleteNetworkInterface', 'ec2:AssignPrivateIpAddresses', 'ec2:UnassignPrivateIpAddresses'],
  ];
  return [
    allow(actions, '*'),
    {
      Effect: 'Deny',
      Action: actions,
      Resource: '*',
      Condition: {
        ArnEquals: { 'lambda:SourceFunctionArn': arn('lambda', `function:${functionName}`) },
      },
    },
  ];
}

/** The IAM statements of the function. */
const statements = (
  { atlasSecretId, kmsKeyArn, subnetIds }: Pick<Settings, 'atlasSecretId' | 'kmsKeyArn' | 'subnetIds'>,
  functionName: string,
): Statement[] => [
  allow('secretsmanager:GetSecretValue', secretArn(atlasSecretId)),
  ...(kmsKeyArn
    ? [
        allow('kms:Decrypt', kmsKeyArn, {
          StringEquals: { 'kms:ViaService': { 'Fn::Sub': 'secretsmanager.${AWS::Region}.${AWS::URLSuffix}' } },
        }),
      ]
    : []),
  // The stack makes the log group.
  allow(['logs:CreateLogStream', 'logs:PutLogEvents'], arn('logs', `log-group:/aws/lambda/${functionName}:*`)),
  allow(['xray:PutTraceSegments', 'xray:PutTelemetryRecords'], '*'),
  ...(subnetIds.length > 0 ? networkInterfaces(functionName) : []),
];

/**
 * @param settings the parameters and names of the deployment
 * @param more rights that other parts of the deployment give the function
 */
export const functionRole = (settings: Settings, more: Statement[]): Part => ({
  Resources: {
    FunctionRole: role({
      principal: 'lambda.amazonaws.com',
      policyName: 'getLiveMigration',
      statements: [...statements(settings, functionNameOf(settings.service)), ...more],
      permissionsBoundaryArn: settings.permissionsBoundaryArn,
    }),
  },
});

/** What the function may do, as a file for other tools: they fill in partition, region, account, function and secret. */
export function iamPolicy() {
  const names: Record<string, string> = {
    'AWS::Partition': '${partition}',
    'AWS::Region': '${region}',
    'AWS::AccountId': '${account}',
  };
  const fill = (text: string) => text.replace(/\$\{([\w:]+)\}/g, (hole, name: string) => names[name] ?? hole);
  const own = statements({ atlasSecretId: '${secret_name}', kmsKeyArn: '', subnetIds: [] }, '${function_name}');
  const Statement = own.map(({ Resource, ...rest }) => ({
    ...rest,
    Resource: typeof Resource === 'object' && 'Fn::Sub' in Resource ? fill(Resource['Fn::Sub']) : Resource,
  }));
  return { Version: '2012-10-17', Statement };
}
