/** The function's role: what it may do, and nothing else. */

const { allow, role } = require('./iam.cjs');

const log = 'arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group';
const functionName = '${self:service}-${sls:stage}-getLiveMigration';

/** The ARN of the secret, as narrow as its id allows: Secrets Manager ends each ARN in six characters of its own. */
function secretArn(id) {
  // The id of a project has 24 characters.
  const pattern = id.replaceAll('{groupId}', '?'.repeat(24));
  // An ARN may be whole or without them; a name that ends like them can't be told from a whole one.
  if (pattern.startsWith('arn:')) return [pattern, `${pattern}-??????`];
  return {
    'Fn::Sub': `arn:\${AWS::Partition}:secretsmanager:\${AWS::Region}:\${AWS::AccountId}:secret:${pattern}-??????`,
  };
}

/** What Lambda needs to put the function into a VPC. The code of the function may not use it. */
function networkInterfaces() {
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
        ArnEquals: {
          'lambda:SourceFunctionArn': {
            'Fn::Sub': `arn:\${AWS::Partition}:lambda:\${AWS::Region}:\${AWS::AccountId}:function:${functionName}`,
          },
        },
      },
    },
  ];
}

/**
 * @param values the deployment's parameters, judged
 * @returns the IAM statements of the function
 */
const statements = ({ atlasSecretId, kmsKeyArn, subnetIds }) => [
  allow('secretsmanager:GetSecretValue', secretArn(atlasSecretId)),
  ...(kmsKeyArn
    ? [
        allow('kms:Decrypt', kmsKeyArn, {
          StringEquals: { 'kms:ViaService': { 'Fn::Sub': 'secretsmanager.${AWS::Region}.${AWS::URLSuffix}' } },
        }),
      ]
    : []),
  // The stack makes the log group.
  allow(['logs:CreateLogStream', 'logs:PutLogEvents'], { 'Fn::Sub': `${log}:/aws/lambda/${functionName}:*` }),
  allow(['xray:PutTraceSegments', 'xray:PutTelemetryRecords'], '*'),
  ...(subnetIds.length > 0 ? networkInterfaces() : []),
];

module.exports = (values) => ({
  Resources: {
    FunctionRole: role({
      principal: 'lambda.amazonaws.com',
      policyName: 'getLiveMigration',
      statements: statements(values),
      permissionsBoundaryArn: values.permissionsBoundaryArn,
    }),
  },
});
