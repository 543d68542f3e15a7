/** `npm run smoke`: each check finds each thing that may be wrong, and says why where it can't be made. */

import { beforeEach, describe, expect, test } from 'vitest';
import { type Answers, denied, Refusal, topicArn } from '../support/aws.ts';
import { allIsWell } from '../support/harness.ts';
import { smoke, type World } from '../support/smoke.ts';

beforeEach(allIsWell);

/** Answers as usual, with some members in another way. */
const but = (name: string, change: (answer: never, input: never, count: number) => unknown) => (answers: Answers) => {
  const usual = answers[name] as (...args: unknown[]) => unknown;
  answers[name] = (...args) => change(usual(...args) as never, ...(args as [never, number]));
};
const answersWith = (name: string, answer: unknown) => (answers: Answers) => {
  answers[name] = () => answer;
};
type Ending = { status: string; error?: string };
/** Executions of that machine end in another way, or never. */
const ends = (machine: string, ending: Ending) =>
  but('states:DescribeExecution', (usual: Ending, { executionArn }: { executionArn: string }) =>
    executionArn.includes(machine) ? ending : usual,
  );
const hasError = (answers: Answers) => {
  ends('await', { status: 'RUNNING' })(answers);
  answers['states:GetExecutionHistory'] = ({ executionArn }) => ({
    events: executionArn.includes('await')
      ? [{ taskSubmittedEventDetails: { output: '{"ExecutionArn":"arn:round"}' } }]
      : [
          {
            taskFailedEventDetails: {
              error: 'Lambda.AWSLambdaException',
              cause: 'not authorized to perform: lambda:InvokeFunction',
            },
          },
        ],
  });
};
const xmlBut = (name: string, from: string | RegExp, to: string) => but(name, (xml: string) => xml.replace(from, to));

