/**
 * Judges the deployment's parameters, all at once and before anything is deployed, and makes of them the parts of
 * serverless.yml that depend on them. What each parameter means stands in serverless.yml.
 */

const names = [
  'atlasSecretId',
  'atlasBaseUrl',
  'jwtIssuer',
  'jwtAudience',
  'corsOrigins',
  'throttlingRate',
  'throttlingBurst',
  'reservedConcurrency',
  'logRetentionDays',
  'kmsKeyArn',
  'alarmTopicArn',
  'eventBusName',
  'subnetIds',
  'securityGroupIds',
];

/** What CloudWatch Logs accepts as a retention. */
const retentions = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

const list = (text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
const isFilled = (text) => list(text).length > 0;
const isWholeNumber = (text, least, most) => /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;
const isHttps = (text) => URL.canParse(text) && new URL(text).protocol === 'https:';

/** An origin as browsers send it. */
const isOrigin = (text) => URL.canParse(text) && new URL(text).origin === text;

/** Names everything that is wrong. */
async function findProblems(parameters, given) {
  const { readBaseUrl, baseUrlRule } = await import('../lib/atlas/base-url.ts');
  const problems = [];
  const check = (name, isGood, rule) => {
    if (!isGood(parameters[name])) problems.push(`${name} ${rule}`);
  };
  const optional = (isGood) => (text) => text === '' || isGood(text);
  const each = (isGood) => (text) => list(text).every(isGood);

  for (const name of given) if (!names.includes(name)) problems.push(`there is no parameter ${name}`);
  check(
    'atlasSecretId',
    (text) => /^(arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:)?[\w/+=.@-]+$/.test(text.replaceAll('{groupId}', 'g')),
    'must be the name or ARN of a secret; {groupId} in it stands for the project',
  );
  check(
    'atlasBaseUrl',
    optional((text) => isHttps(text) && readBaseUrl(text) !== undefined),
    baseUrlRule,
  );
  check('jwtIssuer', optional(isHttps), 'must be an https URL');
  if (Boolean(parameters.jwtIssuer) !== isFilled(parameters.jwtAudience)) {
    problems.push('jwtIssuer and jwtAudience are needed together');
  }
  check('corsOrigins', each(isOrigin), 'must be origins such as https://app.example.com, parted by commas');
  check('throttlingRate', (text) => isWholeNumber(text, 1, 10_000), 'must be a whole number from 1 to 10000');
  check('throttlingBurst', (text) => isWholeNumber(text, 1, 5000), 'must be a whole number from 1 to 5000');
  check(
    'reservedConcurrency',
    optional((text) => isWholeNumber(text, 1, 1000)),
    'must be a whole number from 1 to 1000',
  );
  check('logRetentionDays', (text) => retentions.includes(Number(text)), `must be one of ${retentions.join(', ')}`);
  check(
    'kmsKeyArn',
    optional((text) => /^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/.test(text)),
    'must be the ARN of a KMS key',
  );
  check(
    'alarmTopicArn',
    optional((text) => /^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$/.test(text)),
    'must be the ARN of an SNS topic',
  );
  check('eventBusName', (text) => /^[\w./-]{1,256}$/.test(text), 'must be the name of an EventBridge bus');
  check(
    'subnetIds',
    each((id) => /^subnet-[0-9a-f]+$/.test(id)),
    'must be ids of subnets, parted by commas',
  );
  check(
    'securityGroupIds',
    each((id) => /^sg-[0-9a-f]+$/.test(id)),
    'must be ids of security groups, parted by commas',
  );
  if (isFilled(parameters.subnetIds) !== isFilled(parameters.securityGroupIds)) {
    problems.push('subnetIds and securityGroupIds are needed together');
  }
  return problems;
}

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

module.exports = async ({ options, resolveVariable }) => {
  const parameters = {};
  for (const name of names) parameters[name] = String(await resolveVariable(`param:${name}, ''`));
  const given = [options.param ?? []].flat().map((pair) => pair.split('=')[0]);

  const problems = await findProblems(parameters, given);
  if (problems.length > 0) {
    const error = new Error(`the parameters are not valid: ${problems.join('; ')}.`);
    // osls prints the stack, which says nothing to the reader.
    error.stack = error.message;
    throw error;
  }

  const {
    jwtIssuer,
    jwtAudience,
    corsOrigins,
    subnetIds,
    securityGroupIds,
    kmsKeyArn,
    alarmTopicArn,
    reservedConcurrency,
  } = parameters;
  return {
    httpApi: {
      ...(isFilled(corsOrigins)
        ? {
            cors: {
              allowedOrigins: list(corsOrigins),
              allowedMethods: ['GET'],
              allowedHeaders: ['authorization', 'x-amz-date', 'x-amz-security-token'],
            },
          }
        : {}),
      ...(jwtIssuer
        ? {
            authorizers: {
              jwt: {
                type: 'jwt',
                identitySource: '$request.header.Authorization',
                issuerUrl: jwtIssuer,
                audience: list(jwtAudience),
              },
            },
          }
        : {}),
    },
    authorizer: jwtIssuer ? { name: 'jwt' } : { type: 'aws_iam' },
    vpc: isFilled(subnetIds) ? { subnetIds: list(subnetIds), securityGroupIds: list(securityGroupIds) } : null,
    reservedConcurrency: reservedConcurrency ? Number(reservedConcurrency) : null,
    statements: [
      { Effect: 'Allow', Action: 'secretsmanager:GetSecretValue', Resource: secretArn(parameters.atlasSecretId) },
      ...(kmsKeyArn ? [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: kmsKeyArn }] : []),
    ],
    alarmActions: alarmTopicArn ? [alarmTopicArn] : [],
    logRetentionInDays: Number(parameters.logRetentionDays),
    throttling: {
      ThrottlingRateLimit: Number(parameters.throttlingRate),
      ThrottlingBurstLimit: Number(parameters.throttlingBurst),
    },
  };
};
