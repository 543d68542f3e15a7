/** The published contract: real answers against the schemas, at every door and for every failure. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundle, createConfig, lint } from '@redocly/openapi-core';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { events, failures, isProblem, waitErrors } from '../contract/index.ts';
import { bundleOpenApi } from '../contract/openapi.ts';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import {
  allIsWell,
  atlas,
  coldStart,
  document,
  doorNames,
  doors,
  entity,
  liveMigrationId,
  readEvent,
} from './support/harness.ts';
import { bringAbout } from './support/scenarios.ts';
import { ids, says, wait } from './support/wait.ts';

const schema = JSON.parse(readFileSync(new URL('../contract/contract.schema.json', import.meta.url), 'utf8'));
const ajv = new Ajv2020({
  strict: true,
  allowUnionTypes: true,
  strictRequired: false,
});
ajv.addSchema(schema);

/** Fails with the validator's words where the value is not what the schema says. */
function expectValid(name: string, value: unknown) {
  const validate = ajv.getSchema(`${schema.$id}#/$defs/${name}`);
  if (!validate) throw new Error(`there is no schema ${name}`);
  validate(value);
  expect(validate.errors ?? [], name).toEqual([]);
}

let handler: LambdaHandler;
beforeAll(async () => {
  allIsWell();
  handler = await coldStart();
});
beforeEach(allIsWell);

test('every schema compiles in strict mode, and the root accepts no arbitrary document', () => {
  for (const name of Object.keys(schema.$defs))
    expect(ajv.getSchema(`${schema.$id}#/$defs/${name}`)).toBeTypeOf('function');
  const isOfContract = ajv.getSchema(schema.$id);
  expect(isOfContract?.(document)).toBe(true);
  for (const other of [{}, { status: 'ok' }, [], 'text', null, { ...document, more: 1 }])
    expect(isOfContract?.(other)).toBe(false);
});

test('openapi.yaml has no merge keys, which many tools do not read', () => {
  expect(readFileSync(new URL('../contract/openapi.yaml', import.meta.url), 'utf8')).not.toContain('<<:');
});

test('the schema is a good JSON Schema', () => {
  expect(ajv.validateSchema(schema)).toBe(true);
  expect(schema.$defs.FailureName.enum).toEqual(failureNames);
});

describe.each(doorNames)('through %s', (door) => {
  test.each([
    ['all fields', entity],
    ['the least of fields', { _id: liveMigrationId }],
    ['a lag too great', { ...entity, lagTimeSeconds: 2 ** 60 }],
  ])('a document from %s passes its schema', async (_, sent) => {
    atlas.reply = () => ({ status: 200, body: sent });
    expectValid('LiveMigration', ((await doors[door](handler)) as { document: unknown }).document);
  });

  test.each(failureNames)('%s passes the schema of its form', async (name) => {
    bringAbout(name);
    const asked = name === 'InvalidRequest' ? { groupId: 'x' } : {};
    const environment = name === 'AtlasTimedOut' ? { ATLAS_TIMEOUT_MS: '100' } : {};
    const outcome = (await doors[door](await coldStart(environment), asked)) as {
      failure: string;
      detail: string;
      http?: { body: string };
    };
    if (outcome.http) expectValid('Problem', JSON.parse(outcome.http.body));
    else expectValid('LambdaError', { errorType: outcome.failure, errorMessage: outcome.detail });
    expect(outcome.failure).toBe(name);
  });
});

test.each(['direct', 'step-functions-task'])('events/%s.json is a Question', (name) => {
  expectValid('Question', readEvent(name));
});

