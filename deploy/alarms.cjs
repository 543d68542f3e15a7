/**
 * The alarms, made from one table: what is wrong, what to do first, and when each fires. CloudWatch evaluates them once a
 * minute over windows that end at that minute. tests/alarms.test.ts runs them over made series; docs/operate.md is the
 * runbook.
 */

const service = '${self:service}-${sls:stage}';
/** Each window, in seconds. */
const fiveMinutes = 300;

/** A metric that the function or a state machine writes. */
const own = (name, dimensions = {}) => ({
  Namespace: 'AtlasLiveMigration',
  MetricName: name,
  Dimensions: Object.entries({ service, ...dimensions }).map(([Name, Value]) => ({ Name, Value })),
});
const ofFunction = (name) => ({
  Namespace: 'AWS/Lambda',
  MetricName: name,
  Dimensions: [{ Name: 'FunctionName', Value: { Ref: 'GetLiveMigrationLambdaFunction' } }],
});
/** Fires when `metric` reaches `threshold` in so many of the last windows. */
const reaches = (threshold, metric, { datapoints, windows, statistic = { Statistic: 'Sum' } }) => ({
  ...metric,
  ...statistic,
  Period: fiveMinutes,
  EvaluationPeriods: windows,
  DatapointsToAlarm: datapoints,
  Threshold: threshold,
});

/** Fires when an expression over sums of metrics, one letter each, is 1 in so many of the last windows. */
const holds = (expression, metrics, { datapoints, windows }) => ({
  Metrics: [
    ...Object.entries(metrics).map(([Id, Metric]) => ({
      Id,
      ReturnData: false,
      MetricStat: { Metric, Period: fiveMinutes, Stat: 'Sum' },
    })),
    { Id: 'holds', Expression: expression, ReturnData: true },
  ],
  EvaluationPeriods: windows,
  DatapointsToAlarm: datapoints,
  Threshold: 1,
});

// One window is enough. The alarm stays on for 75 minutes after the last one, so that what goes wrong once an hour does
// not ring once an hour.
const atOnce = { datapoints: 1, windows: 15 };
// Two windows in 130 minutes: a single failure is no reason to ring, and two in a row are, also with one question an hour.
const whenRepeated = { datapoints: 2, windows: 26 };

/**
 * Calls came in, and in their window and the next one no outcome was written: a call may end a window later. Metric math
 * has no word for the window before: x - DIFF(x) is x in that window.
 */
const withoutOutcome = (calls, outcomes) =>
  holds(
    'IF(FILL(c, 0) - DIFF(FILL(c, 0)) > 0 AND 2 * FILL(o, 0) - DIFF(FILL(o, 0)) == 0, 1, 0)',
    { c: calls, o: outcomes },
    atOnce,
  );

