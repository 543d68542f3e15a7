// @ts-nocheck
/**
 * The CloudWatch dashboard: what a person wants to see during a migration, from the top. In its body, `Service`, `AWS::…`
 * and the names of resources are filled in by CloudFormation.
 */

const own = 'AtlasLiveMigration';
const service = '${Service}';

/** Finds the metrics of all the values that the last dimensions have, so that new migrations show up by themselves. */
const search = (dimensions, metric, statistic, period) =>
  `SEARCH('{${[own, 'service', ...dimensions].join(',')}} MetricName="${metric}" service="${service}"', '${statistic}', ${period})`;

const expression = (text, label) => [{ expression: text, label, region: '${AWS::Region}' }];
const functionMetric = (metric, options) => [
  'AWS/Lambda',
  metric,
  'FunctionName',
  '${GetLiveMigrationLambdaFunction}',
  options,
];
const machineMetric = (machine, metric, options) => [
  'AWS/States',
  metric,
  'StateMachineArn',
  `\${${machine}}`,
  { stat: 'Sum', ...options },
];
const apiMetric = ({ metric, serverErrors }, options) => {
  const { Namespace, MetricName, Dimensions } = metric(serverErrors);
  const dimensions = Dimensions.flatMap(({ Name, Value }) => [Name, Value.Ref ? `\${${Value.Ref}}` : Value]);
  return [Namespace, MetricName, ...dimensions, { stat: 'Sum', ...options }];
};
const ownMetric = (metric, options) => [own, metric, 'service', service, { stat: 'Sum', ...options }];

/** Title, metrics, unit of the left axis, and properties that only some widgets have. */
const rows = (api, hasTable) => [
  [
    [
      'Replication lag',
      [expression(search(['groupId', 'liveMigrationId'], 'ReplicationLag', 'Maximum', 60), '')],
      'seconds',
    ],
    [
      'Ready for cutover',
      [expression(search(['groupId', 'liveMigrationId'], 'ReadyForCutover', 'Maximum', 60), '')],
      '1 = ready',
    ],
  ],
  [
    [
      'Requests by outcome',
      [expression(search(['outcome'], 'Requests', 'Sum', 300), '')],
      'requests in 5 min',
      { stacked: true },
    ],
    [
      'Latency of Atlas',
      [
        [own, 'AtlasLatency', 'service', service, 'outcome', 'Answered', { stat: 'p50', label: 'p50' }],
        ['...', { stat: 'p99', label: 'p99' }],
      ],
      'ms',
    ],
  ],
  [
    [
      'Answers and requests to Atlas',
      [
        [own, 'Requests', 'service', service, 'outcome', 'Answered', { stat: 'Sum', label: 'answers' }],
        ownMetric('AtlasRequests', { label: 'requests to Atlas' }),
        ...(hasTable
          ? [
              ownMetric('SharedAnswers', { label: 'answers shared' }),
              ownMetric('TableFailures', { label: 'failures of the table' }),
            ]
          : []),
        ownMetric('TokenRequests', { label: 'access tokens asked for' }),
        ownMetric('SecretReads', { label: 'reads of the secret' }),
        ownMetric('StaleSecret', { label: 'old secret used' }),
      ],
      'in 5 min',
    ],
    [
      'The function',
      [
        functionMetric('Invocations', { stat: 'Sum', label: 'calls' }),
        ownMetric('Requests', { label: 'calls that ended' }),
        functionMetric('Throttles', { stat: 'Sum', label: 'throttled calls' }),
        ...(api.metric ? [apiMetric(api, { label: 'API 5xx' })] : []),
      ],
      'in 5 min',
    ],
  ],
  [
    [
      'Waits',
      [
        machineMetric('AwaitLiveMigration', 'ExecutionsStarted', { label: 'started' }),
        machineMetric('AwaitLiveMigration', 'ExecutionsSucceeded', { label: 'succeeded' }),
        machineMetric('AwaitLiveMigration', 'ExecutionsFailed', { label: 'failed' }),
        ownMetric('PollsWithoutAnswer', { label: 'polls without answer' }),
        ownMetric('LostRounds', { label: 'lost rounds' }),
      ],
      'in 5 min',
    ],
    [
      'Events and reminders',
      [
        ownMetric('EventsRefused', { label: 'events refused' }),
        machineMetric('RemindOfCutover', 'ExecutionsStarted', { label: 'reminders started' }),
        ownMetric('RemindersRefused', { label: 'reminders refused' }),
      ],
      'in 5 min',
    ],
  ],
];

const height = 6;
const width = 12;

export const widgets = (api, hasTable) =>
  rows(api, hasTable).flatMap((row, y) =>
    row.map(([title, metrics, label, more], x) => ({
      type: 'metric',
      x: x * width,
      y: y * height,
      width,
      height,
      properties: {
        title,
        metrics,
        view: 'timeSeries',
        region: '${AWS::Region}',
        period: 300,
        yAxis: { left: { label, min: 0, showUnits: false } },
        ...more,
      },
    })),
  );

/**
 * @param values the deployment's valid parameters
 * @param api the form of the API
 */
export const dashboard = ({ freshnessSeconds }, api) => ({
  Resources: {
    Dashboard: {
      Type: 'AWS::CloudWatch::Dashboard',
      Properties: {
        DashboardName: '${self:service}-${sls:stage}',
        DashboardBody: {
          'Fn::Sub': [
            JSON.stringify({ widgets: widgets(api, Number(freshnessSeconds) > 0) }),
            { Service: '${self:service}-${sls:stage}' },
          ],
        },
      },
    },
  },
});
