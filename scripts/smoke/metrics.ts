/** Checks of what CloudWatch has: metrics, alarms, the dashboard; and of the trace in X-Ray. */

import { namespace } from '../../lib/lambda/invocation-line.ts';
import { type Check, type Context, poll } from './context.ts';
import { Trouble } from './question.ts';

const query = (Id: string, MetricName: string, dimensions: Record<string, string>) => ({
  Id,
  MetricStat: {
    Metric: {
      Namespace: namespace,
      MetricName,
      Dimensions: Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value })),
    },
    Period: 60,
    Stat: 'Sum',
  },
});

/** @returns how many datapoints of the last minutes each query has */
async function datapoints({ aws }: Context, MetricDataQueries: object[]): Promise<Record<string, number>> {
  // In seconds.
  const now = Math.floor(Date.now() / 1000);
  const { MetricDataResults = [] } = await aws.call('cloudwatch', 'GetMetricData', {
    StartTime: now - 900,
    EndTime: now + 60,
    MetricDataQueries,
  });
  return Object.fromEntries(
    MetricDataResults.map(({ Id, Values = [] }: { Id: string; Values?: number[] }) => [Id, Values.length]),
  );
}

export const metrics: Check = {
  name: 'metrics',
  seconds: 240,
  actions: ['cloudwatch:GetMetricData'],
  async run(context) {
    const { service, invoked } = context;
    const sets = {
      service: { service },
      outcome: { service, outcome: invoked.outcome },
      door: { service, door: 'direct' },
    };
    const queries = Object.entries(sets).map(([id, dimensions]) => query(id, 'Requests', dimensions));
    let missing = Object.keys(sets);
    await poll(
      context,
      async () => {
        const found = await datapoints(context, queries);
        missing = Object.keys(sets).filter((id) => !found[id]);
        return missing.length === 0 ? found : undefined;
      },
      15_000,
      () =>
        new Trouble(
          `The metric Requests has no data by ${missing.join(', ')}.`,
          'The log line is there, and CloudWatch makes no metrics of it: is its log group of the class Standard, and its format text?',
        ),
    );
    // An assumption that the alarms hold without: docs/operate.md.
    const never = await datapoints(context, [
      { ...query('never', 'NeverPut', { service }), ReturnData: false },
      { Id: 'filled', Expression: 'FILL(never, 0)' },
    ]);
    const fill = never['filled'] ? 'the filling' : 'nothing';
    return { ok: `Requests arrives by service, by outcome and by door (FILL of a metric without data gives ${fill})` };
  },
};

const isAlarm = (type: string) => /^AWS::CloudWatch::(Composite)?Alarm$/.test(type);
/** The physical id of a composite alarm is its ARN. */
const nameOf = (physicalId: string) => physicalId.replace(/^arn:.*:alarm:/, '');

type Alarm = {
  AlarmName: string;
  AlarmRule?: string;
  AlarmActions?: string[];
  ActionsEnabled?: boolean;
  StateValue: string;
  StateReason?: string;
};

/** The alarms of the stack; the name of another stage may begin with the name of this one. */
async function alarmsOf({ aws, service, deployment }: Context): Promise<Alarm[]> {
  const all: Alarm[] = [];
  const input = { AlarmNamePrefix: `${service}-`, AlarmTypes: ['MetricAlarm', 'CompositeAlarm'] };
  for (let NextToken: string | undefined, isFirst = true; isFirst || NextToken; isFirst = false) {
    const page = await aws.call('cloudwatch', 'DescribeAlarms', { ...input, NextToken });
    NextToken = page.NextToken;
    all.push(...(page.MetricAlarms ?? []), ...(page.CompositeAlarms ?? []));
  }
  const names = deployment.resources.filter(({ type }) => isAlarm(type)).map(({ physicalId }) => nameOf(physicalId));
  return all.filter(({ AlarmName }) => names.includes(AlarmName));
}

/** The topic that the alarms tell; undefined where they tell nobody. */
export async function topicOf(context: Context): Promise<string | undefined> {
  const actions = (await alarmsOf(context)).flatMap(({ AlarmActions }) => AlarmActions ?? []);
  return actions.find((arn) => arn.split(':')[2] === 'sns');
}

