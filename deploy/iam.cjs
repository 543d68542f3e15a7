/** What the function may do: read its secret, and nothing else. */

/** The ARN of the secret, as narrow as its id allows: Secrets Manager ends each ARN in six characters of its own. */
function secretArn(id) {
  // The id of a project has 24 characters.
  const pattern = id.replaceAll('{groupId}', '?'.repeat(24));
  // An ARN may be whole or without them; a name that ends like them can't be told from a whole one.
  if (pattern.startsWith('arn:')) return [pattern, `${pattern}-??????`];
  const account = [
    'arn:',
    { Ref: 'AWS::Partition' },
    ':secretsmanager:',
    { Ref: 'AWS::Region' },
    ':',
    { Ref: 'AWS::AccountId' },
  ];
  return { 'Fn::Join': ['', [...account, `:secret:${pattern}-??????`]] };
}

/** The IAM statements of the function's role. */
module.exports = ({ atlasSecretId, kmsKeyArn }) => [
  { Effect: 'Allow', Action: 'secretsmanager:GetSecretValue', Resource: secretArn(atlasSecretId) },
  ...(kmsKeyArn ? [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: kmsKeyArn }] : []),
];
