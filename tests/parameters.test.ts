/** The deployment's parameters: what is wrong with them is named before anything is deployed. */

import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { packageService } from '../deploy/package-service.ts';

const root = join(import.meta.dirname, '..');

describe('parameters that are wrong are named before anything is deployed', () => {
  /** Judges the parameters as serverless does, with the defaults for the others. */
  const judge = (parameters: Record<string, string>, params: object = { default: {} }) => {
    const { defaults, deployment } = createRequire(import.meta.url)('../deploy/parameters.cjs');
    return deployment({
      resolveConfigurationProperty: async () => params,
      options: { param: Object.entries(parameters).map(([name, value]) => `${name}=${value}`) },
      resolveVariable: async (variable: string) => {
        if (variable === 'self:provider.region') return 'us-east-1';
        const name = variable.slice('param:'.length).split(',')[0] ?? '';
        return { ...defaults, ...parameters }[name];
      },
    });
  };

  test('the defaults are not', async () => {
    expect(await judge({})).toMatchObject({ events: [{ httpApi: { authorizer: { type: 'aws_iam' } } }] });
  });

  test.each<[Record<string, string>, string]>([
    [{ atlasSecretId: 'a b' }, 'atlasSecretId must be the name or ARN of a secret'],
    [{ atlasSecretId: 'atlas/{projectId}' }, 'atlasSecretId must be'],
    [{ atlasBaseUrl: 'http://cloud.mongodb.com' }, 'atlasBaseUrl must be an https URL'],
    [{ jwtIssuer: 'http://issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer must be an https URL'],
    [{ atlasBaseUrl: 'http://localhost/v2' }, 'atlasBaseUrl must be an https URL'],
    [{ jwtIssuer: 'https://issuer.example.com', jwtAudience: ',' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ subnetIds: 'subnet-1', securityGroupIds: ',' }, 'subnetIds and securityGroupIds are needed together'],
    [{ jwtIssuer: 'https://issuer.example.com' }, 'jwtIssuer and jwtAudience are needed together'],
    [{ corsOrigins: '*' }, 'corsOrigins must be origins such as https://app.example.com'],
    [{ throttlingRate: '0' }, 'throttlingRate must be a whole number from 1 to 10000'],
    [{ throttlingBurst: 'many' }, 'throttlingBurst must be a whole number'],
    [{ freshnessSeconds: '61' }, 'freshnessSeconds must be a whole number from 0 to 60'],
    [{ freshnessSeconds: '2.5' }, 'freshnessSeconds must be a whole number from 0 to 60'],
    [{ reservedConcurrency: '0' }, 'reservedConcurrency must be a whole number from 1 to 1000'],
    [{ logRetentionDays: '2' }, 'logRetentionDays must be one of 1, 3, 5'],
    [{ kmsKeyArn: 'alias/key' }, 'kmsKeyArn must be the ARN of a KMS key'],
    [{ alarmTopicArn: 'alarms' }, 'alarmTopicArn must be the ARN of an SNS topic'],
    [{ eventBusName: 'my bus' }, 'eventBusName must be the name or ARN of an EventBridge bus'],
    [{ eventBusName: 'arn:aws:sns:eu-west-1:123456789012:bus' }, 'eventBusName must be the name or ARN'],
    [{ subnetIds: 'subnet-1' }, 'subnetIds and securityGroupIds are needed together'],
    [{ subnetIds: 'vpc-1', securityGroupIds: 'sg-1' }, 'subnetIds must be ids of subnets'],
    [{ httpsProxy: 'proxy.example.com:3128' }, 'httpsProxy must be an http or https URL such as'],
    [{ runbookUrl: 'wiki.example.com' }, 'runbookUrl must be an https URL'],
    [{ noProxy: 'https://example.com/' }, 'noProxy must be names of hosts or domains'],
    [{ noProxy: 'a;b' }, 'noProxy must be names of hosts or domains'],
    [{ secretId: 'x' }, 'there is no parameter secretId'],
    [{ api: 'graphql' }, 'api must be http, rest, private or none'],
    [{ api: 'private' }, 'api private needs vpcEndpointIds'],
    [{ vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'rest', vpcEndpointIds: 'vpce-1' }, 'vpcEndpointIds need api private'],
    [{ api: 'private', vpcEndpointIds: 'vpc-1' }, 'vpcEndpointIds must be ids of VPC endpoints'],
    [{ api: 'rest', jwtIssuer: 'https://issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer needs api http'],
    [{ api: 'private', vpcEndpointIds: 'vpce-1', corsOrigins: 'https://a.example.com' }, 'corsOrigins needs api http'],
    [{ api: 'none', jwtScopes: 'read' }, 'jwtScopes needs api http'],
    [{ jwtScopes: 'read' }, 'jwtScopes need jwtIssuer'],
    [{ callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ api: 'none', callerAccountIds: '210987654321' }, 'callerAccountIds need api rest or private'],
    [{ api: 'rest', callerAccountIds: '21098765432' }, 'callerAccountIds must be ids of AWS accounts'],
    [{ permissionsBoundaryArn: 'boundary' }, 'permissionsBoundaryArn must be the ARN of an IAM policy'],
    [{ tags: 'team' }, 'such as team=data'],
    [{ tags: 'AWS:team=data' }, 'tags must be at most 50 pairs'],
    [{ tags: 'Team=a,team=b' }, 'tags must be at most 50 pairs'],
    [{ tags: Array.from({ length: 51 }, (_, at) => `t${at}=x`).join() }, 'tags must be at most 50 pairs'],
    [{ jwtIssuer: 'https:issuer.example.com', jwtAudience: 'a' }, 'jwtIssuer must be an https URL'],
    [{ alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:t' }, 'alarmTopicArn is in eu-west-1'],
    [{ kmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/a' }, 'kmsKeyArn is in eu-west-1'],
    [
      { atlasSecretId: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:x' },
      'atlasSecretId is in eu-west-1, and the deployment in us-east-1',
    ],
  ])('%j', async (parameters, message) => {
    await expect(judge(parameters)).rejects.toThrow(message);
  });

  test('also where a wrong value stands under another stage, and variables of serverless are left to it', async () => {
    await expect(judge({}, { prod: { subnetIds: 'nonsense', api: '${env:API}', throttlingRate: 5 } })).rejects.toThrow(
      'under prod, subnetIds must be ids of subnets, comma-separated.',
    );
    await expect(
      judge({}, { prod: { api: '${env:API}', throttlingRate: 5, runbookUrl: null } }),
    ).resolves.toBeDefined();
  });

  test('blanks around a value and doubles in a list do not count', async () => {
    const { httpApi } = await judge({ jwtIssuer: ' https://issuer.example.com', jwtAudience: 'a, a' });
    expect(httpApi.authorizers.jwt).toMatchObject({ issuerUrl: 'https://issuer.example.com', audience: ['a'] });
  });

  test('also where an unknown name stands in serverless.yml, under any stage', async () => {
    await expect(judge({}, { default: {}, prod: { subnetIDs: 'subnet-1' }, other: null })).rejects.toThrow(
      'there is no parameter subnetIDs',
    );
  });

  test.each(['deploy', 'rollback', 'remove'])('%s is refused where no region is named', async (command) => {
    const { AWS_REGION: _, ...env } = process.env;
    const serverless = join(root, 'node_modules/.bin/serverless');
    const { stdout, stderr } = await promisify(execFile)(serverless, [command], { cwd: root, env }).then(
      () => ({ stdout: '', stderr: '' }),
      (error: { stdout: string; stderr: string }) => error,
    );
    expect(stdout + stderr).toContain('Name the region: set AWS_REGION');
  });

  test('all of them at once, in one message, by serverless itself', async () => {
    const wrong = { logRetentionDays: '2', corsOrigins: '*', kmsKeyArn: 'x', nonsense: '1' };
    const { stdout, stderr } = await packageService(wrong).then(
      () => ({ stdout: '', stderr: '' }),
      (error: { stdout: string; stderr: string }) => error,
    );
    for (const name of Object.keys(wrong)) expect((stdout + stderr).split(name)).toHaveLength(2);
  });
});
