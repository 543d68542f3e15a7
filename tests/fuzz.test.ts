/** Whatever comes in, from callers or from Atlas: a document or a failure of the contract, always in time. */

import fc from 'fast-check';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import { Failure, failureNames } from '../lib/core/failure.ts';
import { readSecret } from '../lib/secret/format.ts';
import {
  allIsWell,
  ask,
  atlas,
  coldStart,
  doorNames,
  entity,
  groupId,
  invokeDirectly,
  liveMigrationId,
  readEvent,
} from './support/harness.ts';
import { runs } from './support/runs.ts';

let handler: LambdaHandler;
beforeAll(async () => {
  allIsWell();
  handler = await coldStart({ ATLAS_TIMEOUT_MS: '500' });
});
beforeEach(allIsWell);

const isNullOr = (type: string) => (value: unknown) => value === null || typeof value === type;

function expectContract(outcome: unknown) {
  const { document, failure, detail } = outcome as {
    document?: Record<string, unknown>;
    failure?: string;
    detail?: string;
  };
  if (document === undefined) {
    expect(failureNames).toContain(failure);
    expect(failure).not.toBe('InternalError');
    expect(detail).toMatch(/^.+\.$/s);
    return;
  }
  expect(Object.keys(document)).toEqual([
    'id',
    'groupId',
    'status',
    'reportedStatus',
    'terminal',
    'readyForCutover',
    'lagTimeSeconds',
    'migrationHosts',
  ]);
  expect(document).toMatchObject({ id: liveMigrationId, groupId });
  expect(document['status']).toMatch(/^(NEW|WORKING|FAILED|COMPLETE|EXPIRED|UNKNOWN)$/);
  expect(document['reportedStatus']).toSatisfy(isNullOr('string'));
  expect(document['terminal']).toBe(['FAILED', 'COMPLETE', 'EXPIRED'].includes(String(document['status'])));
  expect(document['readyForCutover']).toSatisfy(isNullOr('boolean'));
  expect(document['lagTimeSeconds']).toSatisfy(isNullOr('number'));
  expect(document['migrationHosts']).toSatisfy((hosts: unknown[]) => hosts.every((host) => typeof host === 'string'));
}

const anything = fc.anything({ withObjectString: true, maxDepth: 3 });
const field = (...likely: unknown[]) => fc.oneof(...likely.map(fc.constant), anything);
const almostEntity = fc.record(
  {
    _id: field(liveMigrationId, null, liveMigrationId.toUpperCase()),
    status: field(...['NEW', 'WORKING', 'FAILED', 'COMPLETE', 'EXPIRED', null, 'PENDING']),
    migrationHosts: field('a', ['a', 'b'], null, [null]),
    lagTimeSeconds: field(0, 42, '42', null, 2 ** 60, -1),
    readyForCutover: field(true, false, null, 'true'),
  },
  { requiredKeys: [] },
);
const almostError = fc.record(
  {
    error: field(404, '404'),
    errorCode: field(
      ...['GROUP_NOT_FOUND', 'UNEXPECTED_ERROR', 'RESOURCE_NOT_FOUND', null],
      ...['RATE_LIMITED', 'RATE_LIMITED_TOKEN_BUCKET', 'IP_ADDRESS_NOT_ON_ACCESS_LIST'],
    ),
    parameters: fc.oneof(
      field(null, ['203.0.113.1'], ['/path', 3, 1200, 500, 60], ['/api/oauth/token', 10, 1]),
      fc.tuple(fc.constant('/path'), anything, anything),
    ),
  },
  { requiredKeys: [] },
);
const content = fc.oneof(almostEntity, almostError, anything);
const status = fc.oneof(
  fc.constantFrom(200, 400, 401, 402, 403, 404, 406, 410, 429),
  fc.integer({ min: 200, max: 599 }),
);
const envelope = fc.record(
  { status: fc.oneof(status, anything), content, envelope: content },
  { requiredKeys: ['status'] },
);
const toText = (value: unknown) =>
  JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part)) ?? '';
const text = fc.oneof(fc.oneof(content, envelope).map(toText), fc.json(), fc.string({ unit: 'binary' }));
// Few runs with a status that is asked for again, since each of them waits for its back-off.
const passing = [500, 502, 503, 504];
const reply = fc.record({
  status: status.filter((code) => !passing.includes(code)),
  body: fc.oneof(
    text,
    fc.tuple(text, fc.nat(50)).map(([whole, end]) => whole.slice(0, end)),
  ),
  headers: fc.record(
    {
      'content-type': fc.constantFrom('application/json', 'text/html', 'application/json;charset=ISO-8859-1'),
      'content-encoding': fc.constantFrom('gzip', 'deflate', 'identity', 'x'),
      'retry-after': fc.constantFrom('0', '120', '-1', 'soon', 'Wed, 21 Oct 2037 07:28:00 GMT', '1e9'),
      'www-authenticate': fc.constantFrom(
        'Digest realm="x"',
        'Digest realm="MMS Public API", nonce="a", qop="auth"',
        ',,,"',
        'Basic x',
      ),
    },
    { requiredKeys: [] },
  ),
});

test('whatever Atlas answers, callers get a document or a failure of the contract', async () => {
  // Seldom does a reply of any parts come to a live migration.
  const nearly = fc.record({ status: fc.constant(200), body: almostEntity.map(toText), headers: fc.constant({}) });
  const ends = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.oneof({ arbitrary: reply, weight: 4 }, nearly),
      fc.constantFrom(...doorNames),
      async (made, door) => {
        atlas.reply = () => made;
        // Little time is left, so that no rate limit is waited out.
        const outcome = await ask(handler, door, {}, 1400);
        expectContract(outcome);
        ends.add('failure' in outcome ? outcome.failure : 'Answered');
      },
    ),
    { ...runs(100), examples: [[{ status: 200, body: toText(entity), headers: {} }, 'direct']] },
  );
  expect(ends.size).toBeGreaterThan(3);
  expect(ends).toContain('Answered');
});

