/** The CloudFormation templates that the tests look at, and how they look at them. */

import { packageService } from '../../deploy/package-service.ts';

export type Json = Record<string, unknown>;
export type Template = Awaited<ReturnType<typeof packageService>>['template'];

export const packageWith = async (parameters?: Record<string, string>) => (await packageService(parameters)).template;

/** Each parameter with another value than its default, for an HTTP API. */
export const everything = {
  atlasSecretId: 'atlas/{groupId}/key',
  atlasBaseUrl: 'https://cloud.mongodb.com/api/atlas/v2',
  jwtIssuer: 'https://issuer.example.com',
  jwtAudience: 'one,two',
  jwtScopes: 'migrations/read,admin',
  corsOrigins: 'https://app.example.com, https://other.example.com',
  throttlingRate: '7',
  throttlingBurst: '9',
  freshnessSeconds: '5',
  reservedConcurrency: '5',
  logRetentionDays: '30',
  kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab',
  alarmTopicArn: 'arn:aws:sns:us-east-1:123456789012:alarms',
  eventBusName: 'migrations',
  subnetIds: 'subnet-0a1b,subnet-2c3d',
  securityGroupIds: 'sg-0a1b',
  httpsProxy: 'http://proxy.example.com:3128',
  noProxy: '.amazonaws.com,example.com',
  runbookUrl: 'https://wiki.example.com/migrations',
  permissionsBoundaryArn: 'arn:aws:iam::123456789012:policy/boundary',
  tags: 'team=data, cost centre=42',
};

export const ofType = (template: Template, type: string) =>
  Object.values(template.Resources).filter((resource) => resource.Type === type);
export const only = (template: Template, type: string) => ofType(template, type)[0]?.Properties as Record<string, Json>;

/** The text of a state machine's definition, and what is filled in. */
export const definitionOf = (template: Template, id: string) => {
  const { DefinitionString } = template.Resources[id]?.Properties ?? {};
  const { 'Fn::Sub': substitution } = DefinitionString as { 'Fn::Sub': [string, Record<string, unknown>] };
  return { text: substitution[0], values: substitution[1] };
};
