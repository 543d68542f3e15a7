/** `npm run smoke` against a deployment where all is well; tests/long/smoke-checks.test.ts has each thing that may be wrong. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { checks } from '../scripts/smoke/checks.ts';
import { lineOf, type Result } from '../scripts/smoke/run.ts';
import { denied, Refusal } from './support/aws.ts';
import { allIsWell } from './support/harness.ts';
import { smoke } from './support/smoke.ts';

beforeEach(allIsWell);
const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
/** The block after these words in docs/deploy.md. */
const blockOf = (words: string) =>
  new RegExp(`${words}.*?\\n\`\`\`\\n(.*?)\\n\`\`\``, 's').exec(read('docs/deploy.md'))?.[1]?.split('\n');
/** In the order of the table, since the checks end in any order. */
const textOf = (results: Result[]) =>
  checks
    .flatMap(({ name }) => results.filter(({ check }) => check === name))
    .flatMap((result) => lineOf(result).split('\n'));

test('where all is well, each check says what it has seen, and nothing is left behind', async () => {
  const { results, world } = await smoke(undefined, { notify: true });
  expect(results.filter(({ result }) => result !== 'ok')).toEqual([]);
  expect(results.map(({ check }) => check).sort()).toEqual(checks.map(({ name }) => name).sort());
  expect(blockOf('The output when all is well')).toEqual(textOf(results));
  const names = world.calls.map(({ action }) => action);
  for (const [made, removed] of [
    ['sqs:CreateQueue', 'sqs:DeleteQueue'],
    ['events:PutRule', 'events:DeleteRule'],
    ['events:PutTargets', 'events:RemoveTargets'],
    ['states:StartExecution', 'states:StopExecution'],
  ] as const)
    expect([removed, names.filter((name) => name === removed).length]).toEqual([
      removed,
      names.filter((name) => name === made).length,
    ]);
  expect(Object.values(world.executions).filter(({ status }) => status === 'RUNNING')).toEqual([]);
});

test('with five things broken, the others are still checked', async () => {
  const { results } = await smoke((answers, { gateway, variables }) => {
    gateway.answerUnsigned(200);
    variables['ANSWER_FRESHNESS_SECONDS'] = '0';
    answers['states:DescribeStateMachine'] = denied;
    answers['cloudwatch:GetDashboard'] = () => new Refusal('ResourceNotFound', 'x', 404);
    const alarms = answers['cloudwatch:DescribeAlarms'] as (input: unknown, count: number) => object;
    answers['cloudwatch:DescribeAlarms'] = (...args) =>
      JSON.parse(JSON.stringify(alarms(...args)).replace('"OK"', '"ALARM","StateReason":"1 datapoint was above 0."'));
    const attributes = answers['sns:GetTopicAttributes'] as () => string;
    answers['sns:GetTopicAttributes'] = () => attributes().replace('<value>2<', '<value>0<');
  });
  expect(results.filter(({ result }) => result === 'wrong')).toHaveLength(5);
  expect(blockOf('The output with five things broken')).toEqual(textOf(results));
});

test('docs/deploy.md has each check, and how long it may take', () => {
  const rows = [...read('docs/deploy.md').matchAll(/^\| ([\w ]+) \| .* \| (\d+) s \|$/gm)].map(([, name, seconds]) => [
    name,
    Number(seconds),
  ]);
  expect(rows).toEqual(checks.map(({ name, seconds }) => [name, seconds]));
});

type Statement = { Action: string | string[]; Resource: string | string[] };
const listOf = (value: string | string[]) => [value].flat();
/** As IAM matches: an asterisk is any text. */
const matches = (pattern: string, text: string) =>
  new RegExp(`^${pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('\\*', '.*')}$`).test(text);

test('the policy in docs/access.md allows what the checks need, each call that they make, and nothing else', async () => {
  const [, text = ''] = /## For `npm run smoke`.*?```json\n(.*?)```/s.exec(read('docs/access.md')) ?? [];
  const statements: Statement[] = JSON.parse(text).Statement;
  const allowed = statements.flatMap(({ Action }) => listOf(Action));
  const needed = new Set(checks.flatMap(({ actions }) => actions));
  // Everybody may ask who they are.
  needed.delete('sts:GetCallerIdentity');
  expect([...allowed].sort()).toEqual([...needed].sort());

  const { world } = await smoke(undefined, { notify: true });
  const at = (service: string, name: string) => `arn:aws:${service}:us-east-1:123456789012:${name}`;
  const resourcesOf: Record<string, (input: never) => string[]> = {
    states: ({ stateMachineArn, executionArn }: Record<string, string>) => [stateMachineArn ?? executionArn ?? ''],
    sqs: ({ QueueName, QueueUrl }: Record<string, string>) => [
      at('sqs', QueueName ?? QueueUrl?.split('/').at(-1) ?? ''),
    ],
    events: ({ Name, Rule }: Record<string, string>) => [
      at('events', Name || Rule ? `rule/migrations/${Name ?? Rule}` : 'event-bus/migrations'),
    ],
    lambda: () => [at('lambda', 'function:atlas-live-migration-prod-getLiveMigration')],
    cloudformation: () => [at('cloudformation', 'stack/atlas-live-migration-prod/1')],
    logs: ({ logGroupNames = [''] }: { logGroupNames?: string[] }) =>
      logGroupNames.map((name) => at('logs', `log-group:${name}`)),
    sns: ({ TopicArn }: Record<string, string>) => [TopicArn ?? ''],
  };
  const seen = new Set<string>();
  for (const { action, input } of world.calls) {
    if (action === 'sts:GetCallerIdentity') continue;
    seen.add(action);
    for (const resource of resourcesOf[action.split(':')[0] ?? '']?.(input as never) ?? ['']) {
      const isAllowed = statements.some(
        ({ Action, Resource }) =>
          listOf(Action).includes(action) && listOf(Resource).some((pattern) => matches(pattern, resource)),
      );
      expect(isAllowed, `${action} on ${resource}`).toBe(true);
    }
  }
  // The API is no call of AWS; a history is read where something is wrong.
  expect([...needed].filter((action) => !seen.has(action)).sort()).toEqual([
    'execute-api:Invoke',
    'states:GetExecutionHistory',
  ]);
});
