/** The document: every rule of it, at every door, with and without an envelope. */

import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import {
  allIsWell,
  ask,
  atlas,
  coldStart,
  document,
  doorNames,
  doors,
  entity,
  groupId,
  invokeHttp,
  liveMigrationId,
  readEvent,
} from './support/harness.ts';

let handler: LambdaHandler;

beforeAll(async () => {
  allIsWell();
  handler = await coldStart();
});
beforeEach(allIsWell);

const id = liveMigrationId;

/** What Atlas sends, and what the document says instead of {@link document}'s values. */
const rules: [rule: string, sent: object, expected: object][] = [
  ['a list of hosts stays a list', entity, {}],
  [
    'a bare host becomes a list of one',
    { ...entity, migrationHosts: 'vm009.example.com' },
    { migrationHosts: ['vm009.example.com'] },
  ],
  [
    'no hosts are an empty list',
    { _id: id, status: 'WORKING', lagTimeSeconds: 42, readyForCutover: false },
    { migrationHosts: [] },
  ],
  ['null hosts are an empty list', { ...entity, migrationHosts: null }, { migrationHosts: [] }],
  [
    'hosts that are no strings are dropped',
    { ...entity, migrationHosts: ['a', 1, null, {}, ['b'], 'c'] },
    { migrationHosts: ['a', 'c'] },
  ],
  ['hosts of another type are an empty list', { ...entity, migrationHosts: { a: 'b' } }, { migrationHosts: [] }],
  ['NEW is not terminal', { ...entity, status: 'NEW' }, { status: 'NEW', reportedStatus: 'NEW' }],
  [
    'FAILED is terminal',
    { ...entity, status: 'FAILED' },
    { status: 'FAILED', reportedStatus: 'FAILED', terminal: true },
  ],
  [
    'COMPLETE is terminal',
    { ...entity, status: 'COMPLETE' },
    { status: 'COMPLETE', reportedStatus: 'COMPLETE', terminal: true },
  ],
  [
    'EXPIRED is terminal',
    { ...entity, status: 'EXPIRED' },
    { status: 'EXPIRED', reportedStatus: 'EXPIRED', terminal: true },
  ],
  [
    'a word that is new is UNKNOWN and reported',
    { ...entity, status: 'PENDING' },
    { status: 'UNKNOWN', reportedStatus: 'PENDING' },
  ],
  [
    'a word in small letters is UNKNOWN and reported',
    { ...entity, status: 'complete' },
    { status: 'UNKNOWN', reportedStatus: 'complete' },
  ],
  ['the word UNKNOWN is reported', { ...entity, status: 'UNKNOWN' }, { status: 'UNKNOWN', reportedStatus: 'UNKNOWN' }],
  ['a null status is UNKNOWN', { ...entity, status: null }, { status: 'UNKNOWN', reportedStatus: null }],
  ['an absent status is UNKNOWN', { ...entity, status: undefined }, { status: 'UNKNOWN', reportedStatus: null }],
  ['a status that is no word is UNKNOWN', { ...entity, status: 7 }, { status: 'UNKNOWN', reportedStatus: null }],
  ['an absent lag is null', { ...entity, lagTimeSeconds: undefined }, { lagTimeSeconds: null }],
  ['a null lag is null', { ...entity, lagTimeSeconds: null }, { lagTimeSeconds: null }],
  ['no lag is 0', { ...entity, lagTimeSeconds: 0 }, { lagTimeSeconds: 0 }],
  ['a lag in decimal digits is a number', { ...entity, lagTimeSeconds: '0077' }, { lagTimeSeconds: 77 }],
  ['a lag in other words is null', { ...entity, lagTimeSeconds: '1e3' }, { lagTimeSeconds: null }],
  [
    'the greatest safe lag is kept',
    { ...entity, lagTimeSeconds: 9007199254740991 },
    { lagTimeSeconds: 9007199254740991 },
  ],
  ['a lag above 2^53 is null', { ...entity, lagTimeSeconds: 9007199254740992 }, { lagTimeSeconds: null }],
  [
    'a lag above 2^53 in digits is null',
    { ...entity, lagTimeSeconds: '9223372036854775807' },
    { lagTimeSeconds: null },
  ],
  ['a lag of another type is null', { ...entity, lagTimeSeconds: [42] }, { lagTimeSeconds: null }],
  ['ready for cutover is told', { ...entity, readyForCutover: true }, { readyForCutover: true }],
  ['absent readiness is null', { ...entity, readyForCutover: undefined }, { readyForCutover: null }],
  ['readiness of another type is null', { ...entity, readyForCutover: 'true' }, { readyForCutover: null }],
  ['an absent _id is the id asked for', { ...entity, _id: undefined }, {}],
  ['a null _id is the id asked for', { ...entity, _id: null }, {}],
  ['an _id in capitals is the same id', { ...entity, _id: id.toUpperCase() }, {}],
  [
    'an entity with its _id only is enough',
    { _id: id },
    { status: 'UNKNOWN', reportedStatus: null, readyForCutover: null, lagTimeSeconds: null, migrationHosts: [] },
  ],
  [
    'an entity with its status only is enough',
    { _id: null, status: 'NEW' },
    { status: 'NEW', reportedStatus: 'NEW', readyForCutover: null, lagTimeSeconds: null, migrationHosts: [] },
  ],
  ['unknown fields are ignored', { ...entity, progress: 0.5, groupId: 'other' }, {}],
];

