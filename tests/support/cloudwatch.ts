/**
 * The part of CloudWatch that judges alarms: metrics kept by the minute, metric math, and alarms that are evaluated once a
 * minute over windows that end at that minute. It refuses what it does not know.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
 */

import jsep from 'jsep';

jsep.addBinaryOp('AND', 2);

export type Metric = { Namespace: string; MetricName: string; Dimensions: { Name: string; Value: unknown }[] };
type Query = {
  Id: string;
  ReturnData: boolean;
  Expression?: string;
  MetricStat?: { Metric: Metric; Period: number; Stat: string };
};
export type Alarm = {
  AlarmName: string;
  EvaluationPeriods: number;
  DatapointsToAlarm?: number;
  Threshold: number;
  ComparisonOperator: string;
  TreatMissingData: string;
  Metrics: Query[];
};

/** A value for each window, the oldest first; undefined where there is none. */
type Values = (number | undefined)[];

const keys = new WeakMap<Metric, string>();
function keyOf(metric: Metric): string {
  const { Namespace, MetricName, Dimensions } = metric;
  const key =
    keys.get(metric) ??
    JSON.stringify([Namespace, MetricName, Dimensions.map(({ Name, Value }) => [Name, Value]).sort()]);
  keys.set(metric, key);
  return key;
}

export function createMetrics() {
  const recorded = new Map<string, number[][]>();
  /** The sums and counts of all the values before each minute. */
  const totals = new Map<string, { sums: number[]; counts: number[] }>();

  function totalsOf(key: string) {
    const known = totals.get(key);
    if (known) return known;
    const [sums, counts] = [[0], [0]];
    const minutes = recorded.get(key) ?? [];
    for (let minute = 0; minute < minutes.length; minute += 1) {
      const values = minutes[minute] ?? [];
      sums.push((sums[minute] ?? 0) + values.reduce((sum, value) => sum + value, 0));
      counts.push((counts[minute] ?? 0) + values.length);
    }
    totals.set(key, { sums, counts });
    return { sums, counts };
  }

  return {
    /** @param seconds since the beginning */
    record(metric: Metric, seconds: number, value: number) {
      const key = keyOf(metric);
      const minutes = recorded.get(key) ?? [];
      recorded.set(key, minutes);
      const minute = Math.floor(seconds / 60);
      minutes[minute] ??= [];
      minutes[minute].push(value);
      totals.delete(key);
    },

    /** @returns the statistic of each of the last windows of so many minutes, as they are known at the end of a minute */
    windows(metric: Metric, stat: string, minutesLong: number, count: number, now: number): Values {
      const key = keyOf(metric);
      const { sums, counts } = totalsOf(key);
      // What comes out of a log arrives a minute later than what AWS counts itself.
      const known = metric.Namespace.startsWith('AWS/') ? now : now - 1;
      const at = (list: number[], minute: number) => list[Math.max(0, Math.min(minute, known, list.length - 1))] ?? 0;
      return Array.from({ length: count }, (_, index) => {
        const from = now - (count - index) * minutesLong;
        const to = from + minutesLong;
        if (at(counts, to) === at(counts, from)) return undefined;
        if (stat === 'Sum') return at(sums, to) - at(sums, from);
        if (stat === 'SampleCount') return at(counts, to) - at(counts, from);
        if (stat !== 'p50') throw new Error(`The statistic ${stat} is not known here.`);
        const values = (recorded.get(key) ?? []).slice(Math.max(0, from), Math.min(to, known)).flat();
        return values.sort((a, b) => a - b)[Math.ceil(values.length * 0.5) - 1];
      });
    },
  };
}
export type Metrics = ReturnType<typeof createMetrics>;

const operators: Record<string, (a: number, b: number) => number> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '>': (a, b) => Number(a > b),
  '>=': (a, b) => Number(a >= b),
  '==': (a, b) => Number(a === b),
  AND: (a, b) => Number(Boolean(a) && Boolean(b)),
};

const functions: Record<string, (...series: Values[]) => Values> = {
  FILL: (values = [], [filling] = []) => values.map((value) => value ?? filling),
  DIFF: (values = []) =>
    values.map((value, at) => {
      const before = values[at - 1];
      return value === undefined || before === undefined ? undefined : value - before;
    }),
  IF: (condition = [], yes = [], no = []) =>
    condition.map((holds, at) => (holds === undefined ? undefined : holds ? yes[at] : no[at])),
};

