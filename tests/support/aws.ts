/**
 * AWS as `npm run smoke` meets it: one server for all services, which knows a deployment where all is well. A test changes
 * single answers. It refuses what AWS refuses: a request that is not signed for its service and region, an unknown name.
 */

import type { IncomingMessage } from 'node:http';
import { onTestFinished, vi } from 'vitest';
import { readBody, serve } from '../../embedded/http-server.ts';
import { startGateway } from './gateway.ts';
import { document } from './harness.ts';

const accountId = '123456789012';
const region = 'us-east-1';
const service = 'atlas-live-migration-prod';
export const topicArn = `arn:aws:sns:${region}:${accountId}:alarms`;
const arn = (of: string, name: string) => `arn:aws:${of}:${region}:${accountId}:${name}`;
const machine = (name: string) => arn('states', `stateMachine:${service}-${name}`);

/** What a service is called in policies, by its name in signatures. */
const inPolicies: Record<string, string> = { monitoring: 'cloudwatch' };

/** An answer that is an error of AWS. */
export class Refusal extends Error {
  readonly status: number;

  constructor(name: string, message = name, status = 400) {
    super(message);
    this.name = name;
    this.status = status;
  }
}
export const denied = () => new Refusal('AccessDeniedException', 'User: arn:x is not authorized', 403);

// biome-ignore lint/suspicious/noExplicitAny: each answer and each input is what AWS describes.
type Json = any;
/** By `service:Operation`, as in policies. */
export type Answers = Record<string, (input: Json, count: number) => Json>;

const xml = (operation: string, inner: string) =>
  `<${operation}Response><${operation}Result>${inner}</${operation}Result></${operation}Response>`;
const member = (fields: Record<string, string>) =>
  `<member>${Object.entries(fields)
    .map(([name, value]) => `<${name}>${value}</${name}>`)
    .join('')}</member>`;

const alarmNames = ['Errors', 'Throttles', 'EventsRefused', 'UnansweredAll'];