test('whatever Atlas challenges with, callers get a failure of the contract', async () => {
  const part = fc.constantFrom(
    'Digest ',
    'Basic ',
    'realm=',
    '"',
    '\\',
    ',',
    ' ',
    '=',
    'nonce="a"',
    'qop="auth"',
    'qop=auth-int',
    'algorithm=SHA-256',
    'opaque="',
    'x',
    'MD5',
  );
  const header = fc.oneof(
    fc.array(part, { maxLength: 12 }).map((parts) => parts.join('')),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(header, async (challenge) => {
      atlas.intercept = (_request, response) => {
        response.writeHead(401, { 'www-authenticate': challenge.replace(/[^\x20-\x7e]/g, '') }).end('{}');
        return true;
      };
      expectContract(await ask(handler));
    }),
    runs(60),
  );
});

test('whatever the secret holds, it is read or refused without a word of it, and the flag alone leads to the government', async () => {
  const names = [
    ...['publicKey', 'public_key', 'PublicKey ', 'MONGODB_ATLAS_PUBLIC_KEY', 'privateKey', 'private-key', 'apiKey'],
    ...['username', 'clientId', 'clientSecret', 'client_id', 'isMongoDBGovCloud', 'is_mongodb_gov_cloud'],
  ];
  // A text that is in no sentence of the product, so that one that is told is found.
  const value = field('', null, 'K9x', ' K9x ', 'K9y', 'mdb_sa_id_K9x', true, 'True', 'no', { toString: 1 });
  const member = fc.tuple(fc.constantFrom(...names), value);
  const secret = fc.array(member, { maxLength: 6 }).map((members) => Object.fromEntries(members));
  const ends = new Set<string>();
  fc.assert(
    fc.property(fc.tuple(fc.constantFrom('', '\uFEFF'), secret), ([mark, made]) => {
      const written = toText(made);
      try {
        const { baseUrl, ...keys } = readSecret(mark + written, 'atlas/x', undefined);
        ends.add(baseUrl.server.hostname);
        for (const key of Object.values(keys)) expect(key).toMatch(/^[\x21-\x7e]+$/);
        const flags = Object.entries(JSON.parse(written))
          .filter(([name]) => /gov/i.test(name))
          .map(([, flag]) => JSON.stringify(flag).replace(/["\s]/g, '').toLowerCase());
        expect(baseUrl.server.hostname.includes('mongodbgov')).toBe(flags.includes('true'));
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        ends.add(error.name);
        expect(error.name).toBe('SecretInvalid');
        expect(error.message).not.toContain('K9');
      }
    }),
    {
      ...runs(2000),
      examples: [
        [['', { publicKey: 'K9x', privateKey: 'K9y' }]],
        [['', { publicKey: 'K9x', privateKey: 'K9y', isMongoDBGovCloud: 'True' }]],
        [['', { publicKey: 'K9x', privateKey: 'K9y', isMongoDBGovCloud: { toString: 1 } }]],
        [['', { publicKey: { toString: 1 }, public_key: { toString: 1 } }]],
      ],
    },
  );
  expect(ends.size).toBe(3);
});

test('whatever comes in as an event, the answer is a document or a failure of the contract', async () => {
  const eventLike = fc.oneof(
    anything,
    fc.record({ groupId: field(groupId), liveMigrationId: field(liveMigrationId) }, { requiredKeys: [] }),
    fc.record(
      {
        version: field('2.0', '1.0'),
        httpMethod: field('GET'),
        requestContext: field({ http: {} }, { apiId: 'a' }, {}),
        pathParameters: field({ groupId, liveMigrationId }, null),
        queryStringParameters: field({ pretty: 'true' }, { envelope: 'x' }, null),
        multiValueQueryStringParameters: field({ pretty: ['true', 'false'] }, null),
      },
      { requiredKeys: [] },
    ),
  );
  await fc.assert(
    fc.asyncProperty(eventLike, async (event) => {
      const outcome = await invokeDirectly(handler, event);
      if ('document' in outcome && Object.hasOwn(outcome.document as object, 'statusCode')) {
        const { statusCode, body } = outcome.document as { statusCode: number; body: string };
        const { code, detail } = JSON.parse(body);
        expectContract(statusCode === 200 ? { document: JSON.parse(body) } : { failure: code, detail });
      } else expectContract(outcome);
    }),
    runs(200),
  );
});

test('whatever field of a real event is changed, it is answered or refused as InvalidRequest', async () => {
  const names = ['http-api-pretty-envelope', 'rest-api-pretty-envelope', 'step-functions-task'];
  atlas.reply = () => ({ status: 200, body: entity });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...names), fc.nat(), anything, async (name, at, value) => {
      const event = readEvent(name);
      const keys = Object.keys(event);
      event[keys[at % keys.length] ?? ''] = value;
      const outcome = await invokeDirectly(handler, event);
      if ('failure' in outcome) expect(outcome.failure).toBe('InvalidRequest');
      else if (!Object.hasOwn(outcome.document as object, 'statusCode')) expectContract(outcome);
      else expect([200, 400]).toContain((outcome.document as { statusCode: number }).statusCode);
    }),
    runs(60),
  );
});
