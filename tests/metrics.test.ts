/** The metrics that the function emits, and the alarms and the dashboard that look at them. */

import { beforeAll, describe, expect, test, vi } from 'vitest';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  entity,
  invokeHttp,
  readEvent,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { everything, type Json, ofType, only, partsOf, type Template } from './support/template.ts';

let plain: Template;
let full: Template;
beforeAll(async () => {
  [plain, full] = await Promise.all([partsOf(), partsOf(everything)]);
});

describe('metrics', () => {
  type AlarmMetric = { Namespace: string; MetricName: string; Dimensions: { Name: string; Value: unknown }[] };
  type Emf = {
    _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] };
  } & Json;

  /** What the function really emits, as namespace, name and sorted dimensions. */
  async function emitted(): Promise<Set<string>> {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false', SECRET_MAX_AGE_SECONDS: '0' });
    await ask(handler);
    await invokeHttp(handler, readEvent('http-api'));
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    atlas.reply = () => ({ status: 503, body: '' });
    await ask(handler);
    allIsWell();
    atlas.serviceAccounts['account'] = 'CLIENT-SECRET';
    secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'account', clientSecret: 'CLIENT-SECRET' });
    const withoutTable = { AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:9', ANSWER_TABLE: 'none' };
    await ask(
      await coldStart({ ...withoutTable, ANSWER_FRESHNESS_SECONDS: '5', POWERTOOLS_METRICS_DISABLED: 'false' }),
    );
    const lines = output.lines().filter((line) => '_aws' in line) as Emf[];
    // The state machines count for themselves.
    const counted = ['EventsRefused', 'RemindersRefused', 'PollsWithoutAnswer', 'LostRounds'];
    return new Set([
      ...counted.map((name) => `AtlasLiveMigration ${name} service`),
      ...lines.flatMap(({ _aws }) =>
        _aws.CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics }) =>
          Metrics.flatMap(({ Name }) => Dimensions.map((names) => [Namespace, Name, ...[...names].sort()].join(' '))),
        ),
      ),
    ]);
  }

  test('are written without a warning beside them', async () => {
    allIsWell();
    const output = captureOutput();
    const warn = vi.spyOn(console, 'warn');
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false' });
    await ask(handler);
    await ask(handler, 'direct', { groupId: 'x' });
    expect(
      output
        .text()
        .split('\n')
        .filter((line) => line && !line.startsWith('{"_aws"')),
    ).toEqual([]);
    expect(warn).not.toHaveBeenCalled();
  });

  test('each alarm looks at a metric that is really emitted, says what to do, and tells the topic', async () => {
    const known = await emitted();
    const alarms = ofType(full, 'AWS::CloudWatch::Alarm');
    expect(alarms.length).toBeGreaterThanOrEqual(7);
    for (const { Properties } of alarms) {
      const { Metrics, AlarmName, AlarmDescription, AlarmActions, OKActions, ...one } = Properties as AlarmMetric & {
        Metrics?: { MetricStat?: { Metric: AlarmMetric } }[];
        AlarmName: string;
        AlarmDescription: string;
        AlarmActions: unknown;
        OKActions: unknown;
      };
      // What is wrong, what to do first, where the runbook is.
      const runbook = `Runbook: ${everything.runbookUrl}, section ${AlarmName.split('-').at(-1)}.`;
      expect(AlarmDescription).toMatch(/^[^.]+\. .+\. Runbook: .+\.$/);
      expect(AlarmDescription.endsWith(runbook)).toBe(true);
      // With the longest runbookUrl as well.
      expect(AlarmDescription.length - everything.runbookUrl.length + 500).toBeLessThanOrEqual(1024);
      expect([AlarmActions, OKActions]).toEqual(Array(2).fill([everything.alarmTopicArn]));
      const looksAt = Metrics?.flatMap(({ MetricStat }) => MetricStat?.Metric ?? []) ?? [one];
      expect(looksAt.length).toBeGreaterThan(0);
      for (const { Namespace, MetricName, Dimensions } of looksAt) {
        if (Namespace.startsWith('AWS/')) continue;
        expect(known).toContain([Namespace, MetricName, ...Dimensions.map(({ Name }) => Name).sort()].join(' '));
        expect(Dimensions).toContainEqual({ Name: 'service', Value: 'atlas-live-migration-dev' });
      }
    }
  });

  test.each(['plain', 'full'])('the dashboard shows metrics that are really emitted: %s', async (which) => {
    const known = await emitted();
    const template = which === 'plain' ? plain : full;
    const [body] = (
      only(template, 'AWS::CloudWatch::Dashboard')['DashboardBody'] as unknown as { 'Fn::Sub': [string] }
    )['Fn::Sub'];
    const { widgets } = JSON.parse(body) as {
      widgets: { properties: { title: string; metrics: (string | { expression?: string })[][] } }[];
    };
    expect(widgets.map(({ properties }) => properties.title)).toEqual([
      'Replication lag',
      'Ready for cutover',
      'Requests by outcome',
      'Latency of Atlas',
      'Answers and requests to Atlas',
      'The function',
      'Waits',
      'Events and reminders',
    ]);
    for (const { properties } of widgets) {
      for (const [first, name, ...rest] of properties.metrics) {
        if (typeof first === 'object') {
          const [, list = '', metric = ''] =
            /^SEARCH\('\{([^}]+)\} MetricName="(\w+)" service="\$\{Service\}"', '\w+', \d+\)$/.exec(
              first.expression ?? '',
            ) ?? [];
          const [namespace = '', ...dimensions] = list.split(',');
          expect(known).toContain([namespace, metric, ...dimensions.sort()].join(' '));
        } else if (first === 'AtlasLiveMigration') {
          const dimensions = rest.filter((_, index) => index % 2 === 0).filter((part) => typeof part === 'string');
          expect(known).toContain([first, name, ...dimensions.sort()].join(' '));
        }
      }
    }
  });

  test('without a topic, alarms only change their state, and name the runbook in this repository', () => {
    const alarms = ofType(plain, 'AWS::CloudWatch::Alarm');
    expect(alarms.length).toBeGreaterThanOrEqual(7);
    for (const { Properties } of alarms) {
      expect(Properties).toMatchObject({ AlarmActions: [], OKActions: [] });
      expect(Properties['AlarmDescription']).toContain('Runbook: docs/operate.md, section ');
    }
  });

  test('lag and readiness are emitted for each migration, and the lag only where Atlas says it', async () => {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart({ POWERTOOLS_METRICS_DISABLED: 'false' });
    atlas.reply = () => ({ status: 200, body: { ...entity, readyForCutover: true, lagTimeSeconds: 3 } });
    await ask(handler);
    atlas.reply = () => ({ status: 200, body: { ...entity, readyForCutover: undefined, lagTimeSeconds: null } });
    await ask(handler);
    const [first, second] = output.lines().filter((line) => 'liveMigrationId' in line && '_aws' in line);
    expect(first).toMatchObject({ ReplicationLag: 3, ReadyForCutover: 1, groupId: expect.any(String) });
    expect(second).toMatchObject({ ReadyForCutover: 0 });
    expect(second).not.toHaveProperty('ReplicationLag');
  });
});
