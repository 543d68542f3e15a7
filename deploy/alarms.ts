/**
 * The alarms, made from one table: what is wrong, what to do first, and when each fires; and the metrics that CloudWatch
 * Logs counts for them. tests/alarms.test.ts runs them over made series; docs/operate.md is the runbook.
 *
 * CloudWatch evaluates an alarm once a minute, over windows that end at that minute. So windows of more than a minute shift
 * every minute. And it leaves open how many datapoints it reads, and what it makes of a metric that has none. Therefore
 * each expression here gives the same whatever is read for what is missing: it fills each metric, and looks at metrics
 * of which one is there whenever the other is.
 */

import { namespace } from '../lib/lambda/invocation-line.ts';
import type { Api } from './api.ts';
import type { Alarm, Metric, Part, Query, Resource } from './cloudformation.ts';
import type { Settings } from './parameters.ts';

const minute = 60;
/** Minutes that an alarm stays on after one fault, so that an hourly fault does not notify once an hour. */
const ONCE = 80;
/** Minutes within which two faults are repeated, also at hourly questions. */
const REPEATED = 130;

/** The metrics that the function or a state machine of this service writes. */
const metricsOf =
  (service: string) =>
  (name: string): Metric => ({
    Namespace: namespace,
    MetricName: name,
    Dimensions: [{ Name: 'service', Value: service }],
  });

const query = (Id: string, Metric: Metric, seconds: number, Stat = 'Sum'): Query => ({
  Id,
  ReturnData: false,
  MetricStat: { Metric, Period: seconds, Stat },
});
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

/** What CloudWatch Logs counts: the metric, the log group, and what a line must have, in one of several patterns. */
type Count = { metric: Metric; logGroup: string; patterns: string[] };

/** A metric filter can't name the service as a dimension. */
const counted = (service: string, name: string, logGroup: string, patterns: string[]): Count => ({
  metric: { Namespace: `${namespace}/${service}`, MetricName: name, Dimensions: [] },
  logGroup,
  patterns,
});

/**
 * The lines that Lambda itself writes where an invocation did not come to its end. A failure that the function throws is
 * none: Lambda may write "Status: error" for it, with the type Runtime.Unknown.
 */
const functionFailures = (service: string) =>
  counted(service, 'FunctionFailures', 'GetLiveMigrationLogGroup', [
    // It does not start. Lambda tries again where a start only takes too long.
    '"INIT_REPORT" "Status: error"',
    // It exits, or runs out of memory.
    '"Error Type: Runtime." -"Runtime.Unknown"',
    '"Status: timeout" -"INIT_REPORT"',
    '?"Task timed out" ?"Error Type: Sandbox."',
  ]);

/** The calls that the API could not hand to the function, or whose answer it could not use. */
const integrationFailures = (service: string, accessLog: string) =>
  counted(service, 'IntegrationFailures', accessLog, ['{ ($.status >= 500) && ($.integrationError != "-") }']);

/** Alarms that tell nobody, and the rule that makes one of them. */
type Composite = { parts: Record<string, Alarm>; rule: (alarm: (part: string) => string) => string };