/** For each alarm: when it fires, what is wrong, and what to do first. */
const table = (api) => ({
  FunctionFails: [
    withoutOutcome(ofFunction('Invocations'), own('Requests')),
    'Lambda called the function, and the function did not come to an end: it does not start, runs out of memory, or runs into its time-out.',
    'Read the last lines of the log group of the function, and roll back if this began with a deployment.',
  ],
  ...(api.metric
    ? {
        ApiFails: [
          withoutOutcome(api.metric(api.serverErrors), own('Requests', { door: api.door })),
          'The API answers with 5xx without an answer of the function.',
          'Look at integrationError in the access log of the API: the permission to invoke the function may be missing.',
        ],
      }
    : {}),
  NoAnswers: [
    holds(
      'IF(FILL(u, 0) > 0 AND FILL(a, 0) == 0, 1, 0)',
      { u: own('Unanswered'), a: own('Requests', { outcome: 'Answered' }) },
      whenRepeated,
    ),
    'Questions are asked, and none is answered: Atlas or Secrets Manager is down or limits the rate, or the secrets of projects are denied.',
    'Look at the outcomes on the dashboard, and then at the status page of Atlas (https://status.mongodb.com) or at the way out of the subnets.',
  ],
  CredentialsRejected: [
    reaches(1, own('Requests', { outcome: 'AtlasCredentialsRejected' }), atOnce),
    'Atlas refuses the key in the secret.',
    'Create a new API key or service account in Atlas (Organization Member) and put it into the secret; the function reads it with the next refused call.',
  ],
  AccessDenied: [
    reaches(1, own('Requests', { outcome: 'AtlasAccessDenied' }), atOnce),
    'Atlas accepts the key, but the key may not see a project.',
    'Read the detail in the log line: either the address that it names is missing in the access list of the key, or the key has no role in that organization or project.',
  ],
  SecretInvalid: [
    reaches(1, own('Requests', { outcome: 'SecretInvalid' }), atOnce),
    'The secret is missing or malformed, or may not be read.',
    'Read the detail in the log line, and check atlasSecretId, kmsKeyArn and the JSON in the secret.',
  ],
  AtlasUnexpectedAnswer: [
    reaches(1, own('Requests', { outcome: 'AtlasUnexpectedAnswer' }), atOnce),
    'The function does not understand what Atlas answers.',
    'Check atlasBaseUrl, or baseUrl in the secret; if it is right, read the detail in the log line: the API version may be gone, or Atlas has changed its answers.',
  ],
  InternalError: [
    reaches(1, own('Requests', { outcome: 'InternalError' }), atOnce),
    'The function met an error that it does not expect.',
    'Read the name and the place of the error in the log line, and roll back if this began with a deployment.',
  ],
  RateLimited: [
    reaches(1, own('Requests', { outcome: 'AtlasRateLimited' }), { datapoints: 10, windows: 12 }),
    'Atlas has limited the rate of requests for an hour.',
    'Find the callers that ask most often (access log, field caller), and let them start one wait and listen on the bus.',
  ],
  StaleSecret: [
    reaches(1, own('StaleSecret'), whenRepeated),
    'Secrets Manager fails or hands out a secret that is not valid; the function uses the old one, and new execution environments have none.',
    'Read staleSecret in the log lines: it names the failure.',
  ],
  Latency: [
    reaches(10_000, ofFunction('Duration'), { datapoints: 3, windows: 3, statistic: { ExtendedStatistic: 'p99' } }),
    'One answer in a hundred takes longer than 10 seconds.',
    'Compare atlasMs and secretMs in the log lines; if both are short, give the function more memory.',
  ],
  Throttles: [
    reaches(1, ofFunction('Throttles'), atOnce),
    'Lambda turned calls away.',
    'Raise reservedConcurrency or the account limit of concurrent executions, or find the caller that asks too often (access log, field caller).',
  ],
  EventsRefused: [
    reaches(1, own('EventsRefused'), whenRepeated),
    'The EventBridge bus does not take events; they are put again, and for up to an hour before a wait ends.',
    'Check that the bus in eventBusName exists, and that its policy lets this account put events.',
  ],
  RemindersRefused: [
    reaches(1, own('RemindersRefused'), whenRepeated),
    'A reminder of a cutover can not be started, or its message can not be sent; it is tried again.',
    'Check that the topic in alarmTopicArn exists and takes messages, and read the errors in the log group of the state machines.',
  ],
  WaitsWithoutAnswer: [
    reaches(1, own('PollsWithoutAnswer'), atOnce),
    'The polls of a wait have failed for an hour; the wait goes on by itself.',
    'Read the outcomes in the log lines of the function: they say why.',
  ],
  LostRounds: [
    // The pauses between lost rounds grow to 90 minutes.
    reaches(1, own('LostRounds'), { datapoints: 2, windows: 40 }),
    'Step Functions does not start, or loses, executions of pollLiveMigration, and waits poll late.',
    'Look at the quotas of Step Functions in this account, and at the failed executions of pollLiveMigration.',
  ],
});

/**
 * @param values the deployment's parameters, judged
 * @param api the form of the API: its metrics, and the door that it is to the function
 */
module.exports = ({ alarmTopicArn, runbookUrl }, api) => ({
  Resources: Object.fromEntries(
    Object.entries(table(api)).map(([name, [condition, wrong, first]]) => [
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
    ]),
  ),
});
