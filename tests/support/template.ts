/** The CloudFormation templates that the tests look at, and how they look at them. */

import { defaults, deployment } from '../../deploy/deployment.ts';
import type { packageService } from '../../scripts/package-service.ts';

export type Json = Record<string, unknown>;
export type Template = Awaited<ReturnType<typeof packageService>>['template'];

/** Validates the parameters and derives the parts, as serverless does it, with the defaults for the others. */
export const deploymentWith = (
  parameters: Record<string, string> = {},
  params: object = { default: {} },
  stage = 'dev',
) => {
  const param = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
  const variables: Record<string, string> = {
    'self:provider.region': 'us-east-1',
    'self:service': 'atlas-live-migration',
    'sls:stage': stage,
  };
  return deployment({
    resolveConfigurationProperty: async (path) => (path.join() === 'params' ? params : undefined),
    // Without any, serverless leaves the option out.
    options: param.length > 0 ? { param } : {},
    resolveVariable: async (variable) => {
      if (Object.hasOwn(variables, variable)) return variables[variable];
      const name = variable.slice('param:'.length).split(',')[0] ?? '';
      return { ...defaults, ...parameters }[name];
    },
  });
};

/**
 * What of the template is ours: all but the HTTP API, the function and its log group, which osls makes. It takes
 * milliseconds, and tests/package.test.ts compares it with what is packaged.
 */
export async function partsOf(parameters?: Record<string, string>, stage?: string): Promise<Template> {
  const made = await deploymentWith(parameters, undefined, stage);
  const { api, functionRole, answerTable, waiting, alarms, dashboard } = made;
  const parts: Partial<Template>[] = [api, functionRole, answerTable, waiting, alarms, dashboard];
  return {
    Resources: Object.assign({}, ...parts.map(({ Resources }) => Resources)),
    Outputs: Object.assign({}, ...parts.map(({ Outputs }) => Outputs)),
  };
}

/** With the name of the service and the function around it, 64 characters. */
export const longestStage = 'a'.repeat(26);

/** Values other than the defaults, which bring everything that an HTTP API can have into the template. */
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
  tracing: 'false',
  kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab',
  logsKmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/2345bcde-23bc',
  tableKmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/3456cdef-34cd',
  alarmTopicArn: 'arn:aws:sns:us-east-1:123456789012:alarms',
  eventBusName: 'migrations',
  subnetIds: 'subnet-0a1b,subnet-2c3d',
  securityGroupIds: 'sg-0a1b2c3d',
  httpsProxy: 'http://proxy.example.com:3128',
  noProxy: '.amazonaws.com,example.com',
  runbookUrl: 'https://wiki.example.com/migrations',
  permissionsBoundaryArn: 'arn:aws:iam::123456789012:policy/boundary',
  tags: 'team=data, cost centre=42',
};

/** With IAM and other accounts: a JWT goes with an HTTP API only. */
const { jwtIssuer: _, jwtAudience: __, jwtScopes: ___, corsOrigins: ____, ...withoutJwt } = everything;
/** The stack's own account among them: its identities still need a policy of their own. */
export const accounts = '210987654321,345678901234,123456789012';

/** The forms of the API other than the HTTP API. */
export const otherForms = {
  rest: { api: 'rest' },
  private: { ...withoutJwt, api: 'private', vpcEndpointIds: 'vpce-0a1b,vpce-2c3d', callerAccountIds: accounts },
  none: { api: 'none' },
};

/** The four forms, with everything that each can have. */
export const fullForms = {
  http: everything,
  rest: { ...withoutJwt, api: 'rest', callerAccountIds: accounts },
  private: otherForms.private,
  none: { ...withoutJwt, api: 'none' },
};

export const ofType = (template: Template, type: string) =>
  Object.values(template.Resources).filter((resource) => resource.Type === type);
export const only = (template: Template, type: string) => ofType(template, type)[0]?.Properties as Record<string, Json>;

/** Parts our resources from those that osls adds, of which it says the types. */
export const splitResources = (template: Template, parts: Template) => {
  const isOurs = ([id]: [string, unknown]) => Object.hasOwn(parts.Resources, id);
  const resources = Object.entries(template.Resources);
  const added = resources.filter((resource) => !isOurs(resource)).map(([, { Type }]) => Type);
  return { ours: Object.fromEntries(resources.filter(isOurs)), added: added.toSorted() };
};

/** What may invoke the function, apart from identities with rights of their own. */
export const callersOf = (template: Template) =>
  ofType(template, 'AWS::Lambda::Permission').map(({ Properties }) => JSON.stringify(Properties['SourceArn']));

/** Where a null is, which CloudFormation refuses anywhere. */
export const nullsIn = (value: unknown, path = ''): string[] =>
  value === null
    ? [path]
    : typeof value === 'object'
      ? Object.entries(value).flatMap(([key, item]) => nullsIn(item, `${path}.${key}`))
      : [];

/** The text of a state machine's definition, and what is filled in. */
export const definitionOf = (template: Template, id: string) => {
  const { DefinitionString } = template.Resources[id]?.Properties ?? {};
  const { 'Fn::Sub': substitution } = DefinitionString as { 'Fn::Sub': [string, Record<string, unknown>] };
  return { text: substitution[0], values: substitution[1] };
};
