/** The metrics that the function emits, and the alarms and the dashboard that look at them. */

import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { beforeAll, describe, expect, test } from 'vitest';
import { failureNames } from '../lib/core/failure.ts';
import { migrationMetrics, serviceMetrics } from '../lib/lambda/invocation-line.ts';
import type { Alarm, MetricFilter } from './support/cloudwatch.ts';
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
import { bringAbout } from './support/scenarios.ts';
import { everything, type Json, ofType, only, partsOf, type Template } from './support/template.ts';

let plain: Template;
let full: Template;
beforeAll(async () => {
  [plain, full] = await Promise.all([partsOf(), partsOf(everything)]);
});

describe('metrics', () => {
  /** The alarms that tell of a change, and those that are only parts of one. */
  const alarmsOf = (template: Template) => {
    const all = [...ofType(template, 'AWS::CloudWatch::Alarm'), ...ofType(template, 'AWS::CloudWatch::CompositeAlarm')];
    const tells = ({ Properties }: (typeof all)[number]) => 'AlarmActions' in Properties;
    return { tell: all.filter(tells), parts: all.filter((alarm) => !tells(alarm)) };
  };
  type Emf = {
    _aws: { CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string }[] }[] };
  } & Json;

  /** What the function really emits, as namespace, name and sorted dimensions. */
  async function emitted(): Promise<Set<string>> {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '0' });
    await ask(handler);
    await invokeHttp(handler, readEvent('http-api'));
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    atlas.reply = () => ({ status: 503, body: '' });
    await ask(handler);
    allIsWell();
    atlas.serviceAccounts['account'] = 'CLIENT-SECRET';
    secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'account', clientSecret: 'CLIENT-SECRET' });
    const withoutTable = { AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:9', ANSWER_TABLE: 'none' };
    await ask(await coldStart({ ...withoutTable, ANSWER_FRESHNESS_SECONDS: '5' }));
    secretsManager.secrets[secretId] = '{}';
    await ask(await coldStart());
    const lines = output.lines().filter((line) => '_aws' in line) as Emf[];
    // The state machines count for themselves.
    const counted = ['EventsRefused', 'RemindersRefused', 'PollsWithoutAnswer', 'LostRounds'];
    return new Set([
      ...counted.map((name) => `AtlasLiveMigration ${name} service`),
      ...ofType(full, 'AWS::Logs::MetricFilter').flatMap(({ Properties }) =>
        (Properties as MetricFilter).MetricTransformations.map((to) => `${to.MetricNamespace} ${to.MetricName}`),
      ),
      ...lines.flatMap(({ _aws }) =>
        _aws.CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics }) =>
          Metrics.flatMap(({ Name }) => Dimensions.map((names) => [Namespace, Name, ...[...names].sort()].join(' '))),
        ),
      ),
    ]);
  }

  /**
   * The specification of the format, as far as a schema can say it.
   *
   * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
   */
  const isInFormat = new Ajv().compile({
    type: 'object',
    required: ['_aws'],
    properties: {
      _aws: {
        type: 'object',
        required: ['Timestamp', 'CloudWatchMetrics'],
        properties: {
          Timestamp: { type: 'integer' },
          CloudWatchMetrics: {
            type: 'array',
            items: {
              type: 'object',
              required: ['Namespace', 'Dimensions', 'Metrics'],
              properties: {
                Namespace: { type: 'string', minLength: 1, maxLength: 1024 },
                Dimensions: {
                  type: 'array',
                  minItems: 1,
                  items: { type: 'array', maxItems: 30, items: { type: 'string', minLength: 1, maxLength: 250 } },
                },
                Metrics: {
                  type: 'array',
                  minItems: 1,
                  maxItems: 100,
                  items: {
                    type: 'object',
                    required: ['Name', 'Unit'],
                    properties: {
                      Name: { type: 'string', minLength: 1, maxLength: 1024 },
                      Unit: { enum: ['Count', 'Seconds', 'Milliseconds'] },
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
  });

  /** A directive names only what stands at the root: dimensions that are texts, and metrics that are numbers. */
  function mustBeInFormat(line: Emf) {
    expect(isInFormat(line), JSON.stringify(isInFormat.errors)).toBe(true);
    for (const { Dimensions, Metrics } of line._aws.CloudWatchMetrics) {
      for (const name of Dimensions.flat()) expect(line[name], name).toMatch(/^.{1,1024}$/);
      for (const { Name } of Metrics) {
        expect(Number.isFinite(line[Name]), Name).toBe(true);
        expect(Math.abs(Number(line[Name])), Name).toBeLessThan(2 ** 360);
      }
    }
  }

  test.each(['Answered', ...failureNames] as const)('are in the embedded metric format: %s', async (outcome) => {
    allIsWell();
    const handler = await coldStart({ ATLAS_TIMEOUT_MS: '100', POWERTOOLS_SERVICE_NAME: '' });
    const output = captureOutput();
    if (outcome !== 'Answered') bringAbout(outcome);
    await ask(handler, 'direct', outcome === 'InvalidRequest' ? { groupId: undefined } : {}, 3000);
    const [line, ...others] = output.lines() as Emf[];
    expect(others).toEqual([]);
    expect(line).toMatchObject({ outcome, Requests: 1 });
    expect(line?.['Errors']).toBe(line?.['level'] === 'ERROR' ? 1 : undefined);
    if (line) mustBeInFormat(line);
    // What is about a live migration is told where there is a document.
    expect(line?._aws.CloudWatchMetrics).toHaveLength(outcome === 'Answered' ? 2 : 1);
  });

  test.each([1e308, '9'.repeat(400), -1e308, Number.MAX_SAFE_INTEGER, null, 'x', [], {}])(
    'are finite numbers, whatever Atlas says: a lag of %j',
    async (lagTimeSeconds) => {
      allIsWell();
      const output = captureOutput();
      atlas.reply = () => ({ status: 200, body: { ...entity, lagTimeSeconds, readyForCutover: 'x' } });
      await ask(await coldStart());
      const [line] = output.lines() as Emf[];
      if (line) mustBeInFormat(line);
      expect(line).toMatchObject({ outcome: 'Answered', ReadyForCutover: 0 });
    },
  );

  test('are those of the table in docs/operate.md, with their units', () => {
    const document = readFileSync(new URL('../docs/operate.md', import.meta.url), 'utf8');
    const rows = [...document.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) \| .* \|$/gm)];
    const written = (metrics: Record<string, { unit: string }>, also: string) =>
      Object.entries(metrics).map(([name, { unit }]) => [name, unit, also]);
    expect(rows.map(([, ...cells]) => cells)).toEqual([
      ...written(serviceMetrics, '`outcome`; `door`'),
      ...written(migrationMetrics, 'always by `groupId` and `liveMigrationId`'),
    ]);
  });

  test('each alarm looks at a metric that is really emitted, says what to do, and tells the topic', async () => {
    const known = await emitted();
    for (const { Properties } of ofType(full, 'AWS::CloudWatch::Alarm')) {
      const looksAt = (Properties as Alarm).Metrics.flatMap(({ MetricStat }) => MetricStat?.Metric ?? []);
      expect(looksAt.length).toBeGreaterThan(0);
      for (const { Namespace, MetricName, Dimensions } of looksAt) {
        if (Namespace.startsWith('AWS/')) continue;
        expect(known).toContain([Namespace, MetricName, ...Dimensions.map(({ Name }) => Name).sort()].join(' '));
        if (Namespace === 'AtlasLiveMigration')
          expect(Dimensions).toContainEqual({ Name: 'service', Value: 'atlas-live-migration-dev' });
        // A metric filter can't say it as a dimension.
        else expect(Namespace).toBe('AtlasLiveMigration/atlas-live-migration-dev');
      }
    }
    const { tell, parts } = alarmsOf(full);
    expect(tell).toHaveLength(11);
    for (const { Properties } of tell) {
      const { AlarmName, AlarmDescription, AlarmActions, OKActions } = Properties as {
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
    }
    expect(parts.length).toBeGreaterThan(0);
    for (const { Properties } of parts) {
      expect(Properties).not.toHaveProperty('OKActions');
      expect(Properties['AlarmDescription']).toBe('A part of atlas-live-migration-dev-Unanswered.');
    }
  });

  test('an alarm over others is made after them, and names each of them', () => {
    const { DependsOn = [], Properties } = full.Resources['UnansweredAlarm'] ?? {};
    expect(DependsOn).toHaveLength(3);
    for (const id of DependsOn)
      expect(Properties?.['AlarmRule']).toContain(`ALARM("${full.Resources[id]?.Properties['AlarmName']}")`);
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
    const { tell } = alarmsOf(plain);
    expect(tell).toHaveLength(10);
    for (const { Properties } of tell) {
      expect(Properties).toMatchObject({ AlarmActions: [], OKActions: [] });
      expect(Properties['AlarmDescription']).toContain('Runbook: docs/operate.md, section ');
    }
  });

  test('lag and readiness are emitted for each migration, and the lag only where Atlas says it', async () => {
    allIsWell();
    const output = captureOutput();
    const handler = await coldStart();
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
