/** The alarms, made of a table: what each watches, when it fires, and what to do, in its description. */

const service = '${self:service}-${sls:stage}';
const fiveMinutes = 300;
const anHour = 3600;

/** A metric of the function's own, for one outcome. */
const own = (name, outcome) => ({
  Namespace: 'AtlasLiveMigration',
  MetricName: name,
  Dimensions: [
    { Name: 'service', Value: service },
    { Name: 'outcome', Value: outcome },
  ],
});
const requests = (outcome) => own('Requests', outcome);

const ofResource = (namespace, name, dimension, resource) => ({
  Namespace: namespace,
  MetricName: name,
  Dimensions: [{ Name: dimension, Value: { Ref: resource } }],
});
const ofFunction = (name) => ofResource('AWS/Lambda', name, 'FunctionName', 'GetLiveMigrationLambdaFunction');
const ofMachines = (name) => ({
  Namespace: 'AtlasLiveMigration',
  MetricName: name,
  Dimensions: [{ Name: 'service', Value: service }],
});
const ofWait = (name) => ofResource('AWS/States', name, 'StateMachineArn', 'AwaitLiveMigration');

/** Fires when `metric` reaches `threshold` in each of `periods` periods. */
const reaches = (threshold, metric, { periods = 1, period = fiveMinutes, statistic = { Statistic: 'Sum' } } = {}) => ({
  ...metric,
  ...statistic,
  Period: period,
  EvaluationPeriods: periods,
  ...(periods > 1 && metric.Namespace === 'AtlasLiveMigration' ? { DatapointsToAlarm: periods } : {}),
  Threshold: threshold,
});

/** Fires when an expression over metrics is 1 in `datapoints` of the last `periods` periods. */
const holds = (id, expression, metrics, { period, statistic, periods, datapoints }) => ({
  Metrics: [
    ...Object.entries(metrics).map(([name, metric]) => ({
      Id: name,
      ReturnData: false,
      MetricStat: { Metric: metric, Period: period, Stat: statistic },
    })),
    { Id: id, Expression: expression, ReturnData: true },
  ],
  EvaluationPeriods: periods,
  DatapointsToAlarm: datapoints,
  Threshold: 1,
});

const table = {
  CredentialsRejected: [
    reaches(1, requests('AtlasCredentialsRejected')),
    'Atlas refuses the key in the secret. Create a new API key or service account in Atlas (Organization Member), put it into the secret, and the function reads it with the next refused call.',
  ],
  AccessDenied: [
    reaches(1, requests('AtlasAccessDenied')),
    'The key is good but may not see a project. Read the detail in the log line: either the address it names is missing from the API access list of the key, or the key has no role in that organization or project.',
  ],
  SecretInvalid: [
    reaches(1, requests('SecretInvalid')),
    'The secret is missing, forbidden or malformed. Read the detail in the log line: it names the secret and the missing fields. Check atlasSecretId, kmsKeyArn and the JSON in the secret.',
  ],
  InternalError: [
    reaches(1, requests('InternalError')),
    'The function met something unexpected. The log line has the name and the place of the error. Roll back if it began with a deployment; report it with that line.',
  ],
  AtlasUnexpectedAnswer: [
    reaches(1, requests('AtlasUnexpectedAnswer')),
    'Atlas answers something that is not understood. Check atlasBaseUrl, or baseUrl in the secret. If it is right, read the detail in the log line: the API version may be gone (410), or Atlas has changed its answers.',
  ],
  SecretUnavailable: [
    reaches(1, requests('SecretUnavailable'), { periods: 3 }),
    'Secrets Manager has not answered for a quarter of an hour. In a VPC, the function needs a NAT gateway or an interface endpoint for Secrets Manager, and a security group that lets HTTPS out.',
  ],
  // Half an hour of failures without an answer among them; a single failure beside answers is no outage.
  AtlasUnavailable: [
    holds(
      'outage',
      'IF(FILL(answered, 0) == 0 AND FILL(unavailable, 0) + FILL(timedOut, 0) > 0, 1, 0)',
      {
        answered: requests('Answered'),
        unavailable: requests('AtlasUnavailable'),
        timedOut: requests('AtlasTimedOut'),
      },
      { period: fiveMinutes, statistic: 'Sum', periods: 6, datapoints: 6 },
    ),
    'Atlas has not answered for half an hour. Look at https://status.mongodb.com; the waits go on by themselves. If Atlas is up, check the way from the subnets to the internet (NAT gateway, security groups).',
  ],
  Latency: [
    reaches(10_000, ofFunction('Duration'), { periods: 3, statistic: { ExtendedStatistic: 'p99' } }),
    'One answer in a hundred takes longer than 10 seconds. Compare AtlasLatency and secretMs in the log lines: Atlas is slow, or Secrets Manager is. If both are fast, give the function more memory.',
  ],
  Throttles: [
    reaches(1, ofFunction('Throttles')),
    'Lambda turned calls away. Raise reservedConcurrency, or the account limit of concurrent executions, or find the caller who asks too often (access log, field caller).',
  ],
  // The state machines count these themselves.
  EventsRefused: [
    reaches(1, ofMachines('EventsRefused'), { period: anHour }),
    'The EventBridge bus did not take an event. It is put again each minute, and for up to an hour before a wait ends. Check that the bus in eventBusName exists, and that its policy lets this account put events.',
  ],
  RemindersRefused: [
    reaches(1, ofMachines('RemindersRefused'), { period: anHour }),
    'A reminder of a cutover that is due could not be started, or its message could not be sent. It is tried again. Check that the topic in alarmTopicArn exists and takes messages, and the errors in the log group of the state machines.',
  ],
  WaitsWithoutAnswer: [
    reaches(1, ofMachines('PollsWithoutAnswer'), { period: anHour }),
    'A wait has had no answer for an hour. It goes on by itself. The log lines of the function say why; the alarms about Atlas and the secret say what to do.',
  ],
  LostRounds: [
    reaches(3, ofMachines('LostRounds'), { period: anHour }),
    'Step Functions refused to start, or lost, executions of pollLiveMigration, and waits poll late. Look at the quotas of Step Functions in this account, and at the failed executions of pollLiveMigration.',
  ],
  WaitsFailed: [
    reaches(1, ofWait('ExecutionsFailed')),
    'A wait has failed. Open the failed execution of the state machine: its error says whether the migration failed or expired, the wait was given up, or the adapter could not ask.',
  ],
};

const actions = '${self:custom.deployment.alarmActions}';

module.exports = () => ({
  Resources: Object.fromEntries(
    Object.entries(table).map(([name, [condition, description]]) => [
      `${name}Alarm`,
      {
        Type: 'AWS::CloudWatch::Alarm',
        Properties: {
          AlarmName: `${service}-${name}`,
          AlarmDescription: description,
          ...condition,
          ComparisonOperator: 'GreaterThanOrEqualToThreshold',
          TreatMissingData: 'notBreaching',
          AlarmActions: actions,
          OKActions: actions,
        },
      },
    ]),
  ),
});
module.exports.names = Object.keys(table);