export const alarms: Check = {
  name: 'alarms',
  seconds: 30,
  actions: ['cloudwatch:DescribeAlarms'],
  async run(context) {
    const found = await alarmsOf(context);
    const ofStack = context.deployment.resources.filter(({ type }) => isAlarm(type));
    const short = ({ AlarmName }: Alarm) => AlarmName.slice(context.service.length + 1);
    const missing = ofStack.filter(
      ({ physicalId }) => !found.some(({ AlarmName }) => AlarmName === nameOf(physicalId)),
    );
    if (missing.length > 0)
      throw new Trouble(
        `There is no alarm ${missing.map(({ logicalId }) => logicalId).join(', ')}, although the stack has it.`,
        'Somebody deleted it: deploy the stack again after a change of a parameter, or restore it by hand.',
      );
    // The parts of an alarm that is made of others tell nobody.
    const parts = found.flatMap(({ AlarmRule = '' }) => [...AlarmRule.matchAll(/"([^"]+)"/g)].map(([, name]) => name));
    const telling = found.filter(({ AlarmName }) => !parts.includes(AlarmName));
    const off = telling.filter(({ ActionsEnabled }) => ActionsEnabled === false);
    if (off.length > 0)
      throw new Trouble(
        `The actions of ${off.map(short).join(', ')} are switched off.`,
        'Switch them on: aws cloudwatch enable-alarm-actions.',
      );
    const silent = telling.filter(({ AlarmActions = [] }) => AlarmActions.length === 0);
    if (silent.length > 0 && silent.length < telling.length)
      throw new Trouble(`The alarm ${silent.map(short).join(', ')} has no action.`, 'Deploy the stack again.');
    const on = telling.filter(({ StateValue }) => StateValue === 'ALARM');
    if (on.length > 0)
      throw new Trouble(
        `The alarm ${on.map(short).join(', ')} is on: ${on[0]?.StateReason ?? ''}`,
        'docs/operate.md has a section for each alarm.',
      );
    const waiting = found.filter(({ StateValue }) => StateValue === 'INSUFFICIENT_DATA').length;
    const isNew = waiting > 0 ? `; ${waiting} without data yet, which is right in the first minutes` : '';
    const whom = silent.length > 0 ? 'they tell nobody (no alarmTopicArn)' : 'each that tells has its action';
    return { ok: `${found.length} are there, none is on, ${whom}${isNew}` };
  },
};

export const dashboard: Check = {
  name: 'dashboard',
  seconds: 30,
  actions: ['cloudwatch:GetDashboard'],
  async run({ aws, service, region }) {
    const DashboardName = `${service}-${region}`;
    await aws.call('cloudwatch', 'GetDashboard', { DashboardName }).catch((error) => {
      if (!/NotFound/.test(error.name)) throw error;
      throw new Trouble(`There is no dashboard ${DashboardName}.`, 'Somebody deleted it: deploy the stack again.');
    });
    return { ok: `${DashboardName} is there` };
  },
};

export const trace: Check = {
  name: 'trace',
  seconds: 60,
  actions: ['xray:BatchGetTraces'],
  async run(context) {
    const { deployment, invoked, aws } = context;
    if (!deployment.isTraced) return { skipped: 'nothing is traced (tracing=false)' };
    const [, id] = /Root=([^;]+)/i.exec(invoked.traceHeader) ?? [];
    if (!id || /Sampled=0/i.test(invoked.traceHeader))
      return { skipped: 'X-Ray did not choose this request for a trace' };
    const found = await poll(
      context,
      async () => ((await aws.traces(id)).length > 0 ? true : undefined),
      5000,
      () => new Trouble(''),
    ).catch((error) => {
      if (error instanceof Trouble) return false;
      throw error;
    });
    // With Transaction Search, this API finds none.
    if (!found)
      return { skipped: `X-Ray does not show ${id}: with Transaction Search, traces are in the log group aws/spans` };
    return { ok: `the trace ${id} is in X-Ray` };
  },
};
