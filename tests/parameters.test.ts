/** The deployment's parameters: what is wrong with them is named before anything is deployed. */

import { describe, expect, test, vi } from 'vitest';
import NameRegion from '../deploy/name-region.ts';
import type { ParameterName } from '../deploy/parameters.ts';
import { deploymentWith, everything, longestStage } from './support/template.ts';

type Samples = { rule: string; valid: string[]; invalid: string[]; with?: Record<string, string> };
const numbers = (least: number, most: number): Samples => ({
  rule: `must be a whole number from ${least} to ${most}`,
  valid: [`${least}`, `${most}`],
  invalid: [`${least - 1}`, `${most + 1}`, `${least}.5`, `${least}x`, 'x'],
});
const kmsKey: Samples = {
  rule: 'must be the ARN of a KMS key (…:key/…), not of an alias',
  valid: [
    '',
    'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab',
    'arn:aws-cn:kms:us-east-1:123456789012:key/mrk-1',
  ],
  invalid: [
    'alias/key',
    'xarn:aws:kms:us-east-1:123456789012:key/a',
    'arn:aws:kms:us-east-1:123456789012:key/a!',
    'arn:aws:kms:us-east-1:123456789012:alias/a',
    'arn:aws:kms:us-east-1:12345678901:key/a',
    'arn:aws:kms:us-east-1:12345678901x:key/a',
    'arn:a!:kms:us-east-1:123456789012:key/a',
    'arn:aws:kms:us!:123456789012:key/a',
  ],
};
const many = (count: number) => Array.from({ length: count }, (_, at) => `x${at}`).join();
const needsPrivate = { api: 'private' };
const needsJwt = { jwtIssuer: 'https://issuer.example.com', jwtAudience: 'one' };

