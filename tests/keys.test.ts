/** The policies in docs/security.md for keys of one's own: what each lets a service do with the key, and for whom. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { functionNameOf } from '../deploy/function-role.ts';
import { allows, type PolicyStatement } from './support/policies.ts';
import { deploymentWith, otherForms, partsOf } from './support/template.ts';

const page = readFileSync(join(import.meta.dirname, '../docs/security.md'), 'utf8');
const [, section = ''] = /^## Keys of your own\n(.*?)^## /ms.exec(page) ?? [];
const [logs = [], topic = []] = [...section.matchAll(/^```json\n(.*?)^```/gms)].map(
  ([, text = '']): PolicyStatement[] => [JSON.parse(text)].flat(),
);

const key = 'arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab';
const service = 'atlas-live-migration-prod';

describe('the key of the log groups', () => {
  const asks = (group: unknown, region = 'eu-central-1', action = 'GenerateDataKey') =>
    allows(logs, {
      action: `kms:${action}`,
      resource: key,
      service: `logs.${region}.amazonaws.com`,
      context: { 'kms:EncryptionContext:aws:logs:arn': `arn:aws:logs:eu-central-1:123456789012:log-group:${group}` },
    });

  test('is for the three log groups of the stack, and for no other', async () => {
    const { api, waiting } = await deploymentWith({}, undefined, 'prod');
    const groups = [
      `/aws/lambda/${functionNameOf(service)}`,
      api.extensions?.['HttpApiLogGroup']?.Properties['LogGroupName'],
      waiting.Resources?.['WaitingLogGroup']?.Properties['LogGroupName'],
    ];
    for (const group of groups) {
      for (const action of ['Encrypt', 'Decrypt', 'ReEncryptFrom', 'GenerateDataKey', 'DescribeKey'])
        expect(asks(group, 'eu-central-1', action), `${group} ${action}`).toBe(true);
      expect(asks(group, 'eu-west-1')).toBe(false);
      expect(asks(group, 'eu-central-1', 'ScheduleKeyDeletion')).toBe(false);
      expect(asks(`${group}-x`)).toBe(false);
    }
    const rest = await partsOf(otherForms.rest, 'prod');
    const ofRest = String(rest.Resources['RestApiLogGroup']?.Properties['LogGroupName']);
    expect(asks(ofRest)).toBe(false);
    expect(asks(ofRest.replace('rest-api', 'http-api'))).toBe(true);
  });
});

describe('the key of the topic', () => {
  const asks = (request: { service?: string; context?: Record<string, string> }) =>
    ['Decrypt', 'GenerateDataKey', 'ScheduleKeyDeletion'].map((action) =>
      allows(topic, { ...request, action: `kms:${action}`, resource: key }),
    );
  const role = (name: string) => `arn:aws:iam::123456789012:role/${service}-${name}-1A2B3C4D5E6F`;
  const sns = 'sns.eu-central-1.amazonaws.com';
  const published = (by: string, through = sns, account = '123456789012') =>
    asks({ context: { 'aws:PrincipalArn': by, 'kms:ViaService': through, 'kms:CallerAccount': account } });

  test('is for the alarms of the account, the role of the reminder, and the rules of EventBridge', () => {
    const alarm = (account: string) =>
      asks({ service: 'cloudwatch.amazonaws.com', context: { 'aws:SourceAccount': account } });
    expect(alarm('123456789012')).toEqual([true, true, false]);
    expect(alarm('999999999999')).toEqual([false, false, false]);
    expect(published(role('RemindOfCutoverRole'))).toEqual([true, true, false]);
    expect(published(role('FunctionRole'))).toEqual([false, false, false]);
    expect(published(role('RemindOfCutoverRole'), 'dynamodb.eu-central-1.amazonaws.com')).toEqual([
      false,
      false,
      false,
    ]);
    expect(published(role('RemindOfCutoverRole'), sns, '999999999999')).toEqual([false, false, false]);
    expect(asks({ service: 'events.amazonaws.com' })).toEqual([true, true, false]);
    expect(asks({ service: 'states.amazonaws.com' })).toEqual([false, false, false]);
  });

  test('names the role by the id that it has in the stack', async () => {
    const { Resources } = await partsOf({}, 'prod');
    expect(Resources['RemindOfCutoverRole']?.Type).toBe('AWS::IAM::Role');
    expect(Resources['RemindOfCutoverRole']?.Properties).not.toHaveProperty('RoleName');
  });
});
