/**
 * The part of CloudWatch that judges alarms: metrics kept by the minute, filters that count lines of a log, metric math,
 * alarms that are evaluated once a minute over windows that end at that minute, and alarms over alarms. It refuses what it
 * does not know.
 *
 * AWS leaves open how many datapoints an alarm reads beyond those that count, whether arithmetic takes a missing value for 0,
 * and what FILL makes of a metric without any datapoint. So each datapoint is judged under all readings, and an alarm that
 * comes out differently is refused; so is one over several windows that has no value in some of them, since then it
 * matters how many are read.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
 */

import jsep from 'jsep';

jsep.addBinaryOp('OR', 1);
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
  AlarmActions?: unknown[];
  Metrics: Query[];
};
export type CompositeAlarm = { AlarmName: string; AlarmRule: string; AlarmActions?: unknown[] };
export type MetricFilter = {
  LogGroupName: unknown;
  FilterPattern: string;
  MetricTransformations: { MetricNamespace: string; MetricName: string; MetricValue: string; DefaultValue?: number }[];
};

const keys = new WeakMap<Metric, string>();
function keyOf(metric: Metric): string {
  const { Namespace, MetricName, Dimensions } = metric;
  const key =
    keys.get(metric) ??
    JSON.stringify([Namespace, MetricName, Dimensions.map(({ Name, Value }) => [Name, Value]).sort()]);
  keys.set(metric, key);
  return key;
}

