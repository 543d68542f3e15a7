/**
 * The alarms, made from one table: what is wrong, what to do first, and when each fires. tests/alarms.test.ts runs them
 * over made series; docs/operate.md is the runbook.
 *
 * CloudWatch evaluates an alarm once a minute, over windows that end at that minute. So several windows of more than a
 * minute shift every minute, and an alarm that counts them changes its state again and again. Therefore
 * each alarm here looks at one window, or at windows of a minute.
 */

import type { Api } from './api.ts';
import type { Alarm, Metric, Part, Query } from './cloudformation.ts';
import type { Settings } from './parameters.ts';

const minute = 60;
/** Minutes that an alarm stays on after one fault, so that an hourly fault does not notify once an hour. */
const ONCE = 80;
/** Minutes within which two faults are repeated, also at hourly questions. */
const REPEATED = 130;

/** The metrics that the function or a state machine of this service writes. */
const metricsOf =
  (service: string) =>
  (name: string, dimensions: Record<string, string> = {}): Metric => ({
    Namespace: 'AtlasLiveMigration',
    MetricName: name,
    Dimensions: Object.entries({ service, ...dimensions }).map(([Name, Value]) => ({ Name, Value })),
  });
const ofFunction = (name: string): Metric => ({
  Namespace: 'AWS/Lambda',
  MetricName: name,
  Dimensions: [{ Name: 'FunctionName', Value: { Ref: 'GetLiveMigrationLambdaFunction' } }],
});

const query = (Id: string, Metric: Metric, seconds: number, Stat = 'Sum'): Query => ({
  Id,
  ReturnData: false,
  MetricStat: { Metric, Period: seconds, Stat },
});
const step = (Id: string, Expression: string): Query => ({ Id, Expression, ReturnData: false });
const result = (Expression: string): Query => ({ Id: 'result', Expression, ReturnData: true });

/** Fires while `threshold` is reached in the last minutes. */
const reaches = (threshold: number, metric: Metric, minutes: number): Alarm => ({
  Metrics: [query('m', metric, minutes * minute), result('FILL(m, 0)')],
  EvaluationPeriods: 1,
  Threshold: threshold,
});

/** Fires at the first. */
const atFirst = (metric: Metric) => reaches(1, metric, ONCE);

/** Fires while an expression over metrics, one letter each, is true for the last minutes. */
const holds = (expression: string, metrics: Record<string, [Metric, stat?: string]>, minutes: number): Alarm => ({
  Metrics: [
    ...Object.entries(metrics).map(([id, [metric, stat]]) => query(id, metric, minutes * minute, stat)),
    result(`IF(${expression}, 1, 0)`),
  ],
  EvaluationPeriods: 1,
  Threshold: 1,
});

/** A metric by the minute: x0 is this minute, x1 the one before, and so on. Metric math has no other word for that. */
const byMinute = (x: string, metric: Metric, minutes: number): Query[] => [
  query(x, metric, minute),
  step(`${x}0`, `FILL(${x}, 0)`),
  ...Array.from({ length: minutes - 1 }, (_, at) => step(`${x}${at + 1}`, `${x}${at} - DIFF(${x}${at})`)),
];
const sumOf = (x: string, minutes: number) => Array.from({ length: minutes }, (_, at) => `${x}${at}`).join(' + ');

/**
 * Fires when, for the calls of one minute, less than half as many outcomes were written in that minute and the next three:
 * a call may end in a later minute than it began, and what comes out of a log comes late.
 */
const withoutOutcome = (calls: Metric, outcomes: Metric): Alarm => ({
  Metrics: [...byMinute('c', calls, 4), ...byMinute('o', outcomes, 4), result(`IF(c3 > 2 * (${sumOf('o', 4)}), 1, 0)`)],
  EvaluationPeriods: ONCE,
  DatapointsToAlarm: 1,
  Threshold: 1,
});