/** For each alarm: when it fires, what is wrong, and what to do first. */
const table = (
  own: ReturnType<typeof metricsOf>,
  counts: { ofFunction: Count; ofApi?: Count | undefined },
  hasTable: boolean,
): Record<string, [Alarm | Composite, wrong: string, first: string]> => ({
  FunctionFails: [
    atFirst(counts.ofFunction.metric),
    'The function did not finish: it does not start, exits, runs out of memory, or runs into its time-out.',
    'Read the last lines of the log group of the function, and roll back if this began with a deployment.',
  ],
  ...(counts.ofApi
    ? {
        ApiFails: [
          atFirst(counts.ofApi.metric),
          'The API could not call the function, or got no answer that it can use.',
          'Read integrationError in the access log of the API: the permission to invoke the function may be missing.',
        ],
      }
    : {}),
  Unanswered: [
    {
      parts: {
        // A fault of two minutes is over by the fourth minute, also for a wait, which asks again after 10, 20 and 40 s.
        UnansweredFourTimes: {
          ...reaches(1, own('Unanswered'), 1),
          EvaluationPeriods: REPEATED,
          DatapointsToAlarm: 4,
        },
        UnansweredQuarter: holds(
          'FILL(u, 0) > 0 AND 4 * FILL(u, 0) >= FILL(r, 0)',
          { u: [own('Unanswered')], r: [own('Requests')] },
          45,
        ),
        // There may be one question an hour.
        UnansweredAll: {
          ...holds(
            'FILL(u, 0) > 0 AND FILL(u, 0) == FILL(r, 0)',
            { u: [own('Unanswered')], r: [own('Requests')] },
            REPEATED / 2,
          ),
          EvaluationPeriods: 2,
        },
      },
      rule: (alarm) =>
        `(${alarm('UnansweredFourTimes')} AND ${alarm('UnansweredQuarter')}) OR ${alarm('UnansweredAll')}`,
    },
    'Questions get no answers: Atlas or Secrets Manager is down or limits the rate, or the secrets of projects are denied.',
    'Look at the outcomes on the dashboard, and then at the status page of Atlas (https://status.mongodb.com) or at the route from the subnets to the internet.',
  ],
  Errors: [
    atFirst(own('Errors')),
    'A question met a failure that only you can mend: the key, the secret, what Atlas answers, or an error of the function.',
    'Read detail in the newest log line with the level ERROR: it says what to mend.',
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
  Throttles: [
    atFirst({
      Namespace: 'AWS/Lambda',
      MetricName: 'Throttles',
      Dimensions: [{ Name: 'FunctionName', Value: { Ref: 'GetLiveMigrationLambdaFunction' } }],
    }),
    'Lambda throttled calls.',
    'Raise reservedConcurrency or the account limit of concurrent executions, or find the caller that asks too often (access log, field caller).',
  ],
  EventsRefused: [
    // With one poll an hour, the third comes after two hours.
    reaches(3, own('EventsRefused'), 200),
    'The EventBridge bus refuses events. Waits send them again, for up to an hour before they end, and reminders until the next one is due.',
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
    'If no other alarm is on, read the errors in the log group of the state machines: they may not be allowed to invoke the function.',
  ],
  LostRounds: [
    // The pauses between lost rounds grow to 90 minutes.
    reaches(2, own('LostRounds'), 200),
    'Step Functions does not start, or loses, executions of pollLiveMigration, and waits poll late.',
    'Look at the quotas of Step Functions in this account, and at the failed executions of pollLiveMigration.',
  ],
});

/** One metric filter for each pattern of a metric. */
const filters = ({ metric: { Namespace, MetricName }, logGroup, patterns }: Count): Record<string, Resource> =>
  Object.fromEntries(
    patterns.map((FilterPattern, index) => [
      `${MetricName}Filter${index + 1}`,
      {
        Type: 'AWS::Logs::MetricFilter',
        Properties: {
          LogGroupName: { Ref: logGroup },
          FilterPattern,
          MetricTransformations: [{ MetricNamespace: Namespace, MetricName, MetricValue: '1', Unit: 'Count' }],
        },
      },
    ]),
  );

/**
 * @param settings the parameters and names of the deployment
 * @param api the form of the API
 */
export const alarms = ({ service, alarmTopicArn, runbookUrl, freshnessSeconds }: Settings, { gateway }: Api): Part => {
  const counts = {
    ofFunction: functionFailures(service),
    ofApi: gateway && integrationFailures(service, gateway.accessLog),
  };
  const actions = alarmTopicArn ? [alarmTopicArn] : [];
  const nameOf = (name: string) => `${service}-${name}`;
  const metricAlarm = (name: string, condition: Alarm, more: object): Resource => ({
    Type: 'AWS::CloudWatch::Alarm',
    Properties: {
      AlarmName: nameOf(name),
      ...condition,
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      TreatMissingData: 'notBreaching',
      ...more,
    },
  });

  const resources = Object.entries(table(metricsOf(service), counts, Number(freshnessSeconds) > 0)).flatMap(
    ([name, [condition, wrong, first]]): [string, Resource][] => {
      const tells = {
        AlarmDescription: `${wrong} ${first} Runbook: ${runbookUrl || 'docs/operate.md'}, section ${name}.`,
        AlarmActions: actions,
        OKActions: actions,
      };
      if (!('parts' in condition)) return [[`${name}Alarm`, metricAlarm(name, condition, tells)]];
      const { parts, rule } = condition;
      return [
        ...Object.entries(parts).map(([part, alarm]): [string, Resource] => [
          part,
          metricAlarm(part, alarm, { AlarmDescription: `A part of ${nameOf(name)}.` }),
        ]),
        [
          `${name}Alarm`,
          {
            Type: 'AWS::CloudWatch::CompositeAlarm',
            // The rule names the parts, which CloudFormation does not see.
            DependsOn: Object.keys(parts),
            Properties: { AlarmName: nameOf(name), AlarmRule: rule((part) => `ALARM("${nameOf(part)}")`), ...tells },
          },
        ],
      ];
    },
  );
  return {
    Resources: {
      ...filters(counts.ofFunction),
      ...(counts.ofApi ? filters(counts.ofApi) : {}),
      ...Object.fromEntries(resources),
    },
  };
};