const parsed = new Map<string, jsep.Expression>();

function calculate(text: string, count: number, series: Record<string, Values>): Values {
  const evaluate = (node: jsep.Expression): Values => {
    if (node.type === 'Literal' && typeof node['value'] === 'number') return Array(count).fill(node['value']);
    if (node.type === 'Identifier' && series[String(node['name'])]) return series[String(node['name'])] ?? [];
    if (node.type === 'BinaryExpression') {
      const operator = operators[String(node['operator'])];
      const [left, right] = [node['left'], node['right']].map((side) => evaluate(side as jsep.Expression));
      if (operator && left && right)
        return left.map((value, at) => {
          const other = right[at];
          return value === undefined || other === undefined ? undefined : operator(value, other);
        });
    }
    if (node.type === 'CallExpression') {
      const called = functions[String((node['callee'] as { name?: string }).name)];
      if (called) return called(...(node['arguments'] as jsep.Expression[]).map(evaluate));
    }
    throw new Error(`${text} has ${node.type} ${JSON.stringify(node)}, which is not known here.`);
  };
  const expression = parsed.get(text) ?? jsep(text);
  parsed.set(text, expression);
  return evaluate(expression);
}

/** Extra windows to read for DIFF, as CloudWatch does. */
const MORE = 9;
/** After so many minutes, nothing comes late any more, and what a window has is not calculated again. */
const SETTLED = 15;

/** What came of the same values before, which is most often: hours of traffic have few different windows. */
const judged = new WeakMap<Alarm, Map<string, boolean[]>>();

/** Whether each of the last windows breaches the threshold, the oldest first. */
function breaching(alarm: Alarm, windows: number, metrics: Metrics, now: number): boolean[] {
  const { AlarmName, Threshold, Metrics: queries } = alarm;
  const count = windows + MORE;
  const series: Record<string, Values> = {};
  for (const { Id, MetricStat } of queries)
    if (MetricStat)
      series[Id] = metrics.windows(MetricStat.Metric, MetricStat.Stat, MetricStat.Period / 60, count, now);
  const known = judged.get(alarm) ?? new Map<string, boolean[]>();
  judged.set(alarm, known);
  const key = JSON.stringify(series);
  const before = known.get(key);
  if (before) return before;

  for (const { Id, Expression } of queries) if (Expression) series[Id] = calculate(Expression, count, series);
  const [returned, ...others] = queries.filter(({ ReturnData }) => ReturnData);
  if (!returned || others.length > 0) throw new Error(`${AlarmName} must return one expression.`);
  const result = (series[returned.Id] ?? []).slice(-windows).map((value) => value !== undefined && value >= Threshold);
  known.set(key, result);
  return result;
}

export type Change = { alarm: string; minute: number; isAlarm: boolean };

/** @returns each change of state, by the minute after whose end it happens; all begin in OK */
export function changesOfState(alarms: Alarm[], metrics: Metrics, minutes: number): Change[] {
  return alarms.flatMap((alarm) => {
    const { ComparisonOperator, TreatMissingData, EvaluationPeriods, DatapointsToAlarm = EvaluationPeriods } = alarm;
    if (ComparisonOperator !== 'GreaterThanOrEqualToThreshold' || TreatMissingData !== 'notBreaching')
      throw new Error(`${ComparisonOperator} and ${TreatMissingData} are not known here.`);
    const isByMinute = alarm.Metrics.every(({ MetricStat }) => !MetricStat || MetricStat.Period === 60);
    if (EvaluationPeriods > 1 && !isByMinute) throw new Error(`${alarm.AlarmName} has other windows each minute.`);

    const changes: Change[] = [];
    const settled: boolean[] = [];
    let state = false;
    for (let minute = 1; minute <= minutes; minute += 1) {
      const recent = breaching(alarm, Math.min(EvaluationPeriods, SETTLED), metrics, minute);
      const older = EvaluationPeriods > SETTLED ? settled.slice(-(EvaluationPeriods - SETTLED)) : [];
      const next = [...older, ...recent].filter(Boolean).length >= DatapointsToAlarm;
      if (next !== state) changes.push({ alarm: alarm.AlarmName, minute, isAlarm: next });
      state = next;
      settled.push(recent[0] ?? false);
    }
    return changes;
  });
}
