/** The templates of docs/waiting.md that notify people, and their rules over the sample events. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const read = (name: string) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8');
const sample = (name: string) => JSON.parse(read(`examples/${name}.event.json`));
const changed = sample('status-changed');
const due = sample('cutover-due');

type Json = Record<string, unknown>;

/** A pattern of EventBridge with lists of values, which is all that the templates have. */
const matches = (pattern: Json, event: Json): boolean =>
  Object.entries(pattern).every(([key, wanted]) => {
    if (!Array.isArray(wanted)) return matches(wanted as Json, event[key] as Json);
    if (wanted.some((value) => typeof value === 'object')) throw new Error(`An operator is not known here: ${key}`);
    return wanted.includes(event[key]);
  });

/** What the target gets: the template with the event's values in the place of the names. */
const transform = (paths: Record<string, string>, template: string, event: Json) =>
  template.replace(/<(\w+)>/g, (_, name: string) => {
    const steps = (paths[name] ?? '').split('.').slice(1);
    return String(steps.reduce<unknown>((value, step) => (value as Json)[step], event));
  });

const reference = (tag: string) => ({ tag: `!${tag}`, resolve: (to: string) => ({ to: to.replace('.Arn', '') }) });

describe.each(['notify-by-mail', 'notify-in-chat'])('%s.yml', (name) => {
  const { Parameters, Resources } = parse(read(`examples/${name}.yml`), {
    customTags: [reference('Ref'), reference('GetAtt')],
  });
  const { EventPattern: pattern, Targets } = Resources.ReadyForCutover.Properties;
  const [{ Arn: topic, InputTransformer: transformer }] = Targets;
  const sent = (event: Json) => transform(transformer.InputPathsMap, transformer.InputTemplate, event);

  test('refers to nothing that it does not have', () => {
    const references = [...JSON.stringify(Resources).matchAll(/\{"to":"(\w+)"\}/g)].map(([, to]) => to);
    expect(references.length).toBeGreaterThan(3);
    expect(Object.keys({ ...Parameters, ...Resources })).toEqual(expect.arrayContaining(references));
  });

  test('lets EventBridge publish to its topic, without a condition, which AWS does not support there', () => {
    const { Topics, PolicyDocument } = Resources.MayPublish.Properties;
    const Principal = { Service: 'events.amazonaws.com' };
    expect(Topics).toEqual([topic]);
    expect(PolicyDocument.Statement).toEqual([{ Effect: 'Allow', Principal, Action: 'sns:Publish', Resource: topic }]);
  });

  test('matches the events of a live migration that is ready for cutover, and no others', () => {
    expect([changed, due].map((event) => matches(pattern, event))).toEqual([true, true]);
    const others = [
      ...[{ readyForCutover: false }, { readyForCutover: null }, { terminal: true }].map((detail) => ({ detail })),
      { source: 'aws.events' },
      { 'detail-type': 'Another' },
    ].map((other) => ({ ...changed, ...other, detail: { ...changed.detail, ...('detail' in other && other.detail) } }));
    expect(others.map((event) => matches(pattern, event))).toEqual(Array(5).fill(false));
  });

  test('sends one JSON text that says which live migration it is', () => {
    for (const event of [changed, due]) {
      const message = JSON.parse(sent(event));
      const { title, description } = message.content ?? { title: message, description: message };
      expect(title).toContain(event['detail-type']);
      expect(description).toContain(event.detail.id);
      expect(description).toContain(event.detail.groupId);
      expect(description).not.toMatch(/<|undefined/);
    }
  });
});

test('a chat gets a custom notification as Amazon Q Developer documents it', () => {
  const { Resources } = parse(read('examples/notify-in-chat.yml'), {
    customTags: [reference('Ref'), reference('GetAtt')],
  });
  const { InputTemplate } = Resources.ReadyForCutover.Properties.Targets[0].InputTransformer;
  expect(JSON.parse(InputTemplate)).toEqual({
    version: '1.0',
    source: 'custom',
    content: { textType: 'client-markdown', title: expect.any(String), description: expect.any(String) },
  });
});

test('the command that tests a pattern names one that matches its event', () => {
  const [, file = '', pattern = ''] =
    /test-event-pattern --event file:\/\/docs\/(\S+) --event-pattern \\\n *'(.*)'/.exec(read('waiting.md')) ?? [];
  expect(matches(JSON.parse(pattern), JSON.parse(read(file)))).toBe(true);
});
