/**
 * The CloudWatch dashboard: what a person wants to see during a migration, from the top. In its body, `Service`, `AWS::…`
 * and the names of resources are filled in by CloudFormation.
 */

import { namespace } from '../lib/lambda/invocation-line.ts';
import type { Api } from './api.ts';
import type { Metric, Part } from './cloudformation.ts';
import type { Settings } from './parameters.ts';

/** What CloudFormation fills in. */
const hole = (name: string) => `\${${name}}`;
const service = hole('Service');

/** One line of a widget: names of a metric, or an expression, and options. */
type Line = (string | Options)[];
type Options = Record<string, string>;
type Row = [title: string, lines: Line[], unit: string, more?: { stacked: true }][];

/** Finds the metrics of all the values that the last dimensions have, so that new migrations show up by themselves. */
const search = (dimensions: string[], metric: string, statistic: string, period: number) =>
  `SEARCH('{${[namespace, 'service', ...dimensions].join(',')}} MetricName="${metric}" service="${service}"', '${statistic}', ${period})`;

const expression = (text: string, label: string): Line => [{ expression: text, label, region: '${AWS::Region}' }];
const functionMetric = (metric: string, options: Options): Line => [
  'AWS/Lambda',
  metric,
  'FunctionName',
  '${GetLiveMigrationLambdaFunction}',
  options,
];
const machineMetric = (machine: string, metric: string, options: Options): Line => [
  'AWS/States',
  metric,
  'StateMachineArn',
  hole(machine),
  { stat: 'Sum', ...options },
];
const apiMetric = ({ Namespace, MetricName, Dimensions }: Metric, options: Options): Line => {
  const dimensions = Dimensions.flatMap(({ Name, Value }) => [
    Name,
    typeof Value === 'string' ? Value : hole(Value.Ref),
  ]);
  return [Namespace, MetricName, ...dimensions, { stat: 'Sum', ...options }];
};
const ownMetric = (metric: string, options: Options): Line => [
  namespace,
  metric,
  'service',
  service,
  { stat: 'Sum', ...options },
];

/** Title, metrics, unit of the left axis, and properties that only some widgets have. */
const rows = (gateway: Api['gateway'], hasTable: boolean): Row[] => [
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
        [namespace, 'AtlasLatency', 'service', service, 'outcome', 'Answered', { stat: 'p50', label: 'p50' }],
        ['...', { stat: 'p99', label: 'p99' }],
      ],
      'ms',
    ],
  ],
  [
    [
      'Answers and requests to Atlas',
      [
        [namespace, 'Requests', 'service', service, 'outcome', 'Answered', { stat: 'Sum', label: 'answers' }],
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
        ...(gateway ? [apiMetric(gateway.serverErrors, { label: 'API 5xx' })] : []),
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

export const widgets = (gateway: Api['gateway'], hasTable: boolean) =>
  rows(gateway, hasTable).flatMap((row, y) =>
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
 * @param settings the parameters and names of the deployment
 * @param api the form of the API
 */
export const dashboard = ({ service: name, freshnessSeconds }: Settings, { gateway }: Api): Part => ({
  Resources: {
    Dashboard: {
      Type: 'AWS::CloudWatch::Dashboard',
      Properties: {
        // Unique in the account, over all regions.
        DashboardName: { 'Fn::Sub': `${name}-\${AWS::Region}` },
        DashboardBody: {
          'Fn::Sub': [JSON.stringify({ widgets: widgets(gateway, Number(freshnessSeconds) > 0) }), { Service: name }],
        },
      },
    },
  },
});