/** For each alarm: when it fires, what is wrong, and what to do first. */
const table = (
  own: ReturnType<typeof metricsOf>,
  gateway: Api['gateway'],
  hasTable: boolean,
): Record<string, [Alarm, wrong: string, first: string]> => ({
  FunctionFails: [
    withoutOutcome(ofFunction('Invocations'), own('Requests')),
    'Lambda called the function, and the function did not finish: it does not start, runs out of memory, or runs into its time-out.',
    'Read the last lines of the log group of the function, and roll back if this began with a deployment.',
  ],
  ...(gateway
    ? {
        ApiFails: [
          withoutOutcome(gateway.serverErrors, own('Requests', { door: gateway.door })),
          'The API answers with 5xx, and the function wrote no outcome for these calls.',
          'Look at integrationError in the access log of the API: the permission to invoke the function may be missing.',
        ],
      }
    : {}),
  NoAnswers: [
    // Failures with no answer in the five minutes before and the three after them, in two minutes of the last 130. A wait
    // asks again soon after a failure, and there may be one question an hour.
    {
      Metrics: [
        ...byMinute('u', own('Unanswered'), 4),
        ...byMinute('a', own('Requests', { outcome: 'Answered' }), 9),
        result(`IF(u3 > 0 AND ${sumOf('a', 9)} == 0, 1, 0)`),
      ],
      EvaluationPeriods: REPEATED,
      DatapointsToAlarm: 2,
      Threshold: 1,
    },
    'The function gets questions and answers none: Atlas or Secrets Manager is down or limits the rate, or the secrets of projects are denied.',
    'Look at the outcomes on the dashboard, and then at the status page of Atlas (https://status.mongodb.com) or at the route from the subnets to the internet.',
  ],
  ManyUnanswered: [
    // At more than a call a minute, one answer in each minute hides all failures from NoAnswers.
    holds('FILL(u, 0) >= 20 AND 3 * FILL(u, 0) > FILL(r, 0)', { u: [own('Unanswered')], r: [own('Requests')] }, 15),
    'More than a third of the questions of the last quarter of an hour were not answered.',
    'Look at the outcomes on the dashboard, and at the detail in the log lines: one subnet may have no route to the internet, or one project no key.',
  ],
  CredentialsRejected: [
    atFirst(own('Requests', { outcome: 'AtlasCredentialsRejected' })),
    'Atlas refuses the key in the secret.',
    'Create a new API key or service account in Atlas (Organization Member) and put it into the secret; the function reads it with the next refused call.',
  ],
  AccessDenied: [
    atFirst(own('Requests', { outcome: 'AtlasAccessDenied' })),
    'Atlas accepts the key, but the key may not see a project.',
    'Read the detail in the log line: either the address that it names is missing in the access list of the key, or the key has no role in that organization or project.',
  ],
  SecretInvalid: [
    atFirst(own('Requests', { outcome: 'SecretInvalid' })),
    'The secret is missing or malformed, or may not be read.',
    'Read the detail in the log line, and check atlasSecretId, kmsKeyArn and the JSON in the secret.',
  ],
  AtlasUnexpectedAnswer: [
    atFirst(own('Requests', { outcome: 'AtlasUnexpectedAnswer' })),
    'The function does not understand what Atlas answers.',
    'Check atlasBaseUrl, or baseUrl in the secret; if it is right, read the detail in the log line: the API version may be gone, or Atlas has changed its answers.',
  ],
  InternalError: [
    atFirst(own('Requests', { outcome: 'InternalError' })),
    'The function had an unexpected error.',
    'Read the name and the place of the error in the log line, and roll back if this began with a deployment.',
  ],
  RateLimited: [
    holds(
      'FILL(l, 0) >= 8 AND 4 * FILL(l, 0) > FILL(r, 0)',
      { l: [own('Requests', { outcome: 'AtlasRateLimited' })], r: [own('Requests')] },
      60,
    ),
    'Atlas has limited the rate of more than a quarter of the questions of the last hour.',
    'Find the callers that ask most often (access log, field caller), and let them start one wait and listen on the bus.',
  ],
  StaleSecret: [
    reaches(2, own('StaleSecret'), REPEATED),
    'Secrets Manager fails or returns a secret that is not valid; the function uses the old one, and new execution environments have none.',
    'Read staleSecret in the log lines: it names the failure.',
  ],
  ...(hasTable
    ? {
        TableFails: [
          // The table fails for half of the questions that use it, in fifteen minutes of the last forty. Where fewer questions
          // come than one in two minutes, Atlas can bear them without a table.
          {
            ...holds(
              'FILL(f, 0) > 0 AND 2 * FILL(f, 0) >= FILL(n, 0)',
              {
                f: [own('TableFailures'), 'Sum'],
                n: [own('TableFailures'), 'SampleCount'],
              },
              1,
            ),
            EvaluationPeriods: 40,
            DatapointsToAlarm: 15,
          },
          'The table of shared answers fails; callers still get their answers, but each execution environment asks Atlas itself.',
          'Read tableFailure in the log lines of the function: it names the error. Atlas may limit the rate while this lasts.',
        ],
      }
    : {}),
  Latency: [
    holds(
      'FILL(n, 0) >= 3 AND FILL(d, 0) >= 10000',
      { n: [ofFunction('Duration'), 'SampleCount'], d: [ofFunction('Duration'), 'p50'] },
      45,
    ),
    'Half of the answers take longer than 10 seconds.',
    'Compare AtlasLatency and secretMs in the log lines; if both are short, give the function more memory.',
  ],
  Throttles: [
    atFirst(ofFunction('Throttles')),
    'Lambda throttled calls.',
    'Raise reservedConcurrency or the account limit of concurrent executions, or find the caller that asks too often (access log, field caller).',
  ],
  EventsRefused: [
    // With one poll an hour, the third comes after two hours.
    reaches(3, own('EventsRefused'), 200),
    'The EventBridge bus refuses events; the waits send them again, for up to an hour before they end.',
    'Check that the bus in eventBusName exists, and that its policy lets this account put events.',
  ],
  RemindersRefused: [
    reaches(3, own('RemindersRefused'), 200),
    'A reminder of a cutover cannot be started, or its message cannot be sent; the reminder tries again.',
    'Check that the topic in alarmTopicArn exists and takes messages, and read the errors in the log group of the state machines.',
  ],
  WaitsWithoutAnswer: [
    atFirst(own('PollsWithoutAnswer')),
    'The polls of a wait have failed for an hour; the wait goes on by itself.',
    'Read the outcomes in the log lines of the function: they say why.',
  ],
  LostRounds: [
    // The pauses between lost rounds grow to 90 minutes.
    reaches(2, own('LostRounds'), 200),
    'Step Functions does not start, or loses, executions of pollLiveMigration, and waits poll late.',
    'Look at the quotas of Step Functions in this account, and at the failed executions of pollLiveMigration.',
  ],
});

/**
 * @param settings the parameters and names of the deployment
 * @param api the form of the API
 */
export const alarms = ({ service, alarmTopicArn, runbookUrl, freshnessSeconds }: Settings, { gateway }: Api): Part => ({
  Resources: Object.fromEntries(
    Object.entries(table(metricsOf(service), gateway, Number(freshnessSeconds) > 0)).map(
      ([name, [condition, wrong, first]]) => [
        `${name}Alarm`,
        {
          Type: 'AWS::CloudWatch::Alarm',
          Properties: {
            AlarmName: `${service}-${name}`,
            AlarmDescription: `${wrong} ${first} Runbook: ${runbookUrl || 'docs/operate.md'}, section ${name}.`,
            ...condition,
            ComparisonOperator: 'GreaterThanOrEqualToThreshold',
            TreatMissingData: 'notBreaching',
            AlarmActions: alarmTopicArn ? [alarmTopicArn] : [],
            OKActions: alarmTopicArn ? [alarmTopicArn] : [],
          },
        },
      ],
    ),
  ),
});
