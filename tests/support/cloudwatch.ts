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
  /** Of each metric, what was recorded in each minute. */
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

    /** @returns the minutes in which there is something of that metric */
    minutesOf(metric: Metric): number[] {
      return Object.keys(recorded.get(keyOf(metric)) ?? []).map(Number);
    },

    /** @returns the statistic of each of the last windows of so many minutes, as they are known at the end of a minute */
    windows(metric: Metric, stat: string, minutesLong: number, count: number, now: number): Values {
      const key = keyOf(metric);
      const { sums, counts } = totalsOf(key);
      const known = now - minutesLate(metric);
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

/** What comes out of a log arrives a minute later than what AWS counts itself. */
const minutesLate = ({ Namespace }: Metric) => (Namespace.startsWith('AWS/') ? 0 : 1);
const MOST_LATE = 1;

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

type Calculate = (series: Record<string, Values>, count: number) => Values;

/** @throws where an expression has what is not known here */
function compile(node: jsep.Expression): Calculate {
  if (node.type === 'Literal' && typeof node['value'] === 'number') {
    const value = node['value'];
    return (_, count) => Array(count).fill(value);
  }
  if (node.type === 'Identifier') {
    const name = String(node['name']);
    return (series) => {
      const values = series[name];
      if (!values) throw new Error(`There is no ${name}.`);
      return values;
    };
  }
  if (node.type === 'BinaryExpression') {
    const operator = operators[String(node['operator'])];
    const left = compile(node['left'] as jsep.Expression);
    const right = compile(node['right'] as jsep.Expression);
    if (operator)
      return (series, count) => {
        const others = right(series, count);
        return left(series, count).map((value, at) => {
          const other = others[at];
          return value === undefined || other === undefined ? undefined : operator(value, other);
        });
      };
  }
  if (node.type === 'CallExpression') {
    const called = functions[String((node['callee'] as { name?: string }).name)];
    const args = (node['arguments'] as jsep.Expression[]).map(compile);
    if (called) return (series, count) => called(...args.map((argument) => argument(series, count)));
  }
  throw new Error(`${JSON.stringify(node)} is not known here.`);
}

export type Change = { alarm: string; minute: number; isAlarm: boolean };

/** Windows before those that count, which DIFF needs: nine at most, in the alarms of today. */
const BEFORE = 9;

/** An alarm that is ready to be evaluated. */
function read(alarm: Alarm) {
  const { AlarmName, Threshold, Metrics: queries, ComparisonOperator, TreatMissingData, EvaluationPeriods } = alarm;
  if (ComparisonOperator !== 'GreaterThanOrEqualToThreshold' || TreatMissingData !== 'notBreaching')
    throw new Error(`${ComparisonOperator} and ${TreatMissingData} are not known here.`);
  const [returned, ...others] = queries.filter(({ ReturnData }) => ReturnData);
  if (!returned || others.length > 0) throw new Error(`${AlarmName} must return one expression.`);
  const stats = queries.flatMap(({ Id, MetricStat }) => (MetricStat ? [{ Id, ...MetricStat }] : []));
  const [{ Period } = { Period: 0 }, ...more] = stats;
  if (more.some((other) => other.Period !== Period)) throw new Error(`${AlarmName} has different periods.`);
  if (EvaluationPeriods > 1 && Period !== 60) throw new Error(`${AlarmName} has other windows each minute.`);
  const steps = queries.flatMap(({ Id, Expression }) =>
    Expression ? [{ Id, calculate: compile(jsep(Expression)) }] : [],
  );
  const before = queries.some(({ Expression }) => Expression?.includes('DIFF(')) ? BEFORE : 0;
  /** What came of the same values before: hours of traffic have few different windows. */
  const known = new Map<string, boolean[]>();

  return {
    metrics: stats.map(({ Metric }) => Metric),
    minutesLong: Period / 60,
    before,
    /** Whether each of the last windows breaches the threshold, the oldest first. */
    breaching(windows: number, metrics: Metrics, now: number): boolean[] {
      const count = windows + before;
      const series: Record<string, Values> = {};
      let key = '';
      for (const { Id, Metric, Stat } of stats) {
        series[Id] = metrics.windows(Metric, Stat, Period / 60, count, now);
        key += `${series[Id]};`;
      }
      const judged = known.get(key);
      if (judged) return judged;
      for (const { Id, calculate } of steps) series[Id] = calculate(series, count);
      const values = (series[returned.Id] ?? []).slice(before);
      const result = values.map((value) => value !== undefined && value >= Threshold);
      known.set(key, result);
      return result;
    },
  };
}

/** @returns each change of state, by the minute after whose end it happens; all begin in OK */
export function createAlarms(alarms: Alarm[]) {
  const all = alarms.map((alarm) => ({ ...alarm, ...read(alarm) }));

  return (metrics: Metrics, minutes: number): Change[] =>
    all.flatMap(({ AlarmName, EvaluationPeriods, DatapointsToAlarm = EvaluationPeriods, ...alarm }) => {
      const { minutesLong, before } = alarm;
      /** The minutes in which a window can change: what was recorded enters it, moves through it, or leaves it. */
      const isOfInterest: boolean[] = [];
      const edges = minutesLong > 1 ? [0, minutesLong] : Array.from({ length: before + 2 }, (_, at) => at);
      for (const minute of new Set(alarm.metrics.flatMap((metric) => metrics.minutesOf(metric))))
        for (const edge of edges)
          for (let late = 0; late <= MOST_LATE; late += 1) isOfInterest[minute + 1 + edge + late] = true;

      const changes: Change[] = [];
      /** By the minute at which a window ends. After it, what comes late can still change it. */
      const breaches: boolean[] = [];
      const windows = Math.min(EvaluationPeriods, 1 + MOST_LATE);
      let count = 0;
      const set = (window: number, isBreach: boolean) => {
        count += Number(isBreach) - Number(breaches[window] ?? false);
        breaches[window] = isBreach;
      };
      let state = false;
      for (let now = 1; now <= minutes; now += 1) {
        count -= Number(breaches[now - EvaluationPeriods] ?? false);
        if (now === 1 || isOfInterest[now])
          for (const [at, isBreach] of alarm.breaching(windows, metrics, now).entries())
            set(now - windows + 1 + at, isBreach);
        else set(now, breaches[now - 1] ?? false);
        const next = count >= DatapointsToAlarm;
        if (next !== state) changes.push({ alarm: AlarmName, minute: now, isAlarm: next });
        state = next;
      }
      return changes;
    });
}