describe('each check finds what may be wrong', () => {
  test.each<[check: string, what: string, change: (answers: Answers, world: World) => void, sentence: RegExp]>([
    [
      'stack',
      'no stack',
      answersWith('cloudformation:DescribeStacks', new Refusal('ValidationError', 'Stack with id x does not exist')),
      /^There is no stack atlas-live-migration-prod in this region\.\n.*Deploy it first/,
    ],
    [
      'stack',
      'one that was rolled back',
      xmlBut('cloudformation:DescribeStacks', 'UPDATE_COMPLETE', 'UPDATE_ROLLBACK_COMPLETE'),
      /is UPDATE_ROLLBACK_COMPLETE\.\n.*The last deployment did not succeed/,
    ],
    [
      'stack',
      'a deployment that runs',
      xmlBut('cloudformation:DescribeStacks', 'UPDATE_COMPLETE', 'UPDATE_IN_PROGRESS'),
      /is UPDATE_IN_PROGRESS\.\n.*Wait until/,
    ],
    [
      'stack',
      'an output that is missing',
      (_, { outputs }) => delete outputs['RemindOfCutoverArn'],
      /has no output RemindOfCutoverArn/,
    ],
    [
      'stack',
      'no function',
      answersWith(
        'lambda:GetFunctionConfiguration',
        new Refusal('ResourceNotFoundException', 'Function not found', 404),
      ),
      /no function atlas-live-migration-prod-getLiveMigration, although/,
    ],
    [
      'stack',
      'credentials that have expired',
      answersWith('sts:GetCallerIdentity', new Refusal('ExpiredToken', 'expired', 403)),
      /does not accept your credentials \(ExpiredToken\)/,
    ],
    [
      'function',
      'no permission',
      answersWith('lambda:InvokeFunction', denied()),
      /AWS refuses lambda:InvokeFunction \(AccessDeniedException\)\.\n.*docs\/access\.md/,
    ],
    [
      'function',
      'a key that is refused',
      answersWith('lambda:InvokeFunction', {
        requestId: 'r',
        isError: true,
        answer: { errorType: 'AtlasCredentialsRejected', errorMessage: 'Refused.' },
      }),
      /AtlasCredentialsRejected: Refused\.\n.*put a valid one into the secret\.\n.*request id r/,
    ],
    [
      'function',
      'one that does not start',
      answersWith('lambda:InvokeFunction', {
        requestId: 'r',
        isError: true,
        answer: { errorType: 'Runtime.ImportModuleError', errorMessage: 'x' },
      }),
      /The function failed \(Runtime\.ImportModuleError\)/,
    ],
    [
      'API',
      'an answer without a signature',
      (_, { gateway }) => gateway.answerUnsigned(200),
      /A request without a signature or a token is answered with 200/,
    ],
    [
      'log line',
      'no line',
      answersWith('logs:GetQueryResults', { status: 'Complete', results: [] }),
      /has no line of the request 0+-.*\n.*logs:PutLogEvents/,
    ],
    [
      'log line',
      'one without metrics',
      but('logs:GetQueryResults', (usual: object) => JSON.parse(JSON.stringify(usual).replaceAll('{}]', ']'))),
      /has no metrics/,
    ],
    ['log line', 'a query that fails', answersWith('logs:GetQueryResults', { status: 'Failed' }), /ended as Failed/],
    [
      'log query',
      'no line of the access log',
      but('logs:GetQueryResults', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replaceAll('httpStatus', 'other')),
      ),
      /finds no request in both .*vendedlogs/,
    ],
    [
      'metrics',
      'none by a dimension',
      but('cloudwatch:GetMetricData', ({ MetricDataResults }: { MetricDataResults: { Id: string }[] }) => ({
        MetricDataResults: MetricDataResults.filter(({ Id }) => Id !== 'door'),
      })),
      /Requests has no data by door/,
    ],
    [
      'alarms',
      'one that is missing',
      but('cloudwatch:DescribeAlarms', (usual: { MetricAlarms: object[] }) => ({
        ...usual,
        MetricAlarms: usual.MetricAlarms.slice(1),
      })),
      /There is no alarm ErrorsAlarm/,
    ],
    [
      'alarms',
      'one that is on',
      but('cloudwatch:DescribeAlarms', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replace('"OK"', '"ALARM","StateReason":"why"')),
      ),
      /The alarm Errors is on: why/,
    ],
    [
      'alarms',
      'one without an action',
      but('cloudwatch:DescribeAlarms', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replace(topicArn, '').replace('[""]', '[]')),
      ),
      /The alarm Errors has no action/,
    ],
    [
      'wait',
      'an end under another name',
      ends('await', { status: 'FAILED', error: 'SecretInvalid' }),
      /ended as SecretInvalid/,
    ],
    [
      'wait',
      'no end, for want of a right',
      hasError,
      /does not end \(Lambda\.AWSLambdaException: not authorized to perform: lambda:InvokeFunction\)/,
    ],
    [
      'wait',
      'a start that is refused',
      answersWith('states:StartExecution', denied()),
      /AWS refuses states:StartExecution/,
    ],
    [
      'reminder',
      'one that fails',
      ends('remind', { status: 'FAILED', error: 'States.Runtime' }),
      /A reminder ended as States\.Runtime/,
    ],
    [
      'events',
      'no event',
      (_, { messages }) => {
        messages.push = (...all) => (all[0]?.includes('smoke') ? Array.prototype.push.apply(messages, all) : 0);
      },
      /The wait puts no event on the bus migrations/,
    ],
    [
      'events',
      'a bus that does not hand on',
      answersWith('sqs:ReceiveMessage', {}),
      /A rule on the bus migrations gets no event/,
    ],
    [
      'events',
      'a bus that refuses',
      answersWith('events:PutEvents', { FailedEntryCount: 1, Entries: [{ ErrorCode: 'InternalFailure' }] }),
      /does not take events \(InternalFailure\)/,
    ],
    [
      'unknown project',
      'a secret that is denied',
      but('logs:GetQueryResults', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replace('ProjectNotFound\\",', 'ProjectNotFound\\",\\"secretDenied\\":true,')),
      ),
      /may not ask for the secret of a project that has none/,
    ],
    [
      'shared answers',
      'a second question to Atlas',
      but('logs:GetQueryResults', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replaceAll('table\\"', 'atlas\\"')),
      ),
      /The second of two questions asked Atlas again/,
    ],
    [
      'shared answers',
      'a table that fails',
      but('logs:GetQueryResults', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replaceAll('answerFrom', 'tableFailure')),
      ),
      /The table of shared answers fails \(/,
    ],
    [
      'topic',
      'a subscription that is not confirmed',
      xmlBut('sns:GetTopicAttributes', '<value>2<', '<value>0<'),
      /Nobody gets the messages of .*: subscriptions that wait for a confirmation: 1/,
    ],
    ['topic', 'none', xmlBut('sns:GetTopicAttributes', /<value>.</g, '<value>0<'), /it has no subscription/],
    [
      'dashboard',
      'none',
      answersWith('cloudwatch:GetDashboard', new Refusal('ResourceNotFound', 'x', 404)),
      /There is no dashboard atlas-live-migration-prod-us-east-1/,
    ],
    [
      'alarms',
      'actions that are switched off',
      but('cloudwatch:DescribeAlarms', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replace('"StateValue"', '"ActionsEnabled":false,"StateValue"')),
      ),
      /The actions of Errors are switched off/,
    ],
    [
      'shared answers',
      'no answer at all',
      but('lambda:InvokeFunction', (usual: { isError: boolean }, _: never, count: number) =>
        count > 2 ? { ...usual, isError: true, answer: { errorType: 'SecretUnavailable', errorMessage: 'x' } } : usual,
      ),
      /^SecretUnavailable: x/,
    ],
    [
      'metrics',
      'an answer that is no JSON',
      answersWith('cloudwatch:GetMetricData', '<html>'),
      /cloudwatch:GetMetricData failed \(200 NoJson\)/,
    ],
    ['trace', 'an answer that is no JSON', answersWith('xray:BatchGetTraces', '<html>'), /xray:BatchGetTraces failed/],
  ])('%s: %s', async (check, _, change, sentence) => {
    const { of, world } = await smoke(change);
    expect(of(check)).toMatchObject({ result: 'wrong' });
    expect(of(check).text).toMatch(sentence);
    const names = world.calls.map(({ action }) => action);
    expect(names.filter((name) => name === 'events:DeleteRule').length).toBe(
      names.filter((name) => name === 'events:PutRule').length,
    );
    expect(Object.values(world.executions).filter(({ status }) => status === 'RUNNING')).toEqual([]);
  });
});

