/** What AWS documents that no schema says: how long, how many and how large, what a name may hold, and where it is unique. */

import type { Resource } from '../../deploy/cloudformation.ts';
import type { Json, Template } from './template.ts';

const cloudWatch = 'https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference';
const compositeAlarms = `${cloudWatch}/API_PutCompositeAlarm.html`;
const filters = 'https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html';
const cloudWatchQuotas = 'https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html';
const cloudFormationQuotas =
  'https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html';
const lambda = 'https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html';
const lambdaQuotas = 'https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html';
const logs = 'https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html';
const resourcePolicies = 'https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html';
const iamQuotas = 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html';
const stepFunctions = 'https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html';
const states = 'https://docs.aws.amazon.com/step-functions/latest/dg/workflow-states.html';
const dynamoDB = 'https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html';
const httpApi = 'https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html';
const restApi =
  'https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html';
const httpApis = 'https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis.html';
const tagging = 'https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html';

/** The longest that each can be, as far as it matters here. */
const pseudo: Record<string, string> = {
  'AWS::AccountId': '123456789012',
  'AWS::Partition': 'aws-us-gov',
  'AWS::URLSuffix': 'amazonaws.com.cn',
  'AWS::StackName': 's'.repeat(128),
};
/** A resource's name or ARN. */
const reference = 'r'.repeat(150);

/** A part of a template as CloudFormation hands it to the services. */
function resolve(value: unknown, region: string): unknown {
  const fill = (name: string) => (name === 'AWS::Region' ? region : (pseudo[name] ?? reference));
  if (Array.isArray(value)) return value.map((item) => resolve(item, region));
  if (typeof value !== 'object' || value === null) return value;
  if ('Ref' in value) return fill(String(value.Ref));
  if ('Fn::GetAtt' in value) return reference;
  if ('Fn::Join' in value) {
    const [separator, items] = resolve(value['Fn::Join'], region) as [string, string[]];
    return items.join(separator);
  }
  if ('Fn::Sub' in value) {
    const [text, values] = [value['Fn::Sub']].flat() as [string, Json?];
    return text.replace(/\$\{([\w:.]+)\}/g, (_, name: string) =>
      values && Object.hasOwn(values, name) ? String(resolve(values[name], region)) : fill(name),
    );
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, region)]));
}

const longestRegion = 'ap-southeast-1';
const resolved = (template: Template, region = longestRegion) => resolve(template, region) as Template;

type Query = { Id: string; Expression?: string; MetricStat?: { Period: number; Metric: { Dimensions: Json[] } } };
const queriesOf = ({ Metrics }: Json) => (Metrics ?? []) as Query[];
const textOf = (value: unknown) => (value === undefined ? [] : [String(value)]);
const lengths = (...values: unknown[]) => values.flatMap(textOf).map((text) => text.length);
const sizeOf = (value: unknown) => JSON.stringify(value).length;
const items = (list: unknown) => (Array.isArray(list) ? [list.length] : []);
const policiesOf = ({ Policies }: Json) => (Policies ?? []) as { PolicyName: string; PolicyDocument: object }[];
const widgetsOf = ({ DashboardBody }: Json) =>
  (JSON.parse(String(DashboardBody)) as { widgets: { properties: { metrics: object[] } }[] }).widgets;
const statesOf = ({ DefinitionString }: Json) =>
  Object.keys((JSON.parse(String(DefinitionString)) as { States: object }).States);
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);
const tagsOf = ({ Tags }: Json) => (Tags ? [Object.keys(Tags as object).length] : []);

/** The seconds that an alarm looks back, and the most: a day, or a week where its period is an hour or longer. */
const shareOfRange = ({ EvaluationPeriods, ...rest }: Json) => {
  const period = Math.max(...queriesOf(rest).map(({ MetricStat }) => MetricStat?.Period ?? 0));
  return [(Number(EvaluationPeriods) * period) / (period < 3600 ? 86_400 : 604_800)];
};

const [alarm, composite, filter] = [
  'AWS::CloudWatch::Alarm',
  'AWS::CloudWatch::CompositeAlarm',
  'AWS::Logs::MetricFilter',
];
const dashboard = 'AWS::CloudWatch::Dashboard';
const [machine, table, role] = ['AWS::StepFunctions::StateMachine', 'AWS::DynamoDB::Table', 'AWS::IAM::Role'];
const [group, lambdaFunction] = ['AWS::Logs::LogGroup', 'AWS::Lambda::Function'];
const [rest, restStage] = ['AWS::ApiGateway::RestApi', 'AWS::ApiGateway::Stage'];
const [http, httpStage] = ['AWS::ApiGatewayV2::Api', 'AWS::ApiGatewayV2::Stage'];