describe('the input of the wait: the schema and the state machine agree', () => {
  const accepts = ajv.compile({ $ref: `${schema.$id}#/$defs/WaitInput` });
  test.each([
    [{}, true],
    [{ until: 'READY_FOR_CUTOVER' }, true],
    [{ pollSeconds: 1, giveUpAfterSeconds: 7_776_000 }, true],
    [{ pollSeconds: 3600, giveUpAfterSeconds: 1 }, true],
    [{ until: 'x' }, false],
    [{ pollSeconds: 0 }, false],
    [{ pollSeconds: 3601 }, false],
    [{ pollSeconds: 1.5 }, false],
    [{ giveUpAfterSeconds: 7_776_001 }, false],
    [{ pollSeconds: '60' }, false],
    [{ groupId: undefined }, false],
  ])('%j is accepted: %s', async (more, expected) => {
    const input = JSON.parse(JSON.stringify({ ...ids, ...more }));
    expect(accepts(input)).toBe(expected);
    const { ending } = await wait({ atlas: () => says('COMPLETE') }, input);
    expect(ending).toMatchObject(expected ? { document: { status: 'COMPLETE' } } : { error: 'InvalidRequest' });
  });

  test('the defaults are the same', async () => {
    const { until, pollSeconds, giveUpAfterSeconds } = schema.$defs.WaitInput.properties;
    const { started } = await wait({ atlas: () => says('COMPLETE') });
    const [round] = started('pollLiveMigration');
    expect(round?.input).toMatchObject({
      until: until.default,
      pollSeconds: pollSeconds.default,
      endsAt: (round?.startedAt ?? 0) + giveUpAfterSeconds.default * 1000,
    });
  });
});

const waitForCutover = () =>
  wait(
    { atlas: ({ hours }) => says(hours < 0.5 ? 'NEW' : 'WORKING', hours >= 1) },
    { ...ids, pollSeconds: 1800 },
    { hours: 30 },
  );

test('the events of a wait and of its reminder are what the schema says', async () => {
  const { changes, reminders } = await waitForCutover();
  expect(changes).toHaveLength(3);
  for (const detail of changes) expectValid('StatusChanged', detail);
  expect(reminders).toHaveLength(1);
  for (const { hours: _, ...detail } of reminders) expectValid('CutoverDue', detail);
});

test.each([
  ['status-changed', events.statusChanged, 'StatusChanged'],
  ['cutover-due', events.cutoverDue, 'CutoverDue'],
])('the sample event %s is one', (name, detailType, type) => {
  const sample = JSON.parse(readFileSync(new URL(`../docs/examples/${name}.event.json`, import.meta.url), 'utf8'));
  expect(sample).toMatchObject({ source: events.source, 'detail-type': detailType });
  expectValid(type, sample.detail);
  // All that EventBridge adds, and TestEventPattern wants.
  const envelope = ['version', 'id', 'detail-type', 'source', 'account', 'time', 'region', 'resources', 'detail'];
  expect(Object.keys(sample)).toEqual(envelope);
});

test('the package knows every failure, and no other answer is a problem', () => {
  const problem = (code: string) => ({ code, type: `urn:problem-type:atlas-live-migration:${code}` });
  expect(Object.keys(failures)).toEqual(failureNames);
  for (const name of failureNames) {
    expect(failures[name]).toEqual({ status: kindOf(name).status, retryable: kindOf(name).retryable });
    expect([isProblem(problem(name)), isProblem(problem(name), name)]).toEqual([true, true]);
    expect(
      isProblem(
        problem(name),
        failureNames.find((other) => other !== name),
      ),
    ).toBe(false);
  }
  for (const other of [null, 'text', {}, { message: 'Forbidden' }, { code: 'ProjectNotFound' }, problem('toString')])
    expect(isProblem(other)).toBe(false);
});

test('the constants of the package are what the waits and their events have', async () => {
  const { entries } = await waitForCutover();
  expect(new Set(entries.map(({ Source, DetailType }) => [Source, DetailType].join()))).toEqual(
    new Set([`${events.source},${events.statusChanged}`, `${events.source},${events.cutoverDue}`]),
  );
  const ends: unknown[] = [];
  for (const status of ['FAILED', 'EXPIRED', 'WORKING'] as const) {
    const { ending } = await wait({ atlas: () => says(status) }, { ...ids, giveUpAfterSeconds: 600 });
    ends.push(ending && 'error' in ending ? ending.error : ending);
  }
  expect(ends).toEqual(waitErrors);
});