/** A deployment where all is well, with a document for the ids of the tests. */
function createWorld(apiUrl: string) {
  const outputs: Record<string, string> = {
    ApiUrl: apiUrl,
    GetLiveMigrationArn: arn('lambda', `function:${service}-getLiveMigration`),
    AwaitLiveMigrationArn: machine('awaitLiveMigration'),
    RemindOfCutoverArn: machine('remindOfCutover'),
  };
  const resources: [type: string, logicalId: string, physicalId: string][] = [
    ['AWS::ApiGatewayV2::Api', 'HttpApi', 'a1b2c3'],
    ['AWS::Logs::LogGroup', 'HttpApiLogGroup', `/aws/vendedlogs/http-api/${service}`],
    ['AWS::StepFunctions::StateMachine', 'PollLiveMigration', machine('pollLiveMigration')],
    ...alarmNames.map(
      (name) => ['AWS::CloudWatch::Alarm', `${name}Alarm`, `${service}-${name}`] as [string, string, string],
    ),
    ['AWS::CloudWatch::CompositeAlarm', 'UnansweredAlarm', arn('cloudwatch', `alarm:${service}-Unanswered`)],
  ];
  const executions: Record<string, Json> = {};
  const messages: string[] = [];
  const variables: Record<string, string> = { ATLAS_SECRET_ID: 'atlas/{groupId}', ANSWER_FRESHNESS_SECONDS: '5' };
  const alarm = (name: string) => ({
    AlarmName: `${service}-${name}`,
    StateValue: 'OK',
    AlarmActions: name === 'UnansweredAll' ? [] : [topicArn],
  });
  let invocations = 0;
  const lines: Record<string, Json> = {};
  const answers: Answers = {
    'sts:GetCallerIdentity': () =>
      xml('GetCallerIdentity', `<Account>${accountId}</Account><Arn>arn:aws:iam::${accountId}:user/me</Arn>`),
    'cloudformation:DescribeStacks': () =>
      xml(
        'DescribeStacks',
        `<Stacks><member><StackName>${service}</StackName><CreationTime>2026-11-25T00:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus><Outputs>${Object.entries(
          outputs,
        )
          .map(([OutputKey, OutputValue]) => member({ OutputKey, OutputValue }))
          .join('')}</Outputs></member></Stacks>`,
      ),
    'cloudformation:ListStackResources': () =>
      xml(
        'ListStackResources',
        `<StackResourceSummaries>${resources
          .map(([ResourceType, LogicalResourceId, PhysicalResourceId]) =>
            member({ ResourceType, LogicalResourceId, PhysicalResourceId, ResourceStatus: 'CREATE_COMPLETE' }),
          )
          .join('')}</StackResourceSummaries>`,
      ),
    'lambda:GetFunctionConfiguration': () => ({
      FunctionArn: outputs['GetLiveMigrationArn'],
      Environment: { Variables: variables },
      TracingConfig: { Mode: 'Active' },
    }),
    'lambda:InvokeFunction': ({ groupId }) => {
      invocations += 1;
      const requestId = `00000000-0000-4000-8000-00000000000${invocations}`;
      const isKnown = groupId === document.groupId;
      lines[requestId] = {
        function_request_id: requestId,
        outcome: isKnown ? 'Answered' : 'ProjectNotFound',
        answerFrom: invocations > 1 ? 'table' : 'atlas',
        _aws: { CloudWatchMetrics: [{}] },
      };
      const answer = isKnown ? document : { errorType: 'ProjectNotFound', errorMessage: 'No such project.' };
      return { requestId, isError: !isKnown, answer };
    },
    'logs:StartQuery': ({ queryString, logGroupNames }) => ({
      queryId: JSON.stringify({ queryString, logGroupNames }),
    }),
    'logs:GetQueryResults': ({ queryId }) => {
      const { queryString } = JSON.parse(queryId);
      const [, ids] = /function_request_id in (\[.*\])/.exec(queryString) ?? [];
      const rows = ids
        ? (JSON.parse(ids) as string[]).map((id) => [{ field: '@message', value: JSON.stringify(lines[id]) }])
        : [
            [
              { field: 'httpStatus', value: '200' },
              { field: 'ended', value: 'Answered' },
            ],
          ];
      return { status: 'Complete', results: rows };
    },
    'cloudwatch:GetMetricData': ({ MetricDataQueries }) => ({
      MetricDataResults: MetricDataQueries.map(({ Id }: { Id: string }) => ({
        Id,
        Values: Id === 'filled' ? [] : [1],
      })),
    }),
    'cloudwatch:DescribeAlarms': () => ({
      MetricAlarms: alarmNames.map(alarm),
      CompositeAlarms: [{ ...alarm('Unanswered'), AlarmRule: `ALARM("${service}-UnansweredAll")` }],
    }),
    'cloudwatch:GetDashboard': ({ DashboardName }) => ({ DashboardName, DashboardBody: '{}' }),
    'states:StartExecution': ({ stateMachineArn, name, input }) => {
      if (!/^[\w-]{1,80}$/.test(name)) throw new Refusal('InvalidName');
      const executionArn = `${stateMachineArn.replace('stateMachine', 'execution')}:${name}`;
      const { liveMigrationId } = JSON.parse(input);
      const isReal = liveMigrationId === document.id;
      const isReminder = stateMachineArn.includes('remind');
      executions[executionArn] = isReal
        ? { status: 'RUNNING' }
        : isReminder
          ? { status: 'SUCCEEDED' }
          : { status: 'FAILED', error: 'LiveMigrationNotFound', cause: '' };
      if (isReal)
        messages.push(
          JSON.stringify({ source: 'atlas.live-migration', detail: { ...document, previousStatus: null } }),
        );
      return { executionArn };
    },
    'states:DescribeExecution': ({ executionArn }) => executions[executionArn] ?? new Refusal('ExecutionDoesNotExist'),
    'states:StopExecution': ({ executionArn }) => {
      const execution = executions[executionArn];
      if (!execution) throw new Refusal('ExecutionDoesNotExist');
      Object.assign(execution, { status: 'ABORTED' });
      return {};
    },
    'states:GetExecutionHistory': () => ({ events: [{ type: 'ExecutionStarted' }] }),
    'states:DescribeStateMachine': () => ({ definition: '{"EventBusName":"migrations"}' }),
    'events:PutRule': () => ({ RuleArn: 'arn' }),
    'events:PutTargets': () => ({ FailedEntryCount: 0 }),
    'events:PutEvents': ({ Entries }) => {
      for (const { Source, Detail } of Entries)
        messages.push(JSON.stringify({ source: Source, detail: JSON.parse(Detail) }));
      return { FailedEntryCount: 0, Entries: [{ EventId: '1' }] };
    },
    'events:RemoveTargets': () => ({ FailedEntryCount: 0 }),
    'events:DeleteRule': () => ({}),
    'sqs:CreateQueue': ({ QueueName }) => ({
      QueueUrl: `https://sqs.${region}.amazonaws.com/${accountId}/${QueueName}`,
    }),
    'sqs:ReceiveMessage': () => ({ Messages: messages.splice(0).map((Body) => ({ Body })) }),
    'sqs:DeleteQueue': () => ({}),
    'sns:GetTopicAttributes': () =>
      xml(
        'GetTopicAttributes',
        '<Attributes><entry><key>SubscriptionsConfirmed</key><value>2</value></entry><entry><key>SubscriptionsPending</key><value>1</value></entry></Attributes>',
      ),
    'sns:Publish': () => xml('Publish', '<MessageId>m-1</MessageId>'),
    'xray:BatchGetTraces': ({ TraceIds: [Id] }) => ({ Traces: [{ Id }] }),
  };
  return { answers, variables, outputs, resources, executions, messages };
}