const wrappings: [string, (content: object) => object][] = [
  ['plainly', (content) => content],
  ['in an envelope', (content) => ({ status: 200, content })],
  ["in the source document's envelope", (content) => ({ status: 200, envelope: content })],
];

describe.each(doorNames)('through %s', (door) => {
  describe.each(wrappings)('sent %s', (_, wrap) => {
    test.each(rules)('%s', async (_, sent, expected) => {
      atlas.reply = () => ({ status: 200, body: wrap(sent) });
      const outcome = await ask(handler, door);
      expect(outcome).toEqual({ document: { ...document, ...expected } });
    });
  });

  test('the keys come in the order of the contract, whatever order Atlas has', async () => {
    atlas.reply = () => ({ status: 200, body: Object.fromEntries(Object.entries(entity).reverse()) });
    const outcome = (await ask(handler, door)) as { document: object };
    expect(Object.keys(outcome.document)).toEqual([
      'id',
      'groupId',
      'status',
      'reportedStatus',
      'terminal',
      'readyForCutover',
      'lagTimeSeconds',
      'migrationHosts',
    ]);
  });

  test.each([
    ['groupId', { groupId: groupId.toUpperCase() }],
    ['liveMigrationId', { liveMigrationId: id.toUpperCase() }],
  ])('a %s in capitals is refused, since a policy on the path would be passed by', async (field, asked) => {
    expect(await ask(handler, door, asked)).toEqual({
      failure: 'InvalidRequest',
      detail: `The request is not valid: ${field} must be 24 hexadecimal digits in lower case.`,
    });
    expect(atlas.counters.requests).toBe(0);
  });
});

describe('an encoded path is refused, since a policy on the path may not see through it', () => {
  const encoded = (path: string) => path.replace('/7e68', '/%37e68');
  const path = readEvent('http-api')['rawPath'] as string;

  test.each([
    ['http-api', { rawPath: encoded(path) }],
    ['http-api', { requestContext: { http: { method: 'GET', path: encoded(path) } } }],
    ['rest-api', { path: encoded(path) }],
    ['rest-api', { requestContext: { apiId: 'a', path: `/prod${encoded(path)}` } }],
  ])('%s: %j', async (door, fields) => {
    const { http, ...outcome } = await invokeHttp(handler, { ...readEvent(door), ...fields });
    expect(outcome).toEqual({
      failure: 'InvalidRequest',
      detail: 'The request is not valid: path must hold no %, since ids need no encoding.',
    });
    expect(JSON.parse(http.body).errors).toEqual([
      { field: 'path', detail: 'must hold no %, since ids need no encoding' },
    ]);
    expect(atlas.counters.requests).toBe(0);
  });
});

describe.each(['http-api', 'rest-api'] as const)('the flags, through %s', (door) => {
  test('envelope=true is forwarded and changes nothing in the answer', async () => {
    const plain = await doors[door](handler);
    const enveloped = await doors[door](handler, { envelope: 'true' });
    expect(enveloped.http).toEqual(plain.http);
    expect(atlas.seen.map(({ url }) => url?.split('?')[1])).toEqual([undefined, 'envelope=true']);
  });

  test('pretty=true is forwarded and indents the answer', async () => {
    const { http } = await doors[door](handler, { pretty: 'TRUE' });
    expect(http.body).toBe(`${JSON.stringify(document, null, 2)}\n`);
    expect(atlas.seen[0]?.url).toMatch(/\?pretty=true$/);
  });

  test('false is forwarded too, in small letters', async () => {
    const { http } = await doors[door](handler, { envelope: 'False', pretty: 'FALSE' });
    expect(http.body).toBe(JSON.stringify(document));
    expect(atlas.seen[0]?.url).toMatch(/\?envelope=false&pretty=false$/);
  });

  test('other parameters are not forwarded', async () => {
    const outcome = await doors[door](handler, { other: 'x', Pretty: 'nonsense' } as object);
    expect(outcome).toMatchObject({ document });
    expect(atlas.seen[0]?.url).not.toContain('?');
  });
});

test('no header of the caller reaches Atlas', async () => {
  await ask(handler, 'http-api');
  expect(Object.keys(atlas.seen[0]?.headers ?? {}).sort()).toEqual([
    'accept',
    'accept-encoding',
    'authorization',
    'connection',
    'host',
    'user-agent',
  ]);
  expect(atlas.seen[0]?.headers['user-agent']).toBe('atlas-live-migration');
});

test('a direct invocation knows no flags', async () => {
  expect(await ask(handler, 'direct', { pretty: 'nonsense', envelope: 'true' })).toEqual({ document });
  expect(atlas.seen[0]?.url).not.toContain('?');
});

test('numbers that JSON.parse would round are not passed on', async () => {
  atlas.reply = () => ({ status: 200, body: `{"_id":"${id}","status":"WORKING","lagTimeSeconds":9007199254740993}` });
  expect(await ask(handler)).toMatchObject({ document: { lagTimeSeconds: null } });
  atlas.reply = () => ({ status: 200, body: `{"_id":"${id}","status":"WORKING","lagTimeSeconds":1e999}` });
  expect(await ask(handler)).toMatchObject({ document: { lagTimeSeconds: null } });
});