describe('contract/openapi.yaml', () => {
  type Content = Record<string, { schema: object; examples?: Record<string, { value: Record<string, unknown> }> }>;
  type Answer = { headers?: Record<string, Parameter>; content: Content };
  type Parameter = { schema: object; example?: unknown };
  const ref = fileURLToPath(new URL('../contract/openapi.yaml', import.meta.url));
  let operation: { parameters: (Parameter & { name: string })[]; responses: Record<string, Answer> };
  beforeAll(async () => {
    const { bundle: bundled } = await bundle({ ref, config: await createConfig({}), dereference: true });
    const { paths } = bundled.parsed as { paths: Record<string, { get: typeof operation }> };
    operation = paths['/groups/{groupId}/liveMigrations/{liveMigrationId}']?.get ?? { parameters: [], responses: {} };
  });
  const complaints = (schema: object, value: unknown) => {
    const validate = ajv.compile(schema);
    validate(value);
    return validate.errors ?? [];
  };

  test('passes the linter', async () => {
    const problems = await lint({ ref, config: await createConfig({ extends: ['recommended'] }) });
    expect(problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer}`)).toEqual(
      [],
    );
  });

  test('as one document it has no reference to another one', async () => {
    const references = [...JSON.stringify(await bundleOpenApi()).matchAll(/"\$ref":"([^"]+)"/g)].map(([, to]) => to);
    expect(references.length).toBeGreaterThan(20);
    for (const to of references) expect(to).toMatch(/^#\/components\//);
  });

  test('each example passes its schema, and a header can hold it', () => {
    const { parameters, responses } = operation;
    let count = 0;
    const check = (schema: object, value: unknown) => {
      count += 1;
      expect(complaints(schema, value)).toEqual([]);
    };
    for (const { schema, example } of parameters) if (example !== undefined) check(schema, example);
    for (const { headers = {}, content } of Object.values(responses)) {
      for (const { schema, example } of Object.values(headers)) {
        check(schema, example);
        expect(() => new Headers({ x: String(example) })).not.toThrow();
      }
      for (const { schema, examples = {} } of Object.values(content))
        for (const { value } of Object.values(examples)) check(schema, value);
    }
    expect(count).toBe(2 + 10 + 3 + failureNames.length);
  });

  test('has an example of every failure, at its status, as it really is', () => {
    const named: string[] = [];
    for (const [status, { content }] of Object.entries(operation.responses)) {
      for (const [name, { value }] of Object.entries(content['application/problem+json']?.examples ?? {})) {
        named.push(name);
        expectValid('Problem', value);
        expect(status).toBe(String(value['status']));
        expect(value).toMatchObject({
          code: name,
          ...kindOf(name as (typeof failureNames)[number]),
        });
      }
    }
    expect(named.sort()).toEqual([...failureNames].sort());
  });

  test('has examples of the document', () => {
    const examples = operation.responses['200']?.content['application/json']?.examples ?? {};
    for (const { value } of Object.values(examples)) expectValid('LiveMigration', value);
    expect(Object.keys(examples)).toEqual(['Working', 'ReadyForCutover', 'Complete']);
  });

  test('allows what API Gateway says by itself for every status but 200, after the problem, which many tools take alone', () => {
    const { 200: _, ...others } = operation.responses;
    const both = ['400', '404', '429', '500', '502', '503', '504'];
    expect(Object.keys(others).sort()).toEqual([...both, '401', '403', 'default'].sort());
    for (const [status, { content }] of Object.entries(others)) {
      const types = both.includes(status) ? ['application/problem+json', 'application/json'] : ['application/json'];
      expect(Object.keys(content), status).toEqual(types);
      const { schema } = content['application/json'] ?? { schema: {} };
      for (const message of [{ message: 'Forbidden' }, { Message: 'User is not authorized' }])
        expect(complaints(schema, message)).toEqual([]);
      expect(complaints(schema, {})).not.toEqual([]);
    }
  });

  test.each(['true', 'false', 'TRUE', 'False', 'yes', '', '1', 'true,false'])(
    'pretty and envelope are described as they are judged: "%s"',
    async (value) => {
      for (const flag of ['pretty', 'envelope']) {
        const judged = (await doors['http-api'](handler, { [flag]: value })) as { failure?: string };
        const { schema } = operation.parameters.find(({ name }) => name === flag) ?? { schema: {} };
        expect(complaints(schema, value).length > 0, flag).toBe(judged.failure === 'InvalidRequest');
      }
    },
  );
});