/** Of each parameter: its rule as the message says it, values that it takes, and values that it refuses. */
const samples: Record<ParameterName, Samples> = {
  // tests/ca-file.test.ts has the faults of a file.
  caFile: { rule: 'names no-such.pem, and there is no such file', valid: [''], invalid: ['no-such.pem'] },
  atlasSecretId: {
    rule: 'must be the name or ARN of a secret',
    valid: [
      '{groupId}',
      'atlas/{groupId}/key_1+=.@-',
      'arn:aws-us-gov:secretsmanager:us-east-1:123456789012:secret:atlas/x',
    ],
    invalid: [
      'a b',
      'atlas/{projectId}',
      'arn:aws:secretsmanager:us-east-1:12345678901:secret:x',
      'arn:aws:secretsmanager:us-east-1:secret:x',
      'arn:a!:secretsmanager:us-east-1:123456789012:secret:x',
      'arn:aws:secretsmanager:us!:123456789012:secret:x',
      'arn:aws:secretsmanager:us-east-1:12345678901x:secret:x',
      'x'.repeat(513),
    ],
  },
  atlasBaseUrl: {
    rule: 'must be an https URL',
    valid: ['', 'https://cloud.mongodb.com/api/atlas/v2'],
    invalid: [
      'http://cloud.mongodb.com/api/atlas/v2',
      'http://localhost/v2',
      'https:cloud.mongodb.com',
      'https://a/?b=c',
    ],
  },
  api: {
    rule: 'must be http, rest, private or none',
    valid: ['http', 'rest', 'none'],
    invalid: ['', 'HTTP', 'graphql', 'constructor'],
  },
  vpcEndpointIds: {
    rule: 'must be ids of at most 50 VPC endpoints',
    valid: ['vpce-0a1b', 'vpce-0a1b,vpce-2c3d'],
    invalid: [many(51).replaceAll('x', 'vpce-'), 'vpc-1', 'xvpce-1', 'vpce-1!', 'vpce-x', 'vpce-1,x'],
    with: needsPrivate,
  },
  callerAccountIds: {
    rule: 'must be ids of at most 100 AWS accounts',
    valid: ['210987654321', '210987654321, 345678901234'],
    invalid: [
      many(101).replace(/x(\d+)/g, (_, at) => at.padStart(12, '0')),
      '21098765432',
      '2109876543210',
      '21098765432x',
      '210987654321,x',
    ],
    with: { api: 'rest' },
  },
  jwtIssuer: {
    rule: 'must be an https URL',
    valid: ['https://issuer.example.com'],
    invalid: [
      'http://i.example.com',
      'https:i.example.com',
      'https://',
      'https://u@i.example.com',
      'https://i/?a',
      'https://i/#a',
    ],
    with: needsJwt,
  },
  jwtAudience: {
    rule: 'must be at most 50 audiences',
    valid: ['one', 'one,two', 'https://api.example.com', many(50)],
    invalid: [many(51)],
    with: needsJwt,
  },
  jwtScopes: {
    rule: 'must be at most 10 OAuth scopes',
    valid: ['migrations/read', 'a,b', many(10)],
    invalid: [many(11), 'a b', 'a"b', 'a\\b', 'a,\u00fc'],
    with: needsJwt,
  },
  corsOrigins: {
    rule: 'must be origins such as https://app.example.com',
    valid: ['', 'https://app.example.com', 'http://localhost:8080,https://a.example.com'],
    invalid: [
      '*',
      'https://*',
      'https://*.example.com',
      'ftp://app.example.com',
      'app.example.com',
      'https://app.example.com/',
      'https://app.example.com/page',
    ],
  },
  throttlingRate: numbers(1, 10_000),
  throttlingBurst: numbers(1, 5000),
  freshnessSeconds: numbers(0, 60),
  reservedConcurrency: numbers(1, 1000),
  logRetentionDays: { rule: 'must be one of 1, 3, 5', valid: ['1', '3653'], invalid: ['', '2', '0'] },
  tracing: { rule: 'must be true or false', valid: ['true', 'false'], invalid: ['', 'True', 'yes', '0'] },
  kmsKeyArn: kmsKey,
  logsKmsKeyArn: kmsKey,
  tableKmsKeyArn: { ...kmsKey, with: { freshnessSeconds: '5' } },
  permissionsBoundaryArn: {
    rule: 'must be the ARN of an IAM policy',
    valid: ['', 'arn:aws:iam::123456789012:policy/path/boundary', 'arn:aws-us-gov:iam::aws:policy/PowerUserAccess'],
    invalid: [
      'boundary',
      'xarn:aws:iam::123456789012:policy/b',
      'arn:aws:iam::123456789012:policy/b!',
      'arn:aws:iam::12345678901:policy/b',
      'arn:aws:iam::12345678901x:policy/b',
      'arn:a!:iam::123456789012:policy/b',
      'arn:aws:iam::123456789012:role/b',
    ],
  },
  tags: {
    rule: 'must be at most 49 pairs with different names, such as team=data',
    valid: [
      '',
      'team=data',
      'Kosten Stelle:1=\u00e4=b, other=',
      `${'n'.repeat(128)}=${'v'.repeat(256)}`,
      Array.from({ length: 49 }, (_, at) => `t${at}=x`).join(),
    ],
    invalid: [
      'team',
      'a=1,team',
      'aws:team=data',
      'AWS:team=data',
      'te!am=data',
      'team=da!ta',
      'Team=a,team=b',
      `${'n'.repeat(129)}=v`,
      `n=${'v'.repeat(257)}`,
      Array.from({ length: 50 }, (_, at) => `t${at}=x`).join(),
      'team=a,team =b',
    ],
  },
  alarmTopicArn: {
    rule: 'must be the ARN of an SNS topic',
    valid: ['', 'arn:aws:sns:us-east-1:123456789012:alarms', 'arn:aws-cn:sns:us-east-1:123456789012:a_b-c'],
    invalid: [
      'alarms',
      'xarn:aws:sns:us-east-1:123456789012:t',
      'arn:aws:sns:us-east-1:123456789012:t!',
      'arn:aws:sns:us-east-1:123456789012:t:subscription',
      'arn:aws:sns:us-east-1:12345678901:t',
      'arn:aws:sns:us-east-1:12345678901x:t',
      'arn:a!:sns:us-east-1:123456789012:t',
      'arn:aws:sns:us!:123456789012:t',
    ],
  },
  runbookUrl: {
    rule: 'must be an https URL of at most 500 characters',
    valid: ['', 'https://wiki.example.com/m'],
    invalid: [`https://${'a'.repeat(500)}`, 'wiki.example.com', 'http://wiki.example.com'],
  },
  eventBusName: {
    rule: 'must be the name or ARN of an EventBridge bus',
    valid: ['default', 'team/bus_1.x-y', 'b'.repeat(256), 'arn:aws-cn:events:us-east-1:210987654321:event-bus/central'],
    invalid: [
      '',
      'my bus',
      'b'.repeat(257),
      'arn:aws:sns:eu-west-1:123456789012:bus',
      'arn:aws:events:eu-west-1:12345678901:event-bus/b',
      'arn:aws:events:eu-west-1:12345678901x:event-bus/b',
      'arn:a!:events:eu-west-1:123456789012:event-bus/b',
      'arn:aws:events:eu!:123456789012:event-bus/b',
    ],
  },
  subnetIds: {
    rule: 'must be ids of at most 16 subnets',
    valid: ['subnet-0a1b', 'subnet-0a1b,subnet-2c3d'],
    invalid: [many(17).replaceAll('x', 'subnet-'), 'vpc-1', 'xsubnet-1', 'subnet-1!', 'subnet-x', 'subnet-1,x'],
    with: { securityGroupIds: 'sg-1' },
  },
  securityGroupIds: {
    rule: 'must be ids of at most 5 security groups',
    valid: ['sg-0a1b', 'sg-0a1b,sg-2c3d', many(5).replaceAll('x', 'sg-')],
    invalid: [many(6).replaceAll('x', 'sg-'), 'vpc-1', 'xsg-1', 'sg-1!', 'sg-x', 'sg-1,x'],
    with: { subnetIds: 'subnet-1' },
  },
  httpsProxy: {
    rule: 'must be an http or https URL such as',
    valid: ['', 'http://user:p%40ss@proxy.example.com:3128'],
    invalid: ['proxy.example.com:3128', 'socks://p'],
  },
  noProxy: {
    rule: 'must be names of hosts or domains',
    valid: ['', '.amazonaws.com, example.com:443,10.0.0.0-10.255.255.255,[::1],*', '10.0.0.0/8,example.com'],
    invalid: ['https://example.com/', 'a;b'],
  },
};

