/** The function's role: what it may do, and nothing else. */

import { arn, type Part, type Statement, type Text } from './cloudformation.ts';
import { allow, decryptBy, role } from './iam.ts';
import type { Settings } from './parameters.ts';

/** As osls names it. */
export const functionNameOf = (service: string) => `${service}-getLiveMigration`;

/**
 * Reading the secret and no other. A secret's ARN ends in a hyphen and six characters of Secrets Manager's own; a secret
 * that does not exist is judged by its bare name, and without a right to that it would look like a denied one.
 *
 * @see https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_iam-permissions.html
 */
function mayRead(id: string): Statement[] {
  const read = 'secretsmanager:GetSecretValue';
  // The id of a project has 24 characters.
  const bare = id.replaceAll('{groupId}', '?'.repeat(24));
  const resource = (name: string): Text => (bare.startsWith('arn:') ? name : arn('secretsmanager', `secret:${name}`));
  const whole = resource(`${bare}-??????`);
  // Such a name could be the whole ARN of another secret; an ARN without {groupId} may be meant as a whole one.
  const isMeant = id.startsWith('arn:') && bare === id;
  if (/-[A-Za-z0-9]{6}$/.test(bare) && !isMeant) return [allow(read, whole)];
  const allowed = allow(read, [whole, resource(bare)]);
  // Question marks at the end also match shorter names with their six characters. No project's id has a hyphen there.
  if (!/\?[A-Za-z0-9]{0,6}$/.test(bare)) return [allowed];
  return [allowed, { Effect: 'Deny', Action: read, Resource: resource(`${bare.slice(0, -7)}-${bare.slice(-6)}`) }];
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
const statements = ({ atlasSecretId, kmsKeyArn, subnetIds, tracing }: Settings, functionName: string): Statement[] => [
  ...mayRead(atlasSecretId),
  ...(kmsKeyArn ? [decryptBy('secretsmanager', kmsKeyArn)] : []),
  // The stack makes the log group.
  allow(['logs:CreateLogStream', 'logs:PutLogEvents'], arn('logs', `log-group:/aws/lambda/${functionName}:*`)),
  ...(tracing === 'true' ? [allow(['xray:PutTraceSegments', 'xray:PutTelemetryRecords'], '*')] : []),
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
