// @ts-nocheck
/**
 * Validates the deployment's parameters together, before anything is deployed, and derives the parts of
 * serverless.yml that depend on them. A new parameter needs its entry in the table here, and nothing else.
 */

import { baseUrlRule, readBaseUrl } from '../lib/atlas/base-url.ts';
import { proxyRule, readProxy } from '../lib/proxy.ts';
import { alarms } from './alarms.ts';
import { answerTable } from './answer-table.ts';
import { dashboard } from './dashboard.ts';
import { functionRole } from './function-role.ts';
import { httpApi } from './http-api.ts';
import { restApi } from './rest-api.ts';
import { waiting } from './waiting.ts';

/** What CloudWatch Logs accepts as a retention. */
const retentions = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

const list = (text) => [
  ...new Set(
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  ),
];
const isFilled = (text) => list(text).length > 0;
const isWholeNumber = (text, least, most) => /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;
const isHttps = (text) => /^https:\/\//i.test(text) && URL.canParse(text);
/** As tokens name it (RFC 8414, section 2). */
const isIssuer = (text) => isHttps(text) && !/[?#@]/.test(text);

/** The name and the value of a tag, without blanks around them. */
const splitTag = (pair) => {
  const [name, ...value] = pair.split('=');
  return [name.trim(), value.join('=').trim()];
};

/** An origin as browsers send it. API Gateway would take an asterisk in it for any text. */
const isOrigin = (text) => /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;

const optional = (isGood) => (text) => text === '' || isGood(text);
const each =
  (isGood, most = Number.POSITIVE_INFINITY) =>
  (text) =>
    list(text).length <= most && list(text).every(isGood);

/** The forms of the API. */
const forms = { http: httpApi, rest: restApi, private: restApi, none: () => ({ events: [], part: {} }) };

/** One JSON line for each call: who asked, how it ended, and the request id that the function's log line has too. */
const accessLogFormat =
  '{"requestId":"$context.requestId","time":"$context.requestTime","ip":"$context.identity.sourceIp","caller":"$context.identity.userArn","subject":"$context.authorizer.claims.sub","path":"$context.path","status":$context.status,"ms":$context.responseLatency,"functionRequestId":"$context.integration.requestId","integrationMs":"$context.integration.latency","error":"$context.error.message","integrationError":"$context.integrationErrorMessage","authorizerError":"$context.authorizer.error"}';

/**
 * Every parameter: its default, and what it must be, as the end of a sentence that begins with its name. Each can be
 * set for a stage in serverless.yml (params: prod: …) or given with --param "name=value".
 */
const parameters = {
  // Name or ARN of the secret with the Atlas key; {groupId} in it is replaced by the project's id, so that each project
  // can have a key of its own.
  atlasSecretId: {
    default: 'atlas/live-migration',
    isGood: (text) =>
      /^(arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:)?[\w/+=.@-]{1,512}$/.test(text.replaceAll('{groupId}', 'g')),
    rule: "must be the name or ARN of a secret; {groupId} in it is replaced by the project's id",
  },
  // Takes precedence over the base URL in the secret; empty: the secret's, or else https://cloud.mongodb.com/api/atlas/v1.0.
  atlasBaseUrl: {
    default: '',
    isGood: optional((text) => isHttps(text) && readBaseUrl(text) !== undefined),
    rule: baseUrlRule,
  },
  // What is in front of the function: an HTTP API, a regional REST API, a REST API that only VPC endpoints reach, or nothing
  // (direct invocation and Step Functions only).
  api: {
    default: 'http',
    isGood: (text) => Object.hasOwn(forms, text),
    rule: 'must be http, rest, private or none',
  },
  // The VPC endpoints (for execute-api) that reach a private API, comma-separated.
  vpcEndpointIds: {
    default: '',
    isList: true,
    isGood: each((id) => /^vpce-[0-9a-f]+$/.test(id)),
    rule: 'must be ids of VPC endpoints, comma-separated',
  },
  // Other accounts whose identities may call a REST API, comma-separated; their own policies must allow it too.
  callerAccountIds: {
    default: '',
    isList: true,
    isGood: each((id) => /^\d{12}$/.test(id)),
    rule: 'must be ids of AWS accounts, comma-separated',
  },
  // Callers sign with IAM. With an issuer and the audiences (comma-separated), they send a JWT to the HTTP API instead, with
  // one of the scopes if jwtScopes is set.
  jwtIssuer: {
    default: '',
    isGood: optional(isIssuer),
    rule: 'must be an https URL without a user, a query and a fragment',
  },
  jwtAudience: {
    default: '',
    isList: true,
    isGood: each(() => true, 50),
    rule: 'must be at most 50 audiences, comma-separated',
  },
  jwtScopes: {
    default: '',
    isList: true,
    isGood: each((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope), 10),
    rule: 'must be at most 10 OAuth scopes, comma-separated',
  },
  // Origins whose pages may ask, comma-separated; empty: none.
  corsOrigins: {
    default: '',
    isList: true,
    isGood: each(isOrigin),
    rule: 'must be origins such as https://app.example.com, comma-separated',
  },
  // Requests a second that the API lets through, and how many at once. Atlas itself refills 500 a minute per project.
  throttlingRate: {
    default: 8,
    isGood: (text) => isWholeNumber(text, 1, 10_000),
    rule: 'must be a whole number from 1 to 10000',
  },
  throttlingBurst: {
    default: 20,
    isGood: (text) => isWholeNumber(text, 1, 5000),
    rule: 'must be a whole number from 1 to 5000',
  },
  // Seconds that an answer may be old: with more than 0, all callers share what Atlas said, in a table. 0: each asks Atlas.
  freshnessSeconds: {
    default: 0,
    isGood: (text) => isWholeNumber(text, 0, 60),
    rule: 'must be a whole number from 0 to 60',
  },
  // The maximum number of execution environments; empty: the account's limit.
  reservedConcurrency: {
    default: '',
    isGood: optional((text) => isWholeNumber(text, 1, 1000)),
    rule: 'must be a whole number from 1 to 1000',
  },
  // Days that log lines are kept.
  logRetentionDays: {
    default: 90,
    isGood: (text) => retentions.includes(Number(text)),
    rule: `must be one of ${retentions.join(', ')}`,
  },
  // The KMS key of the secret, where it is not encrypted with the account's default key.
  kmsKeyArn: {
    default: '',
    isGood: optional((text) => /^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/.test(text)),
    rule: 'must be the ARN of a KMS key',
  },
  // A permissions boundary for every role, where the account demands one.
  permissionsBoundaryArn: {
    default: '',
    isGood: optional((text) => /^arn:[\w-]+:iam::(\d{12}|aws):policy\/[\w+=,.@/-]+$/.test(text)),
    rule: 'must be the ARN of an IAM policy',
  },
  // Tags for everything that takes tags: name=value, comma-separated.
  tags: {
    default: '',
    isList: true,
    isGood: (text) => {
      const names = list(text).map((pair) => splitTag(pair)[0].toLowerCase());
      const isPair = (pair) => /^(?!aws:)[\p{L}\p{N} _.:/+@-]{1,128}=[\p{L}\p{N} _.:/=+@-]{0,256}$/iu.test(pair);
      return list(text).every(isPair) && names.length <= 49 && new Set(names).size === names.length;
    },
    // A stack has 50, and serverless adds one.
    rule: 'must be at most 49 pairs with different names, such as team=data, comma-separated',
  },
  // SNS topic that gets the alarms and the reminders of a cutover that is due; empty: alarms only change their state.
  alarmTopicArn: {
    default: '',
    isGood: optional((text) => /^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$/.test(text)),
    rule: 'must be the ARN of an SNS topic',
  },
  // Where the runbook of this deployment is; the descriptions of the alarms name it. Empty: docs/operate.md.
  runbookUrl: {
    default: '',
    // With the rest of the description, which may have 1,024.
    isGood: optional((text) => isHttps(text) && text.length <= 500),
    rule: 'must be an https URL of at most 500 characters',
  },
  // EventBridge bus that gets an event for each change of a live migration that is waited for: a name, or the ARN of a bus
  // in another account, whose policy must let this account put events.
  eventBusName: {
    default: 'default',
    isGood: (text) => /^(arn:[\w-]+:events:[\w-]+:\d{12}:event-bus\/)?[\w./-]{1,256}$/.test(text),
    rule: 'must be the name or ARN of an EventBridge bus',
  },
  // Subnets and security groups, comma-separated. Atlas's API access list wants a fixed address: the usual case is
  // private subnets behind a NAT gateway, whose address goes into the list.
  subnetIds: {
    default: '',
    isList: true,
    isGood: each((id) => /^subnet-[0-9a-f]+$/.test(id), 16),
    rule: 'must be ids of at most 16 subnets, comma-separated',
  },
  securityGroupIds: {
    default: '',
    isList: true,
    isGood: each((id) => /^sg-[0-9a-f]+$/.test(id), 5),
    rule: 'must be ids of at most 5 security groups, comma-separated',
  },
  // The proxy for https to Atlas and AWS, in networks without another way out, and the hosts that are reached
  // without it, comma-separated. A password in it can be read by all who may read the function's configuration.
  httpsProxy: { default: '', isGood: optional((text) => readProxy(text, '') !== undefined), rule: proxyRule },
  noProxy: {
    default: '',
    // The list of a company often has CIDR blocks, which are ignored.
    isGood: (text) => /^[\w.*:,/[\]\s-]*$/.test(text) && !text.includes('//'),
    rule: 'must be names of hosts or domains, comma-separated',
  },
};

const listNames = Object.keys(parameters).filter((name) => parameters[name].isList);

/** Names everything that is wrong. */
function findProblems(values, given, { region, functionName }) {
  const unknown = new Set(given.filter((name) => !Object.hasOwn(parameters, name)));
  const problems = [...unknown].map((name) => `there is no parameter ${name}`);
  for (const [name, { isGood, rule }] of Object.entries(parameters)) {
    if (!isGood(values[name])) problems.push(`${name} ${rule}`);
  }
  if (Boolean(values.jwtIssuer) !== isFilled(values.jwtAudience)) {
    problems.push('jwtIssuer and jwtAudience are needed together');
  }
  if (functionName.length > 64) {
    problems.push(
      `the stage is too long: ${functionName} has ${functionName.length} characters, of which Lambda takes 64`,
    );
  }
  const { api } = values;
  if (api === 'private' && !isFilled(values.vpcEndpointIds)) problems.push('api private needs vpcEndpointIds');
  if (api !== 'private' && isFilled(values.vpcEndpointIds)) problems.push('vpcEndpointIds need api private');
  for (const name of ['jwtIssuer', 'jwtAudience', 'jwtScopes', 'corsOrigins'])
    if (api !== 'http' && isFilled(values[name])) problems.push(`${name} needs api http`);
  if (isFilled(values.jwtScopes) && !values.jwtIssuer) problems.push('jwtScopes need jwtIssuer');
  if (['http', 'none'].includes(api) && isFilled(values.callerAccountIds)) {
    problems.push('callerAccountIds need api rest or private');
  }
  for (const name of ['atlasSecretId', 'kmsKeyArn', 'alarmTopicArn', 'eventBusName']) {
    const [, of = region] = /^arn:[\w-]+:\w+:([\w-]+):/.exec(values[name]) ?? [];
    if (of !== region) {
      problems.push(`${name} is in ${of}, and the deployment in ${region}: they must be in the same region`);
    }
  }
  if (isFilled(values.subnetIds) !== isFilled(values.securityGroupIds)) {
    problems.push('subnetIds and securityGroupIds are needed together');
  }
  return problems;
}

/** What is wrong under one stage of params; a variable of serverless is left to it. */
const findProblemsOfStage = ([stage, ofStage]) =>
  Object.entries(ofStage ?? {})
    .map(([name, value]) => ({
      stage,
      text: String(value ?? '').trim(),
      ...parameters[name],
      rule: `${name} ${parameters[name]?.rule}`,
    }))
    .filter(({ text, isGood }) => isGood && !text.includes('${') && !isGood(text));

/** The types of our resources that take no tags. */
const untaggable = [
  'AWS::Lambda::Permission',
  'AWS::ApiGateway::Resource',
  'AWS::ApiGateway::Method',
  'AWS::ApiGateway::Deployment',
];

/** What of serverless.yml follows from the values. */
export async function deployment({ options, resolveVariable, resolveConfigurationProperty }) {
  const values = {};
  for (const name of Object.keys(parameters)) values[name] = String(await resolveVariable(`param:${name}, ''`)).trim();
  const given = [options.param ?? []].flat().map((pair) => pair.split('=')[0]);
  // What is wrong under another stage would be noticed too late; a name that is wrong is not used at all.
  const stages = Object.entries((await resolveConfigurationProperty(['params'])) ?? {});
  for (const [, ofStage] of stages) given.push(...Object.keys(ofStage ?? {}));

  const region = await resolveVariable('self:provider.region');
  const functionName = `${await resolveVariable('self:service')}-${await resolveVariable('sls:stage')}-getLiveMigration`;
  const problems = findProblems(values, given, { region, functionName });
  problems.push(
    ...stages
      .flatMap(findProblemsOfStage)
      .filter(({ rule }) => !problems.includes(rule))
      .map(({ stage, rule }) => `under ${stage}, ${rule}`),
  );
  if (problems.length > 0) {
    const error = new Error(`the parameters are not valid: ${problems.join('; ')}.`);
    // osls prints the stack, which says nothing to the reader.
    error.stack = error.message;
    throw error;
  }

  const lists = Object.fromEntries(listNames.map((name) => [name, list(values[name])]));
  const { subnetIds, securityGroupIds } = lists;
  const { reservedConcurrency, logRetentionDays } = values;
  const tags = Object.fromEntries(lists.tags.map((pair) => splitTag(pair)));
  const tagList = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  const tagged = (part) => {
    for (const { Type, Properties } of Object.values(part.Resources ?? {}))
      if (tagList.length > 0 && !untaggable.includes(Type)) Properties.Tags = tagList;
    return part;
  };
  const api = forms[values.api]({ ...values, ...lists, tagList, accessLogFormat });
  const table = answerTable(values);
  return {
    events: api.events,
    httpApi: api.httpApi ?? {},
    logs: api.logs ?? {},
    api: tagged(api.part),
    answerTable: tagged(table.part),
    answerTableName: table.name,
    functionRole: tagged(functionRole({ ...values, ...lists }, table.rights)),
    waiting: tagged(waiting(values)),
    alarms: tagged(alarms(values, api)),
    dashboard: tagged(dashboard(values, api)),
    tags,
    tagList,
    vpc: subnetIds.length > 0 ? { subnetIds, securityGroupIds } : null,
    reservedConcurrency: reservedConcurrency ? Number(reservedConcurrency) : null,
    logRetentionInDays: Number(logRetentionDays),
  };
}

export const defaults = Object.fromEntries(
  Object.entries(parameters).map(([name, parameter]) => [name, parameter.default]),
);
