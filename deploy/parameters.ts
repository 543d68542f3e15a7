/**
 * The table of the deployment's parameters. A new one is a row here, a row in tests/parameters.test.ts and a line in
 * docs/, and the part of the template that uses it finds it in its settings. Rules between parameters are in
 * parameter-rules.ts.
 */

import { baseUrlRule, readBaseUrl } from '../lib/atlas/base-url.ts';
import { proxyRule, readProxy } from '../lib/proxy.ts';
import { faultOfCaFile } from './ca-file.ts';
import type { Tag } from './cloudformation.ts';
import { splitTag } from './tags.ts';

/** What CloudWatch Logs accepts as a retention. */
const retentions = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

type IsValid = (text: string) => boolean;
type Parameter = {
  /** What it is for, for docs/parameters.md. */
  meaning: string;
  default: string | number;
  isList?: true;
  isValid: IsValid;
  /** The end of a sentence that begins with the parameter's name. */
  rule: string;
  /** What is wrong with a value, where the rule does not say it. */
  faultOf?: (text: string) => string | undefined;
};

/** The items of a comma-separated text, each once. */
const list = (text: string) => [
  ...new Set(
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  ),
];
const isWholeNumber = (text: string, least: number, most: number) =>
  /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;
const isHttps = (text: string) => /^https:\/\//i.test(text) && URL.canParse(text);
/** As tokens name it (RFC 8414, section 2). */
const isIssuer = (text: string) => isHttps(text) && !/[?#@]/.test(text);

/** An origin as browsers send it. API Gateway would take an asterisk in it for any text. */
const isOrigin = (text: string) =>
  /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;

const optional = (isValid: IsValid) => (text: string) => text === '' || isValid(text);
const each =
  (isValid: IsValid, most = Number.POSITIVE_INFINITY) =>
  (text: string) =>
    list(text).length <= most && list(text).every(isValid);

/** A key itself, and no alias: those who use an alias need rights to the key behind it. */
const kmsKey = {
  default: '',
  isValid: optional((text) => /^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/.test(text)),
  rule: 'must be the ARN of a KMS key (…:key/…), not of an alias',
};

/** The forms of the API. */
const apiForms = ['http', 'rest', 'private', 'none'];

/**
 * Every parameter; docs/parameters.md shows them. Each can be set for a stage in serverless.yml (params: prod: …) or given
 * with --param "name=value".
 */
const table = {
  atlasSecretId: {
    meaning:
      "Name or ARN of the secret with the Atlas key; {groupId} in it is replaced by the project's id, so that each project can have a key of its own.",
    default: 'atlas/live-migration',
    isValid: (text) =>
      /^(arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:)?[\w/+=.@-]{1,512}$/.test(text.replaceAll('{groupId}', 'g')),
    rule: "must be the name or ARN of a secret; {groupId} in it is replaced by the project's id",
  },
  atlasBaseUrl: {
    meaning:
      "Takes precedence over the base URL in the secret; empty: the secret's, or else https://cloud.mongodb.com/api/atlas/v1.0.",
    default: '',
    isValid: optional((text) => isHttps(text) && readBaseUrl(text) !== undefined),
    rule: baseUrlRule,
  },
  api: {
    meaning:
      'What is in front of the function: an HTTP API, a regional REST API, a REST API that only VPC endpoints reach, or nothing (direct invocation and Step Functions only).',
    default: 'http',
    isValid: (text) => apiForms.includes(text),
    rule: 'must be http, rest, private or none',
  },
  vpcEndpointIds: {
    meaning: 'The VPC endpoints (for execute-api) that reach a private API, comma-separated.',
    default: '',
    isList: true,
    // The policy of an API has 8,192 characters, which fit all of these and all accounts.
    isValid: each((id) => /^vpce-[0-9a-f]+$/.test(id), 50),
    rule: 'must be ids of at most 50 VPC endpoints, comma-separated',
  },
  callerAccountIds: {
    meaning:
      'Other accounts whose identities may call a REST API, comma-separated; their own policies must allow it too.',
    default: '',
    isList: true,
    isValid: each((id) => /^\d{12}$/.test(id), 100),
    rule: 'must be ids of at most 100 AWS accounts, comma-separated',
  },
  jwtIssuer: {
    meaning: 'The issuer of the JWTs that callers of the HTTP API send; empty: they sign with IAM.',
    default: '',
    isValid: optional(isIssuer),
    rule: 'must be an https URL without a user, a query and a fragment',
  },
  jwtAudience: {
    meaning: 'The audiences of which a JWT must have one, comma-separated.',
    default: '',
    isList: true,
    isValid: each(() => true, 50),
    rule: 'must be at most 50 audiences, comma-separated',
  },
  jwtScopes: {
    meaning: 'The scopes of which a JWT must have one, comma-separated; empty: any.',
    default: '',
    isList: true,
    isValid: each((scope) => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope), 10),
    rule: 'must be at most 10 OAuth scopes, comma-separated',
  },
  corsOrigins: {
    meaning: 'Origins whose pages may ask, comma-separated; empty: none.',
    default: '',
    isList: true,
    isValid: each(isOrigin),
    rule: 'must be origins such as https://app.example.com, comma-separated',
  },
  throttlingRate: {
    meaning: 'Requests a second that the API lets through. Atlas allows 500 requests a minute for each project.',
    default: 8,
    isValid: (text) => isWholeNumber(text, 1, 10_000),
    rule: 'must be a whole number from 1 to 10000',
  },
  throttlingBurst: {
    meaning: 'Requests that the API lets through at once.',
    default: 20,
    isValid: (text) => isWholeNumber(text, 1, 5000),
    rule: 'must be a whole number from 1 to 5000',
  },
  freshnessSeconds: {
    meaning:
      'Seconds that an answer may be old: with more than 0, all callers share what Atlas said, in a table. 0: each asks Atlas.',
    default: 0,
    isValid: (text) => isWholeNumber(text, 0, 60),
    rule: 'must be a whole number from 0 to 60',
  },
  reservedConcurrency: {
    meaning: "The maximum number of execution environments; empty: the account's limit.",
    default: '',
    isValid: optional((text) => isWholeNumber(text, 1, 1000)),
    rule: 'must be a whole number from 1 to 1000',
  },
  logRetentionDays: {
    meaning: 'Days that log lines are kept.',
    default: 90,
    isValid: (text) => retentions.includes(Number(text)),
    rule: `must be one of ${retentions.join(', ')}`,
  },
  tracing: {
    meaning: 'Whether X-Ray traces the function, the state machines and a REST API.',
    default: 'true',
    isValid: (text) => ['true', 'false'].includes(text),
    rule: 'must be true or false',
  },
  kmsKeyArn: {
    ...kmsKey,
    meaning: "The KMS key of the secret, where it is not encrypted with the account's default key.",
  },
  logsKmsKeyArn: {
    ...kmsKey,
    meaning:
      "The KMS key of the log groups, whose policy must let CloudWatch Logs use it (docs/security.md); empty: CloudWatch's own.",
  },
  tableKmsKeyArn: {
    ...kmsKey,
    meaning: "The KMS key of the table of shared answers; empty: the account's key aws/dynamodb.",
  },
  permissionsBoundaryArn: {
    meaning: 'A permissions boundary for every role, where the account demands one.',
    default: '',
    isValid: optional((text) => /^arn:[\w-]+:iam::(\d{12}|aws):policy\/[\w+=,.@/-]+$/.test(text)),
    rule: 'must be the ARN of an IAM policy',
  },
  tags: {
    meaning: 'Tags for everything that takes tags: name=value, comma-separated.',
    default: '',
    isList: true,
    isValid: (text) => {
      const names = list(text).map((pair) => splitTag(pair)[0].toLowerCase());
      const isPair = (pair: string) =>
        /^(?!aws:)[\p{L}\p{N} _.:/+@-]{1,128}=[\p{L}\p{N} _.:/=+@-]{0,256}$/iu.test(pair);
      return list(text).every(isPair) && names.length <= 49 && new Set(names).size === names.length;
    },
    // A stack has 50, and serverless adds one.
    rule: 'must be at most 49 pairs with different names, such as team=data, comma-separated',
  },
  alarmTopicArn: {
    meaning:
      'SNS topic that gets the alarms and the reminders of a cutover that is due; empty: alarms only change their state.',
    default: '',
    isValid: optional((text) => /^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$/.test(text)),
    rule: 'must be the ARN of an SNS topic',
  },
  runbookUrl: {
    meaning: 'Where the runbook of this deployment is; the descriptions of the alarms name it. Empty: docs/operate.md.',
    default: '',
    // With the rest of the description, which may have 1,024.
    isValid: optional((text) => isHttps(text) && text.length <= 500),
    rule: 'must be an https URL of at most 500 characters',
  },
  eventBusName: {
    meaning:
      'EventBridge bus for the events of waits and reminders: a name, or the ARN of a bus in another account, whose policy must let this account put events.',
    default: 'default',
    isValid: (text) => /^(arn:[\w-]+:events:[\w-]+:\d{12}:event-bus\/)?[\w./-]{1,256}$/.test(text),
    rule: 'must be the name or ARN of an EventBridge bus',
  },
  subnetIds: {
    meaning:
      "Subnets of the function, comma-separated. Atlas's API access list wants a fixed address: the usual case is private subnets behind a NAT gateway, whose address goes into the list.",
    default: '',
    isList: true,
    isValid: each((id) => /^subnet-[0-9a-f]+$/.test(id), 16),
    rule: 'must be ids of at most 16 subnets, comma-separated',
  },
  securityGroupIds: {
    meaning: 'Security groups of the function in its subnets, comma-separated.',
    default: '',
    isList: true,
    isValid: each((id) => /^sg-[0-9a-f]+$/.test(id), 5),
    rule: 'must be ids of at most 5 security groups, comma-separated',
  },
  httpsProxy: {
    meaning:
      "The proxy for https to Atlas and AWS, in networks without another way out. A password in it can be read by all who may read the function's configuration.",
    default: '',
    isValid: optional((text) => readProxy(text, '') !== undefined),
    rule: proxyRule,
  },
  noProxy: {
    meaning: 'Hosts that are reached without the proxy, comma-separated.',
    default: '',
    // The list of a company often has CIDR blocks, which are ignored.
    isValid: (text) => /^[\w.*:,/[\]\s-]*$/.test(text) && !text.includes('//'),
    rule: 'must be names of hosts or domains, comma-separated',
  },
  caFile: {
    meaning:
      "A PEM file, relative to the project, with the certificates of a company's own authority, for networks in which a proxy or a firewall inspects TLS. The function trusts them as well.",
    default: '',
    isValid: optional((text) => faultOfCaFile(text) === undefined),
    rule: 'must be a PEM file of certificates',
    faultOf: faultOfCaFile,
  },
} satisfies Record<string, Parameter>;

export type ParameterName = keyof typeof table;
type ListName = {
  [Name in ParameterName]: (typeof table)[Name] extends { isList: true } ? Name : never;
}[ParameterName];

/** The parameters as they are given, without blanks around them. */
export type Texts = Record<ParameterName, string>;
/** The same, with lists as arrays. */
export type Values = Record<Exclude<ParameterName, ListName>, string> & Record<ListName, string[]>;

/** What the parts of the deployment are made of: the values, and the service (with its stage), the stage and the tags. */
export type Settings = Values & { service: string; stage: string; tagList: Tag[] };

export const parameters: Record<ParameterName, Parameter> = table;
export const parameterNames = Object.keys(table) as ParameterName[];

export const defaults = Object.fromEntries(parameterNames.map((name) => [name, parameters[name].default]));

export const isFilled = (text: string) => list(text).length > 0;

export const readValues = (texts: Texts) =>
  Object.fromEntries(
    parameterNames.map((name) => [name, parameters[name].isList ? list(texts[name]) : texts[name]]),
  ) as Values;