type Measure = (properties: Json) => number[];

/** Of a resource of some type: what is measured, the most that AWS takes, and the page that says so. */
const ofResources: [type: string, what: string, measure: Measure, most: number, source: string][] = [
  [
    alarm,
    'characters in the name',
    ({ AlarmName }) => lengths(AlarmName),
    255,
    `${cloudWatch}/API_PutMetricAlarm.html`,
  ],
  [
    alarm,
    'characters in the description',
    ({ AlarmDescription }) => lengths(AlarmDescription),
    1024,
    `${cloudWatch}/API_PutMetricAlarm.html`,
  ],
  [alarm, 'actions', ({ AlarmActions, OKActions }) => [AlarmActions, OKActions].flatMap(items), 5, cloudWatchQuotas],
  [alarm, 'of the time that it may look back', shareOfRange, 1, `${cloudWatch}/API_PutMetricAlarm.html`],
  [alarm, 'queries', (properties) => [queriesOf(properties).length], 20, `${cloudWatch}/API_MetricDataQuery.html`],
  [
    alarm,
    'queries with MetricStat',
    (properties) => [queriesOf(properties).filter(({ MetricStat }) => MetricStat).length],
    10,
    `${cloudWatch}/API_MetricDataQuery.html`,
  ],
  [
    alarm,
    'queries with Expression',
    (properties) => [queriesOf(properties).filter(({ Expression }) => Expression).length],
    10,
    `${cloudWatch}/API_MetricDataQuery.html`,
  ],
  [
    alarm,
    'characters in an expression',
    (properties) => lengths(...queriesOf(properties).map(({ Expression }) => Expression)),
    2048,
    `${cloudWatch}/API_MetricDataQuery.html`,
  ],
  [
    alarm,
    'characters in the value of a dimension',
    (properties) =>
      queriesOf(properties).flatMap(({ MetricStat }) =>
        lengths(...(MetricStat?.Metric.Dimensions ?? []).map(({ Value }) => Value)),
      ),
    1024,
    `${cloudWatch}/API_Dimension.html`,
  ],
  [composite, 'characters in the name', ({ AlarmName }) => lengths(AlarmName), 255, compositeAlarms],
  [
    composite,
    'characters in the description',
    ({ AlarmDescription }) => lengths(AlarmDescription),
    1024,
    compositeAlarms,
  ],
  [composite, 'characters in the rule', ({ AlarmRule }) => lengths(AlarmRule), 10_240, compositeAlarms],
  [
    composite,
    'alarms in the rule',
    ({ AlarmRule }) => [String(AlarmRule).split('ALARM(').length - 1],
    100,
    compositeAlarms,
  ],
  [composite, 'actions', ({ AlarmActions, OKActions }) => [AlarmActions, OKActions].flatMap(items), 5, compositeAlarms],
  [filter, 'characters in the pattern', ({ FilterPattern }) => lengths(FilterPattern), 1024, filters],
  [filter, 'transformations', ({ MetricTransformations }) => items(MetricTransformations), 1, filters],
  [
    dashboard,
    'characters in the name',
    ({ DashboardName }) => lengths(DashboardName),
    255,
    'https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-dashboard.html',
  ],
  [dashboard, 'widgets', (properties) => [widgetsOf(properties).length], 500, cloudWatchQuotas],
  [
    dashboard,
    'metrics in a widget',
    (properties) => widgetsOf(properties).map(({ properties: { metrics } }) => metrics.length),
    500,
    cloudWatchQuotas,
  ],
  [
    dashboard,
    'metrics in all widgets',
    (properties) => [sum(widgetsOf(properties).map(({ properties: { metrics } }) => metrics.length))],
    2500,
    cloudWatchQuotas,
  ],
  [machine, 'characters in the name', ({ StateMachineName }) => lengths(StateMachineName), 80, stepFunctions],
  [
    machine,
    'characters in the definition',
    ({ DefinitionString }) => lengths(DefinitionString),
    1_048_576,
    stepFunctions,
  ],
  [machine, 'characters in the name of a state', (properties) => lengths(...statesOf(properties)), 80, states],
  [table, 'characters in the name', ({ TableName }) => lengths(TableName), 255, dynamoDB],
  [
    role,
    'characters in all inline policies',
    (properties) => [sum(policiesOf(properties).map(({ PolicyDocument }) => sizeOf(PolicyDocument)))],
    10_240,
    iamQuotas,
  ],
  [
    role,
    'characters in the name of a policy',
    (properties) => lengths(...policiesOf(properties).map(({ PolicyName }) => PolicyName)),
    128,
    iamQuotas,
  ],
  [
    role,
    'characters in the trust policy',
    ({ AssumeRolePolicyDocument }) => [sizeOf(AssumeRolePolicyDocument)],
    2048,
    iamQuotas,
  ],
  [group, 'characters in the name', ({ LogGroupName }) => lengths(LogGroupName), 512, logs],
  [rest, 'characters in the resource policy', ({ Policy }) => (Policy ? [sizeOf(Policy)] : []), 8192, restApi],
  [restStage, 'characters in the name', ({ StageName }) => lengths(StageName), 128, restApi],
  [
    restStage,
    'bytes in the format of the access log',
    ({ AccessLogSetting }) => lengths((AccessLogSetting as Json)['Format']),
    3072,
    httpApi,
  ],
  // These are made by osls: they are in packaged templates only.
  [http, 'characters in the name', ({ Name }) => lengths(Name), 128, httpApis],
  [
    httpStage,
    'bytes in the format of the access log',
    ({ AccessLogSettings }) => lengths((AccessLogSettings as Json)['Format']),
    3072,
    httpApi,
  ],
  [lambdaFunction, 'characters in the name', ({ FunctionName }) => lengths(FunctionName), 64, lambda],
  [lambdaFunction, 'characters in the description', ({ Description }) => lengths(Description), 256, lambda],
  [lambdaFunction, 'seconds of its time-out', ({ Timeout }) => [Number(Timeout)], 900, lambdaQuotas],
  [lambdaFunction, 'MB of memory', ({ MemorySize }) => [Number(MemorySize)], 10_240, lambdaQuotas],
  [
    lambdaFunction,
    'bytes in its variables',
    ({ Environment }) => [
      sum(Object.entries((Environment as { Variables: Json }).Variables).flatMap((pair) => lengths(...pair))),
    ],
    4096,
    lambdaQuotas,
  ],
];