describe.each(Object.entries(samples))('%s', (name, { rule, valid, invalid, with: others }) => {
  test.each(valid)('takes "%s"', async (value) => {
    await expect(deploymentWith({ ...others, [name]: value })).resolves.toMatchObject({ events: expect.any(Array) });
  });
  test.each(invalid)('refuses "%s"', async (value) => {
    await expect(deploymentWith({ ...others, [name]: value })).rejects.toThrow(`: ${name} ${rule}`);
  });
});

test('what is deployed follows from them', async () => {
  const tags = 'team = data, note=a=b';
  const tagList = [
    { Key: 'team', Value: 'data' },
    { Key: 'note', Value: 'a=b' },
  ];
  const plain = await deploymentWith({});
  expect(plain).toMatchObject({
    events: [{ httpApi: { authorizer: { type: 'aws_iam' } } }],
    logs: { httpApi: { format: expect.stringContaining('$context.requestId') } },
    vpc: null,
    reservedConcurrency: null,
    logRetentionInDays: 90,
    tracing: true,
  });
  expect(plain.functionLogGroup).toEqual({ Tags: [] });
  expect(plain.tags).toEqual({});
  expect(plain.alarms.Resources?.['ThrottlesAlarm']?.Properties).not.toHaveProperty('Tags');
  const full = await deploymentWith({ ...everything, tags });
  expect(full).toMatchObject({
    events: [{ httpApi: { authorizer: { name: 'jwt', scopes: ['migrations/read', 'admin'] } } }],
    httpApi: {
      cors: { allowedOrigins: ['https://app.example.com', 'https://other.example.com'] },
      authorizers: { jwt: { issuerUrl: 'https://issuer.example.com', audience: ['one', 'two'] } },
    },
    tags: { team: 'data', note: 'a=b' },
    tagList,
    vpc: { subnetIds: ['subnet-0a1b', 'subnet-2c3d'], securityGroupIds: ['sg-0a1b2c3d'] },
    reservedConcurrency: 5,
    logRetentionInDays: 30,
    tracing: false,
    functionLogGroup: { Tags: tagList, KmsKeyId: everything.logsKmsKeyArn },
  });
  expect(full.alarms.Resources?.['ThrottlesAlarm']?.Properties['Tags']).toEqual(tagList);
  const { api } = await deploymentWith({
    api: 'private',
    vpcEndpointIds: 'vpce-1,vpce-2',
    callerAccountIds: '210987654321, 345678901234',
    tags,
  });
  const { RestApi, ...others } = api.Resources ?? {};
  expect(RestApi?.Properties).toMatchObject({
    Tags: tagList,
    EndpointConfiguration: { VpcEndpointIds: ['vpce-1', 'vpce-2'] },
    Policy: { Statement: [{}, { Principal: { AWS: [{}, {}] } }] },
  });
  const tagged = Object.values(others).filter(({ Properties }) => 'Tags' in Properties);
  expect(tagged.map(({ Type }) => Type).toSorted()).toEqual(['AWS::ApiGateway::Stage', 'AWS::Logs::LogGroup']);
  expect(await deploymentWith({ api: 'none' })).toMatchObject({ events: [], api: {} });
});