/** @returns whether a pattern of a filter matches a line: quoted terms, or comparisons of fields of JSON */
function readPattern(pattern: string): (line: string) => boolean {
  const ofJson = /^\{ (.*) \}$/.exec(pattern)?.[1];
  if (ofJson) {
    const comparisons = ofJson.split(' && ').map((comparison) => {
      const [, field = '', operator, text = ''] = /^\(\$\.(\w+) (>=|!=) (\d+|"[^"*]*")\)$/.exec(comparison) ?? [];
      if (!operator) throw new Error(`${comparison} is not known here.`);
      const value = JSON.parse(text);
      return (fields: Record<string, unknown>) =>
        operator === '>=' ? Number(fields[field]) >= value : field in fields && fields[field] !== value;
    });
    return (line) => {
      if (!line.startsWith('{')) return false;
      const fields = JSON.parse(line);
      return comparisons.every((holds) => holds(fields));
    };
  }
  const terms = [...pattern.matchAll(/([?-]?)"([^"]+)"/g)].map(([, sign, term = '']) => ({ sign, term }));
  const known = terms.map(({ sign, term }) => `${sign}"${term}"`).join(' ');
  const optional = terms.filter(({ sign }) => sign === '?');
  if (known !== pattern || (optional.length > 0 && optional.length < terms.length))
    throw new Error(`${pattern} is not known here.`);
  if (optional.length > 0) return (line) => terms.some(({ term }) => line.includes(term));
  return (line) => terms.every(({ sign, term }) => line.includes(term) === (sign !== '-'));
}

/** @returns what filters count in a line of a log group */
export function createFilters(filters: MetricFilter[]) {
  const all = filters.map(({ LogGroupName, FilterPattern, MetricTransformations }) => ({
    logGroup: (LogGroupName as { Ref: string }).Ref,
    matches: readPattern(FilterPattern),
    counts: MetricTransformations.map(({ MetricNamespace, MetricName, MetricValue, DefaultValue }) => {
      // With a default, there would be datapoints of lines that do not match.
      if (DefaultValue !== undefined) throw new Error(`${MetricName} has a default, which is not known here.`);
      return { metric: { Namespace: MetricNamespace, MetricName, Dimensions: [] }, value: Number(MetricValue) };
    }),
  }));
  return (logGroup: string, line: string) =>
    all.flatMap((filter) => (filter.logGroup === logGroup && filter.matches(line) ? filter.counts : []));
}

type Totals = { sums: number[]; counts: number[] };
const nothing: Totals = { sums: [0], counts: [0] };

export function createMetrics() {
  /** Of each metric, the sum and the number of the values in each minute. */
  const recorded = new Map<string, Totals>();
  return {
    /** @param seconds since the beginning */
    record(metric: Metric, seconds: number, value: number) {
      const key = keyOf(metric);
      let minutes = recorded.get(key);
      if (!minutes) {
        minutes = { sums: [], counts: [] };
        recorded.set(key, minutes);
      }
      const minute = Math.floor(seconds / 60);
      minutes.sums[minute] = (minutes.sums[minute] ?? 0) + value;
      minutes.counts[minute] = (minutes.counts[minute] ?? 0) + 1;
    },

    /** @returns the sums and counts of all the values before each minute; undefined where there is none at all */
    totalsOf(metric: Metric): Totals | undefined {
      const minutes = recorded.get(keyOf(metric));
      if (!minutes) return undefined;
      const totals: Totals = { sums: [0], counts: [0] };
      for (let minute = 0; minute < minutes.counts.length; minute += 1) {
        totals.sums.push((totals.sums[minute] ?? 0) + (minutes.sums[minute] ?? 0));
        totals.counts.push((totals.counts[minute] ?? 0) + (minutes.counts[minute] ?? 0));
      }
      return totals;
    },
  };
}
export type Metrics = ReturnType<typeof createMetrics>;

/** What comes out of a log arrives up to two minutes later than what AWS counts itself. */
const MOST_LATE = 2;
const minutesLate = ({ Namespace }: Metric) => (Namespace.startsWith('AWS/') ? 0 : MOST_LATE);

/** A value of a window; undefined where there is none. */
type Value = number | undefined;
type Reading = { missingIsZero: boolean; fillsWithoutData: boolean };
const readings: Reading[] = [true, false].flatMap((missingIsZero) =>
  [true, false].map((fillsWithoutData) => ({ missingIsZero, fillsWithoutData })),
);

const operators: Record<string, (a: number, b: number) => number> = {
  '*': (a, b) => a * b,
  '>': (a, b) => Number(a > b),
  '>=': (a, b) => Number(a >= b),
  '==': (a, b) => Number(a === b),
  AND: (a, b) => Number(Boolean(a) && Boolean(b)),
};

const functions: Record<string, (reading: Reading, values: Value[]) => Value> = {
  FILL: ({ fillsWithoutData }, [value, filling]) => value ?? (fillsWithoutData ? filling : undefined),
  IF: (_, [condition, yes, no]) => (condition === undefined ? undefined : condition ? yes : no),
};

type Calculate = (values: Record<string, Value>, reading: Reading) => Value;

/** @throws where an expression has what is not known here */
function compile(node: jsep.Expression): Calculate {
  if (node.type === 'Literal' && typeof node['value'] === 'number') {
    const value = node['value'];
    return () => value;
  }
  if (node.type === 'Identifier') {
    const name = String(node['name']);
    return (values) => values[name];
  }
  if (node.type === 'BinaryExpression') {
    const operator = operators[String(node['operator'])];
    const left = compile(node['left'] as jsep.Expression);
    const right = compile(node['right'] as jsep.Expression);
    if (operator)
      return (values, reading) => {
        const missing = reading.missingIsZero ? 0 : undefined;
        const [a, b] = [left(values, reading) ?? missing, right(values, reading) ?? missing];
        return a === undefined || b === undefined ? undefined : operator(a, b);
      };
  }
  if (node.type === 'CallExpression') {
    const called = functions[String((node['callee'] as { name?: string }).name)];
    const args = (node['arguments'] as jsep.Expression[]).map(compile);
    if (called)
      return (values, reading) =>
        called(
          reading,
          args.map((argument) => argument(values, reading)),
        );
  }
  throw new Error(`${JSON.stringify(node)} is not known here.`);
}

const statistics: Record<string, (totals: Totals, from: number, to: number) => number> = {
  Sum: ({ sums }, from, to) => (sums[to] ?? 0) - (sums[from] ?? 0),
  SampleCount: ({ counts }, from, to) => (counts[to] ?? 0) - (counts[from] ?? 0),
};

/** Whether it is in ALARM after each minute; undefined where it never is. */
type States = boolean[] | undefined;
type Judge = (metrics: Metrics, minutes: number, others: Map<string, States>) => States;

function readAlarm(alarm: Alarm): Judge {
  const { AlarmName, Threshold, Metrics: queries, ComparisonOperator, TreatMissingData, EvaluationPeriods } = alarm;
  const { DatapointsToAlarm = EvaluationPeriods } = alarm;
  if (ComparisonOperator !== 'GreaterThanOrEqualToThreshold' || TreatMissingData !== 'notBreaching')
    throw new Error(`${ComparisonOperator} and ${TreatMissingData} are not known here.`);
  const stats = queries.flatMap(({ Id, MetricStat }) => (MetricStat ? [{ Id, ...MetricStat }] : []));
  const [expression, ...others] = queries.filter(({ Expression }) => Expression);
  if (!expression?.ReturnData || others.length > 0) throw new Error(`${AlarmName} must have one expression.`);
  const [{ Period } = { Period: 0 }, ...more] = stats;
  if (more.some((other) => other.Period !== Period)) throw new Error(`${AlarmName} has different periods.`);
  const minutesLong = Period / 60;
  const calculate = compile(jsep(expression.Expression ?? ''));
  const statisticsOf = stats.map(({ Metric, Stat }) => {
    const statistic = statistics[Stat];
    if (!statistic) throw new Error(`The statistic ${Stat} is not known here.`);
    return { late: minutesLate(Metric), statistic };
  });

  /** What came of the same values before: hours of traffic have few different windows. */
  const known = new Map<number, boolean>();
  /** Whether a datapoint breaches the threshold, under each reading. */
  function judge(window: Value[]): boolean {
    // Counts, two at most: texts as keys take longer than all the rest.
    const key = window.reduce<number>((sum, value = -1) => sum * 1e7 + value + 1, 0);
    if (window.length > 2 || !Number.isSafeInteger(key)) throw new Error(`${AlarmName} has too many or other values.`);
    const judged = known.get(key);
    if (judged !== undefined) return judged;
    const values = Object.fromEntries(stats.map(({ Id }, index) => [Id, window[index]]));
    const results = readings.map((reading) => ({ reading, value: calculate(values, reading) }));
    const breaches = results.map(({ value }) => value !== undefined && value >= Threshold);
    const hasGap = results.some(({ reading, value }) => reading.fillsWithoutData && value === undefined);
    if (new Set(breaches).size > 1 || (EvaluationPeriods > 1 && hasGap))
      throw new Error(`${AlarmName} depends on how CloudWatch reads what is missing: ${JSON.stringify(values)}`);
    known.set(key, breaches.includes(true));
    return breaches.includes(true);
  }

  if (judge(stats.map(() => undefined))) throw new Error(`${AlarmName} fires without any data.`);

  return (metrics, minutes) => {
    const totals = stats.map(({ Metric }) => metrics.totalsOf(Metric));
    if (!totals.some(Boolean)) return undefined;
    /** @returns whether the window that ends at a minute breaches, with what has come until now */
    const breaches = (end: number, now: number) =>
      judge(
        statisticsOf.map(({ late, statistic }, index) => {
          const { counts, sums } = totals[index] ?? nothing;
          const last = Math.min(counts.length - 1, now - late);
          const from = Math.max(0, Math.min(end - minutesLong, last));
          const to = Math.max(0, Math.min(end, last));
          return counts[to] === counts[from] ? undefined : statistic({ counts, sums }, from, to);
        }),
      );
    const states: boolean[] = [];
    /** Whether each window breaches, once all has come; and how many in steps of a window do. */
    const settled: number[] = [];
    const before = (end: number) => settled[end] ?? 0;
    for (let now = 1; now <= minutes; now += 1) {
      const end = now - MOST_LATE;
      if (end > 0 && EvaluationPeriods > 1) settled[end] = before(end - minutesLong) + Number(breaches(end, now));
      let count = 0;
      let at = now;
      for (; at > end && at > now - EvaluationPeriods * minutesLong; at -= minutesLong)
        count += Number(breaches(at, now));
      states[now] = count + before(at) - before(now - EvaluationPeriods * minutesLong) >= DatapointsToAlarm;
    }
    return states;
  };
}

type Rule = (stateOf: (alarm: string) => boolean) => boolean;
function compileRule(node: jsep.Expression): Rule {
  const { operator, left, right, callee, arguments: args } = node as unknown as Record<string, jsep.Expression>;
  if (left && right && ['AND', 'OR'].includes(String(operator))) {
    const [a, b] = [compileRule(left), compileRule(right)];
    return String(operator) === 'AND' ? (stateOf) => a(stateOf) && b(stateOf) : (stateOf) => a(stateOf) || b(stateOf);
  }
  const [name] = (args ?? []) as unknown as { value?: unknown }[];
  if (callee?.['name'] !== 'ALARM' || typeof name?.value !== 'string')
    throw new Error(`${JSON.stringify(node)} is not known here.`);
  const alarm = name.value;
  return (stateOf) => stateOf(alarm);
}

function readComposite({ AlarmRule }: CompositeAlarm): Judge {
  const rule = compileRule(jsep(AlarmRule));
  return (_, minutes, others) => {
    const stateAt = (now: number) => (alarm: string) => {
      if (!others.has(alarm)) throw new Error(`There is no ${alarm}.`);
      return others.get(alarm)?.[now] ?? false;
    };
    return Array.from({ length: minutes + 1 }, (_, now) => rule(stateAt(now)));
  };
}

export type Change = { alarm: string; minute: number; isAlarm: boolean };

/** @returns each change of state that is told, by the minute after whose end it happens; all begin in OK */
export function createAlarms(alarms: Alarm[], composites: CompositeAlarm[]) {
  const all = [
    ...alarms.map((alarm) => ({ ...alarm, judge: readAlarm(alarm) })),
    ...composites.map((alarm) => ({ ...alarm, judge: readComposite(alarm) })),
  ];
  return (metrics: Metrics, minutes: number): Change[] => {
    const states = new Map<string, States>();
    for (const { AlarmName, judge } of all) states.set(AlarmName, judge(metrics, minutes, states));
    return all
      .filter(({ AlarmActions = [] }) => AlarmActions.length > 0)
      .flatMap(({ AlarmName: alarm }) => {
        const changes: Change[] = [];
        let isAlarm = false;
        for (const [minute, state = false] of states.get(alarm)?.entries() ?? []) {
          if (state !== isAlarm) changes.push({ alarm, minute, isAlarm: state });
          isAlarm = state;
        }
        return changes;
      });
  };
}