/** Of a whole template. */
const ofTemplates: [what: string, measure: (template: Template) => number[], most: number, source: string][] = [
  // In a file with an indent of two, as osls uploads it. Without a bucket, only 51,200 would do.
  [
    'bytes by way of S3',
    (template) => [Buffer.byteLength(JSON.stringify(template, null, 2))],
    1_000_000,
    cloudFormationQuotas,
  ],
  ['resources', ({ Resources }) => [Object.keys(Resources).length], 500, cloudFormationQuotas],
  ['outputs', ({ Outputs }) => [Object.keys(Outputs).length], 200, cloudFormationQuotas],
  ['characters in the name of an output', ({ Outputs }) => lengths(...Object.keys(Outputs)), 255, cloudFormationQuotas],
  [
    'tags on a resource',
    ({ Resources }) => Object.values(Resources).flatMap(({ Properties }) => tagsOf(Properties)),
    50,
    tagging,
  ],
];

/** What a name may hold. */
const patterns: [type: string, property: string, pattern: RegExp, source: string][] = [
  [dashboard, 'DashboardName', /^[\w-]+$/, `${cloudWatch}/API_PutDashboard.html`],
  [machine, 'StateMachineName', /^[\w-]+$/, stepFunctions],
  [table, 'TableName', /^[\w.-]{3,}$/, dynamoDB],
  [group, 'LogGroupName', /^[\w./#-]+$/, logs],
  // Others take room in a resource policy of the account, which has 5,120 characters.
  [group, 'LogGroupName', /^\/aws\/(vendedlogs|lambda)\//, resourcePolicies],
  [restStage, 'StageName', /^[\w-]+$/, restApi],
  [lambdaFunction, 'FunctionName', /^[\w-]+$/, lambda],
];

const resourcesOf = ({ Resources }: Template, type: string) =>
  Object.entries(Resources).filter(([, resource]) => resource.Type === type);

/** The limits of resources that some templates have nothing for. */
export function limitsWithoutUse(raw: Template[]): string[] {
  const templates = raw.map((template) => resolved(template));
  const isUsed = (type: string, measure: Measure) =>
    templates.some((template) =>
      resourcesOf(template, type).some(([, { Properties }]) => measure(Properties).length > 0),
    );
  return ofResources.filter(([type, , measure]) => !isUsed(type, measure)).map(([type, what]) => `${type}: ${what}`);
}

/** @returns what AWS would refuse of a template, with the page that says so */
export function beyondLimits(raw: Template): string[] {
  const template = resolved(raw);
  const above = (of: string, what: string, measured: number[], most: number, source: string) =>
    measured.filter((number) => number > most).map((number) => `${of}: ${number} ${what}, at most ${most} (${source})`);
  return [
    ...ofTemplates.flatMap(([what, measure, most, source]) => above('template', what, measure(template), most, source)),
    ...ofResources.flatMap(([type, what, measure, most, source]) =>
      resourcesOf(template, type).flatMap(([id, { Properties }]) => above(id, what, measure(Properties), most, source)),
    ),
    ...patterns.flatMap(([type, property, pattern, source]) =>
      resourcesOf(template, type)
        .flatMap(([id, { Properties }]) => textOf(Properties[property]).map((text) => [id, text] as const))
        .filter(([, text]) => !pattern.test(text))
        .map(([id, text]) => `${id}: ${property} is ${text}, and must match ${pattern} (${source})`),
    ),
    ...resourcesOf(template, alarm).flatMap(([id, { Properties }]) => {
      const ids = queriesOf(Properties).map(({ Id }) => Id);
      const areGood = new Set(ids).size === ids.length && ids.every((name) => /^[a-z]\w{0,254}$/.test(name));
      return areGood ? [] : [`${id}: ids ${ids.join()} (${cloudWatch}/API_MetricDataQuery.html)`];
    }),
  ];
}

/** The property that names a resource of a type, and where that name is unique. */
const names: Record<string, [property: string, within: 'region' | 'account']> = {
  [alarm]: ['AlarmName', 'region'],
  [composite]: ['AlarmName', 'region'],
  [dashboard]: ['DashboardName', 'account'],
  [machine]: ['StateMachineName', 'region'],
  [table]: ['TableName', 'region'],
  [role]: ['RoleName', 'account'],
  [group]: ['LogGroupName', 'region'],
  [lambdaFunction]: ['FunctionName', 'region'],
  'AWS::S3::Bucket': ['BucketName', 'account'],
  // Others of the same name may be there, but share its metrics.
  [rest]: ['Name', 'region'],
};

/** The names that a stack takes in a region, each with what it is unique within, and the resource that has it. */
export const namesOf = (template: Template, region: string): [name: string, id: string][] =>
  Object.entries(resolved(template, region).Resources).flatMap(([id, { Type, Properties }]) => {
    const [property = '', within] = names[Type] ?? [];
    const place = within === 'account' ? 'the account' : region;
    // Alarms of both kinds share their names.
    const kind = Type === composite ? alarm : Type;
    return textOf(Properties[property]).map((name): [string, string] => [`${kind} ${name} in ${place}`, id]);
  });

/** Service principals that every partition knows under this name. */
const principals = /^(lambda|states|apigateway)\.amazonaws\.com$/;

/**
 * @param given values that may name a partition and a region, since whoever deploys gives them
 * @returns what other partitions or regions do not know
 */
export function boundToAPlace(template: Template, given: string[]): string[] {
  const visit = (value: unknown, path: string): string[] => {
    if (typeof value === 'object' && value !== null)
      return Object.entries(value).flatMap(([key, item]) => visit(item, `${path}.${key}`));
    if (typeof value !== 'string' || given.includes(value) || principals.test(value)) return [];
    const bound = /arn:aws|\.amazonaws\.com|\b[a-z]{2}-(gov-|iso\w*-)?(north|south|east|west|central)\w*-\d\b/.exec(
      value,
    );
    return bound ? [`${path}: ${bound[0]}`] : [];
  };
  const tagged = (id: string, { Type, Properties }: Resource) =>
    // Commercial regions only; the tags of the stack are handed on where they are supported.
    Type === dashboard && 'Tags' in Properties ? [`${id}.Tags`] : [];
  return Object.entries(template.Resources).flatMap(([id, resource]) => [
    ...visit(resource.Properties, id),
    ...tagged(id, resource),
  ]);
}