describe('parameters that are wrong are named before anything is deployed', () => {
  test.each<[Record<string, string>, string]>([
    [{ jwtIssuer: 'https://issuer.example.com', jwtAudience: ',' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ subnetIds: 'subnet-1', securityGroupIds: ',' }, 'subnetIds and securityGroupIds are needed together'],
    [{ jwtIssuer: 'https://issuer.example.com' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ subnetIds: 'subnet-1' }, 'subnetIds and securityGroupIds are needed together'],
    [{ secretId: 'x' }, 'there is no parameter secretId'],
    [{ constructor: 'x' }, 'there is no parameter constructor'],
    [{ eventBusName: 'arn:aws:events:eu-west-1:210987654321:event-bus/b' }, 'eventBusName is in eu-west-1'],
    [
      { noProxy: 'a.example.com,'.repeat(264) },
      'atlasSecretId, atlasBaseUrl, httpsProxy, noProxy have 3716 characters together, of which Lambda takes 3700',
    ],
    [{ api: 'private' }, 'api private needs vpcEndpointIds'],
    [{ vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'rest', vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'rest', jwtIssuer: 'https://issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer needs api http'],
    [{ api: 'private', vpcEndpointIds: 'vpce-1', corsOrigins: 'https://a.example.com' }, 'corsOrigins needs api http'],
    [{ api: 'none', jwtScopes: 'read' }, 'jwtScopes needs api http'],
    [{ jwtScopes: 'read' }, 'jwtScopes need jwtIssuer'],
    [{ callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ api: 'none', callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:t' }, 'alarmTopicArn is in eu-west-1'],
    [{ kmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/a' }, 'kmsKeyArn is in eu-west-1'],
    [{ logsKmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/a' }, 'logsKmsKeyArn is in eu-west-1'],
    [
      { tableKmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/a', freshnessSeconds: '5' },
      'tableKmsKeyArn is in eu-west-1',
    ],
    [{ tableKmsKeyArn: everything.tableKmsKeyArn }, 'tableKmsKeyArn needs freshnessSeconds above 0'],
    [
      { atlasSecretId: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:x' },
      'atlasSecretId is in eu-west-1, and the deployment in us-east-1',
    ],
  ])('%j', async (parameters, message) => {
    await expect(deploymentWith(parameters)).rejects.toThrow(message);
  });

  test('also where a wrong value stands under another stage, and variables of serverless are left to it', async () => {
    await expect(
      deploymentWith({}, { prod: { subnetIds: 'nonsense', api: '${env:API}', throttlingRate: 5 } }),
    ).rejects.toThrow('under prod, subnetIds must be ids of at most 16 subnets, comma-separated.');
    await expect(
      deploymentWith({}, { prod: { api: '${env:API}', throttlingRate: 5, runbookUrl: null } }),
    ).resolves.toMatchObject({ events: expect.any(Array) });
  });

  test('each of them once, also where the wrong value is of the stage that is deployed', async () => {
    await expect(deploymentWith({ api: 'x', tags: 'y' }, { dev: { api: 'x' } })).rejects.toThrow(
      /^the parameters are not valid: api must be http, rest, private or none; tags must be [^;]+\.$/,
    );
  });

  test('a stage whose function would have a name that is too long', async () => {
    await expect(deploymentWith({}, {}, longestStage)).resolves.toMatchObject({ events: [{}] });
    await expect(deploymentWith({}, {}, `${longestStage}a`)).rejects.toThrow('the stage is too long: ');
  });

  test('blanks around a value and doubles in a list do not count', async () => {
    const stages = { prod: { api: ' rest ' } };
    const { httpApi } = await deploymentWith({ jwtIssuer: ' https://issuer.example.com', jwtAudience: 'a, a' }, stages);
    const jwt = { issuerUrl: 'https://issuer.example.com', audience: ['a'] };
    expect(httpApi).toMatchObject({ authorizers: { jwt } });
  });

  test('also where an unknown name stands in serverless.yml, under any stage', async () => {
    await expect(deploymentWith({}, { default: {}, prod: { subnetIDs: 'subnet-1' }, other: null })).rejects.toThrow(
      'there is no parameter subnetIDs',
    );
  });
});

test('a CIDR block in noProxy is a warning, with what to write instead', async () => {
  const { warnings } = await deploymentWith({ noProxy: '.corp.example.com, 10.0.0.0/8' });
  expect(warnings).toEqual([
    'noProxy has the CIDR block 10.0.0.0/8, which is ignored: Node.js knows only ranges, such as 10.0.0.0-10.255.255.255.',
  ]);
  expect((await deploymentWith({ noProxy: '10.0.0.0-10.255.255.255,[fd00::]:443' })).warnings).toEqual([]);
});

describe('a command that changes a stack names the region', () => {
  class Refused extends Error {}
  const run = (command: string, options = {}) => {
    const serverless = { processedInput: { commands: [command] }, classes: { Error: Refused } };
    return () => new NameRegion(serverless, options).hooks.initialize();
  };

  test.each(['deploy', 'rollback', 'remove'])('%s', (command) => {
    vi.stubEnv('AWS_REGION', undefined);
    expect(run(command)).toThrow(
      new Refused('Name the region: set AWS_REGION, or add --region. The secret must be in the same region.'),
    );
    expect(run(command, { region: 'us-east-1' })).not.toThrow();
    expect(run('package')).not.toThrow();
    vi.stubEnv('AWS_REGION', 'us-east-1');
    expect(run(command)).not.toThrow();
  });
});