/** @returns the operation that a request asks for, and its input */
function operationOf(request: IncomingMessage, body: string): { operation: string; input: Json } {
  const path = request.url?.split('?')[0] ?? '';
  const target = request.headers['x-amz-target'];
  if (target) return { operation: String(target).split('.')[1] ?? '', input: JSON.parse(body) };
  if (path.endsWith('/invocations')) return { operation: 'InvokeFunction', input: JSON.parse(body) };
  if (/^\/2015-03-31\/functions\/[^/]+\/configuration$/.test(path))
    return { operation: 'GetFunctionConfiguration', input: {} };
  if (path === '/Traces') return { operation: 'BatchGetTraces', input: JSON.parse(body) };
  const input = Object.fromEntries(new URLSearchParams(body));
  return { operation: input['Action'] ?? '', input };
}

type World = ReturnType<typeof createWorld> & { gateway: Awaited<ReturnType<typeof startGateway>> };

/**
 * Stands for as long as the test that starts it.
 *
 * @param emulator an emulator of AWS that answers what it can: each request but those that `keep` names
 */
export async function startAws(
  change: (answers: Answers, world: World) => void = () => undefined,
  emulator?: { origin: string; keep: RegExp },
) {
  const gateway = await startGateway({ status: 200, body: document }, { status: 403, body: { message: 'Forbidden' } });
  const made = createWorld(gateway.url);
  change(made.answers, { ...made, gateway });
  /** Each call, as policies name it, with its input. */
  const calls: { action: string; input: Json }[] = [];
  const served = await serve(async (request, response) => {
    const body = (await readBody(request, response)) ?? '';
    const [, signedRegion, signedFor = ''] =
      /Credential=[^/]+\/\d+\/([^/]+)\/([^/]+)\//.exec(request.headers.authorization ?? '') ?? [];
    const { operation, input } = operationOf(request, body);
    const action = `${inPolicies[signedFor] ?? signedFor}:${operation}`;
    calls.push({ action, input });
    if (emulator && !emulator.keep.test(action)) {
      const { host: _, connection: __, 'content-length': ___, ...headers } = request.headers;
      const init = { method: 'POST', headers: headers as Record<string, string>, body };
      const answered = await fetch(`${emulator.origin}${request.url}`, init);
      response.writeHead(answered.status, { 'content-type': answered.headers.get('content-type') ?? '' });
      response.end(Buffer.from(await answered.arrayBuffer()));
      return;
    }
    const isJson = !/^(sts|sns|cloudformation):/.test(action);
    let answer: Json;
    try {
      if (signedRegion !== region)
        throw new Refusal('SignatureDoesNotMatch', 'Credential should be scoped to another region', 403);
      const known = made.answers[action];
      if (!known) throw new Refusal('UnknownOperationException', action);
      answer = await known(input, calls.filter((call) => call.action === action).length);
      if (answer instanceof Error) throw answer;
    } catch (error) {
      const { name, message, status = 500 } = error as Refusal;
      response.writeHead(status, {
        'content-type': isJson ? 'application/json' : 'text/xml',
        'x-amzn-errortype': name,
      });
      response.end(
        isJson
          ? JSON.stringify({ __type: `com.amazonaws#${name}`, message })
          : `<ErrorResponse><Error><Type>Sender</Type><Code>${name}</Code><Message>${message}</Message></Error></ErrorResponse>`,
      );
      return;
    }
    if (action === 'lambda:InvokeFunction') {
      response.setHeader('x-amzn-requestid', answer.requestId);
      response.setHeader('x-amzn-trace-id', 'Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1');
      if (answer.isError) response.setHeader('x-amz-function-error', 'Unhandled');
      response.end(JSON.stringify(answer.answer));
      return;
    }
    response.writeHead(200, { 'content-type': isJson ? 'application/x-amz-json-1.0' : 'text/xml' });
    response.end(isJson && typeof answer !== 'string' ? JSON.stringify(answer) : answer);
  });
  onTestFinished(served.close);
  vi.stubEnv('AWS_ENDPOINT_URL', served.origin);
  return { ...made, calls, gateway, origin: served.origin, server: served.server };
}
