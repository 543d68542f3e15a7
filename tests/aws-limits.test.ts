/**
 * What AWS would refuse of the template although its schema fits. Here are the parts that are ours, in each form;
 * tests/package.test.ts and tests/long/package.test.ts look at packaged templates.
 */

import { beforeAll, expect, test } from 'vitest';
import { beyondLimits, boundToAPlace, limitsWithoutUse, namesOf } from './support/aws-limits.ts';
import { everything, longestStage, otherForms, partsOf, type Template } from './support/template.ts';

const many = (count: number, item: (at: number) => string) => Array.from({ length: count }, (_, at) => item(at)).join();
/** As many callers as the parameters take. */
const callers = {
  api: 'private',
  vpcEndpointIds: many(50, (at) => `vpce-${String(at).padStart(17, '0')}`),
  callerAccountIds: many(100, (at) => String(at).padStart(12, '0')),
};
const forms: Record<string, Record<string, string>> = {
  http: {},
  'with everything': everything,
  ...otherForms,
  'for many callers': callers,
};
/** Of each form, and of each stage where all of it is there. */
const kinds: [form: string, parameters: Record<string, string>, stage: string][] = [
  ...Object.entries(forms).map(([form, parameters]) => [form, parameters, 'dev'] as (typeof kinds)[number]),
  ['with everything', everything, longestStage],
  ['private', otherForms.private, longestStage],
];

type Made = { form: string; parameters: Record<string, string>; stage: string; template: Template };
let made: Made[];
beforeAll(async () => {
  made = await Promise.all(
    kinds.map(async ([form, parameters, stage]) => ({
      form,
      parameters,
      stage,
      template: await partsOf(parameters, stage),
    })),
  );
});

test('every form keeps to the limits of AWS, also in the stage with the longest name', () => {
  const found = made.flatMap(({ form, stage, template }) =>
    beyondLimits(template).map((problem) => `${form}, ${stage}: ${problem}`),
  );
  expect(found).toEqual([]);
});

test('each limit is of something that is there, or that osls makes', () => {
  const without = limitsWithoutUse(made.map(({ template }) => template));
  expect(without.filter((limit) => !/^AWS::(ApiGatewayV2|Lambda)::/.test(limit))).toEqual([]);
});

test('what is beyond a limit is named, with the page that says so', () => {
  const Properties = { AlarmName: 'a'.repeat(256), Metrics: [{ Id: 'A', Expression: '1' }] };
  const Resources = { Broken: { Type: 'AWS::CloudWatch::Alarm', Properties } };
  expect(beyondLimits({ Resources, Outputs: {} })).toEqual([
    expect.stringMatching(/^Broken: 256 characters in the name, at most 255 \(https:.*API_PutMetricAlarm.html\)$/),
    expect.stringMatching(/^Broken: ids A /),
  ]);
});

test('no two stacks of an account want the same name, in whatever stages and regions', () => {
  const stacks = made
    .filter(({ form }) => ['with everything', 'private'].includes(form))
    .flatMap(({ stage, template }) =>
      ['us-east-1', 'eu-central-1'].map((region) => ({
        stack: `${stage} in ${region}`,
        names: namesOf(template, region),
      })),
    );
  expect(stacks).toHaveLength(8);
  for (const { stack, names } of stacks) {
    const own = names.map(([name]) => name);
    expect(own.length).toBeGreaterThan(10);
    expect(new Set(own).size).toBe(own.length);
    const ofOthers = stacks
      .filter((other) => other.stack !== stack)
      .flatMap((other) => other.names.map(([name]) => name));
    expect(
      own.filter((name) => ofOthers.includes(name)),
      stack,
    ).toEqual([]);
  }
});

test('a stack that gets another form finds each name free: what is new is made before the old is deleted', () => {
  const owner = new Map<string, string>();
  for (const { stage, template } of made) {
    for (const [name, id] of namesOf(template, 'us-east-1')) {
      expect(owner.get(name) ?? id, `${name}, ${stage}`).toBe(id);
      owner.set(name, id);
    }
  }
});

test('nothing is bound to a region, or to the commercial partition', () => {
  for (const { form, parameters, template } of made)
    expect(boundToAPlace(template, Object.values(parameters)), form).toEqual([]);
});