describe('what is not checked says why', () => {
  test.each<[check: string, change: (answers: Answers, world: World) => void, more: object, why: RegExp]>([
    [
      'API',
      (_, { outputs, resources }) => {
        delete outputs['ApiUrl'];
        resources.shift();
      },
      {},
      /api=none/,
    ],
    ['log query', (_, { resources }) => void resources.splice(1, 1), {}, /has no API/],
    ['events', () => undefined, { ids: undefined }, /give its ids/],
    [
      'events',
      answersWith('states:DescribeStateMachine', {
        definition: '{"EventBusName":"arn:aws:events:us-east-1:999999999999:event-bus/x"}',
      }),
      {},
      /in another account/,
    ],
    [
      'events',
      but('lambda:InvokeFunction', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replace('"readyForCutover":false', '"readyForCutover":true')),
      ),
      {},
      /would start its reminder/,
    ],
    [
      'unknown project',
      (_, { variables }) => {
        variables['ATLAS_SECRET_ID'] = 'atlas/one';
      },
      {},
      /one secret/,
    ],
    [
      'shared answers',
      (_, { variables }) => {
        variables['ANSWER_FRESHNESS_SECONDS'] = '0';
      },
      {},
      /not shared/,
    ],
    [
      'topic',
      but('cloudwatch:DescribeAlarms', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replaceAll(`"${topicArn}"`, '')),
      ),
      {},
      /no alarmTopicArn/,
    ],
    ['trace', answersWith('xray:BatchGetTraces', { Traces: [] }), {}, /aws\/spans/],
    [
      'topic',
      but('cloudwatch:DescribeAlarms', (usual: object) =>
        JSON.parse(JSON.stringify(usual).replaceAll(':123456789012:alarms', ':999999999999:alarms')),
      ),
      {},
      /in another account/,
    ],
    [
      'log query',
      (_, { gateway }) => {
        gateway.answerSigned(401);
        gateway.answerUnsigned(401);
      },
      {},
      /no request went through the API/,
    ],
    [
      'trace',
      but('lambda:GetFunctionConfiguration', (usual: object) => ({ ...usual, TracingConfig: { Mode: 'PassThrough' } })),
      {},
      /tracing=false/,
    ],
  ])('%s', async (check, change, more, why) => {
    const { of } = await smoke(change, more);
    expect(of(check)).toMatchObject({ result: 'skipped', text: expect.stringMatching(why) });
  });

  test('an API that wants a JWT is asked without one, and refuses', async () => {
    const { of } = await smoke((_, { gateway }) => {
      gateway.answerSigned(401);
      gateway.answerUnsigned(401);
    });
    expect(of('API')).toMatchObject({
      result: 'ok',
      text: expect.stringMatching(/^it wants a JWT and refuses others/),
    });
  });

  test('without the function nothing else can be said, and each check says so', async () => {
    const { results } = await smoke(answersWith('lambda:InvokeFunction', denied()));
    expect(results).toHaveLength(15);
    expect(results.filter(({ text }) => text === 'without an answer of the function')).toHaveLength(13);
  });

  test('a stack that was rolled back works as before, and is checked', async () => {
    const { of } = await smoke(xmlBut('cloudformation:DescribeStacks', 'UPDATE_COMPLETE', 'UPDATE_ROLLBACK_COMPLETE'));
    expect([of('stack').result, of('function').result, of('dashboard').result]).toEqual(['wrong', 'ok', 'ok']);
  });

  test('without ids, ones that do not exist are good enough', async () => {
    const { results } = await smoke(undefined, { ids: undefined });
    expect(results.filter(({ result }) => result === 'wrong')).toEqual([]);
  });
});

test('what cannot be removed is named', async () => {
  const { of } = await smoke((answers) => {
    answers['events:DeleteRule'] = denied;
    answers['states:StopExecution'] = denied;
  });
  expect(of('events')).toMatchObject({
    result: 'wrong',
    text: expect.stringMatching(
      /Not removed: arn:aws:states:.*:smoke-\w+ \(AccessDeniedException\), the rule smoke-\w+ \(AccessDeniedException\)\. Remove it by hand\./,
    ),
  });
});

test('alarms of another stage, whose name begins with this one, are not looked at', async () => {
  const other = { AlarmName: 'atlas-live-migration-prod-eu-Errors', StateValue: 'ALARM', AlarmActions: [topicArn] };
  const { of } = await smoke(
    but('cloudwatch:DescribeAlarms', (usual: { MetricAlarms: object[] }) => ({
      ...usual,
      MetricAlarms: [other, ...usual.MetricAlarms],
    })),
  );
  expect(of('alarms')).toMatchObject({ result: 'ok' });
});
