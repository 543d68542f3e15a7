/**
 * The body of the CloudWatch dashboard: what a person wants to see during a migration, from the top. `Service`, `AWS::…`
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
const stateMachineMetric = (metric, options) => [
  'AWS/States',
  metric,
  'StateMachineArn',
  '${AwaitLiveMigration}',
  options,
];

/** Title, metrics, unit of the left axis, and properties that only some widgets have. */
const rows = [
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
      'Requests and secret reads per answer',
      [
        [
          own,
          'AtlasRequests',
          'service',
          service,
          'outcome',
          'Answered',
          { stat: 'Average', label: 'requests to Atlas' },
        ],
        [
          own,
          'SecretReads',
          'service',
          service,
          'outcome',
          'Answered',
          { stat: 'Average', label: 'reads of the secret' },
        ],
      ],
      'average',
    ],
    [
      'Throttles and waits',
      [
        functionMetric('Throttles', { stat: 'Sum', label: 'throttled calls' }),
        stateMachineMetric('ExecutionsStarted', { stat: 'Sum', label: 'waits started' }),
        stateMachineMetric('ExecutionsFailed', { stat: 'Sum', label: 'waits failed' }),
      ],
      'in 5 min',
    ],
  ],
];

const height = 6;
const width = 12;

const widgets = rows.flatMap((row, y) =>
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

module.exports = () => JSON.stringify({ widgets });
