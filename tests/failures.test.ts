/** The closed list of failures: what each answer of Atlas and each slip of a caller becomes, at every door. */

import type { Context } from 'aws-lambda';
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { atlasError, type Reply } from '../embedded/atlas.ts';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import { failureNames, kindOf } from '../lib/core/failure.ts';
import {
  allIsWell,
  ask,
  atlas,
  coldStart,
  document,
  doorNames,
  doors,
  groupId,
  invokeDirectly,
  invokeHttp,
  liveMigrationId,
  privateKey,
  publicKey,
  readEvent,
  secretId,
  secretsManager,
  skipPauses,
} from './support/harness.ts';

let handler: LambdaHandler;

beforeAll(async () => {
  allIsWell();
  handler = await coldStart();
});
beforeEach(allIsWell);

const html = { 'content-type': 'text/html' };
const maintenance = '<!DOCTYPE html><title>MongoDB Cloud Manager Unavailable</title>';
const other = 'ffffffffffffffffffffffff';

/** What Atlas answers with a good key, the failure that it becomes, and what its detail must hold. */
type Answer = [said: string, reply: Reply, failure: string, detail: string];
const answers: Answer[] = [
  [
    '401 USER_CANNOT_ACCESS_GROUP',
    atlasError(401, 'USER_CANNOT_ACCESS_GROUP'),
    'AtlasAccessDenied',
    '401 USER_CANNOT_ACCESS_GROUP',
  ],
  ['401 NOT_IN_GROUP', atlasError(401, 'NOT_IN_GROUP'), 'AtlasAccessDenied', groupId],
  ...['USER_CANNOT_ACCESS_GROUP', 'NOT_IN_GROUP', 'USER_UNAUTHORIZED'].map(
    (code): Answer => [
      `401 ${code}, with a challenge`,
      { ...atlasError(401, code), headers: { 'www-authenticate': 'Digest realm="x", nonce="y"' } },
      'AtlasAccessDenied',
      code,
    ],
  ),
  ['401 with another code and no challenge', atlasError(401, 'SOMETHING_ELSE'), 'AtlasAccessDenied', 'SOMETHING_ELSE'],
  [
    '402',
    atlasError(402, 'ACCOUNT_SUSPENDED'),
    'AtlasAccessDenied',
    `Atlas accepts the key but denies access to project ${groupId} (402 ACCOUNT_SUSPENDED).`,
  ],
  ['403', atlasError(403, 'ACCESS_FORBIDDEN'), 'AtlasAccessDenied', '403 ACCESS_FORBIDDEN'],
  [
    '403 for an address not on the access list',
    atlasError(403, 'IP_ADDRESS_NOT_ON_ACCESS_LIST', ['203.0.113.9']),
    'AtlasAccessDenied',
    '203.0.113.9',
  ],
  [
    '403 for an IPv6 address not on the access list',
    atlasError(403, 'RESOURCE_REQUIRES_ACCESS_LIST', ['2001:db8::9']),
    'AtlasAccessDenied',
    '2001:db8::9',
  ],
  [
    '403 by the older name',
    atlasError(403, 'IP_ADDRESS_NOT_ON_WHITELIST', ['203.0.113.9']),
    'AtlasAccessDenied',
    '203.0.113.9',
  ],
  [
    '403 for an address that is not told',
    atlasError(403, 'ORG_REQUIRES_ACCESS_LIST', ['<script>']),
    'AtlasAccessDenied',
    'Allow the address',
  ],
  ['404 GROUP_NOT_FOUND', atlasError(404, 'GROUP_NOT_FOUND'), 'ProjectNotFound', groupId],
  ['404 INVALID_GROUP_ID', atlasError(404, 'INVALID_GROUP_ID'), 'ProjectNotFound', 'INVALID_GROUP_ID'],
  ['404 NOT_ATLAS_GROUP', atlasError(404, 'NOT_ATLAS_GROUP'), 'ProjectNotFound', 'NOT_ATLAS_GROUP'],
  ['404 RESOURCE_NOT_FOUND', atlasError(404, 'RESOURCE_NOT_FOUND'), 'LiveMigrationNotFound', liveMigrationId],
  ['404 UNEXPECTED_ERROR', atlasError(404, 'UNEXPECTED_ERROR'), 'LiveMigrationNotFound', 'UNEXPECTED_ERROR'],
  [
    '404 whose document has its status as text',
    { status: 404, body: { status: '404', errorCode: 'GROUP_NOT_FOUND' } },
    'ProjectNotFound',
    groupId,
  ],
  ['404 with a null code', atlasError(404, null), 'LiveMigrationNotFound', '(404)'],
  [
    '404 that is not Atlas',
    { status: 404, headers: html, body: '<h1>Not Found</h1>' },
    'AtlasUnexpectedAnswer',
    'base URL',
  ],
  ['404 with an unknown document', { status: 404, body: { message: 'no route' } }, 'AtlasUnexpectedAnswer', 'base URL'],
  ['400', atlasError(400, 'INVALID_VERSION_DATE'), 'AtlasUnexpectedAnswer', '400 INVALID_VERSION_DATE'],
  ['406', atlasError(406, 'INVALID_VERSION_DATE'), 'AtlasUnexpectedAnswer', '406'],
  ['410', atlasError(410, 'VERSION_GONE'), 'AtlasUnexpectedAnswer', '410 VERSION_GONE'],
  [
    '418',
    { status: 418, body: '' },
    'AtlasUnexpectedAnswer',
    'Atlas answered with a status that is not understood (418).',
  ],
  ['600', { status: 600, body: '' }, 'AtlasUnexpectedAnswer', '600'],
  [
    'a redirect, which is not followed',
    { status: 302, headers: { location: 'https://example.com/login' }, body: '' },
    'AtlasUnexpectedAnswer',
    '302',
  ],
  [
    '429 with what the bucket needs',
    atlasError(429, 'RATE_LIMITED_TOKEN_BUCKET', ['/path', 37, 1200, 500, 60]),
    'AtlasRateLimited',
    'wait 37 s',
  ],
  [
    '429 with Retry-After',
    { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '40' } },
    'AtlasRateLimited',
    'wait 40 s',
  ],
  ['501', atlasError(501, null), 'AtlasUnavailable', 'Atlas is not available (501).'],
  ['599', atlasError(599, null), 'AtlasUnavailable', '599'],
  ['500 as Atlas says it', atlasError(500, 'UNEXPECTED_ERROR'), 'AtlasUnavailable', '500 UNEXPECTED_ERROR'],
  ['500 in two words', { status: 500, body: 'Server Error' }, 'AtlasUnavailable', '500'],
  ['a maintenance page', { status: 503, headers: html, body: maintenance }, 'AtlasUnavailable', '503'],
  ['502', { status: 502, body: '' }, 'AtlasUnavailable', '502'],
  ['504', { status: 504, body: 'upstream request timeout' }, 'AtlasUnavailable', '504'],
  ['200 with HTML', { status: 200, headers: html, body: maintenance }, 'AtlasUnexpectedAnswer', 'not a JSON object'],
  ['200 with nothing', { status: 200, body: '' }, 'AtlasUnexpectedAnswer', 'not a JSON object'],
  ['204', { status: 204, body: '' }, 'AtlasUnexpectedAnswer', 'not a JSON object'],
  ['200 with a list', { status: 200, body: [] }, 'AtlasUnexpectedAnswer', 'not a JSON object'],
  ['200 with null', { status: 200, body: 'null' }, 'AtlasUnexpectedAnswer', 'not a JSON object'],
  [
    '200 with a cut answer',
    { status: 200, body: `{"_id":"${liveMigrationId}","stat` },
    'AtlasUnexpectedAnswer',
    'not a JSON object',
  ],
  ['200 with another object', { status: 200, body: { results: [] } }, 'AtlasUnexpectedAnswer', 'neither an _id nor'],
  [
    '200 with a status that is not known',
    { status: 200, body: { status: 'ok' } },
    'AtlasUnexpectedAnswer',
    'neither an _id nor',
  ],
  ['200 with no status', { status: 200, body: { status: null } }, 'AtlasUnexpectedAnswer', 'neither an _id nor'],
  [
    '200 with an error in it',
    { status: 200, body: { error: 404, errorCode: 'GROUP_NOT_FOUND' } },
    'AtlasUnexpectedAnswer',
    'neither an _id nor',
  ],
  [
    '200 with another live migration',
    { status: 200, body: { _id: other, status: 'NEW' } },
    'AtlasUnexpectedAnswer',
    'another live migration',
  ],
  [
    '200 with an _id that is no string',
    { status: 200, body: { _id: { $oid: liveMigrationId } } },
    'AtlasUnexpectedAnswer',
    'another live migration',
  ],
];

/** The same said inside an envelope, as far as an envelope can say it. */
const enveloped = answers
  .filter(([, { body }]) => typeof body === 'object')
  .flatMap(([said, { status, body, ...rest }, failure, detail]): Answer[] => [
    [`${said}, in an envelope`, { ...rest, status: 200, body: { status, content: body } }, failure, detail],
    [
      `${said}, in the source document's envelope`,
      { ...rest, status: 200, body: { status, envelope: body } },
      failure,
      detail,
    ],
    [
      `${said}, in an envelope with its own HTTP status`,
      { ...rest, status, body: { status, content: body } },
      failure,
      detail,
    ],
  ]);

const more: Answer[] = [
  [
    'an envelope whose status is no HTTP status',
    { status: 200, body: '{"status":1e999,"content":{}}' },
    'AtlasUnexpectedAnswer',
    'not a JSON object',
  ],
  [
    'an envelope without content',
    { status: 200, body: { status: 200 } },
    'AtlasUnexpectedAnswer',
    'neither an _id nor',
  ],
  [
    'an enveloped 401 of any code: whoever reads it has a good key',
    { status: 200, body: { status: 401, content: { errorCode: 'UNEXPECTED_ERROR' } } },
    'AtlasAccessDenied',
    'UNEXPECTED_ERROR',
  ],
  ...(
    [
      [401, 'NOT_IN_GROUP', 'AtlasAccessDenied', '401 NOT_IN_GROUP'],
      [403, 'IP_ADDRESS_NOT_ON_ACCESS_LIST', 'AtlasAccessDenied', '203.0.113.9'],
      [404, 'GROUP_NOT_FOUND', 'ProjectNotFound', groupId],
      [429, 'RATE_LIMITED_TOKEN_BUCKET', 'AtlasRateLimited', 'wait 30 s'],
    ] as const
  ).flatMap(([status, errorCode, failure, detail]): Answer[] => {
    const body = { status, error: status, errorCode, parameters: ['203.0.113.9', 30] };
    return [
      [`${status} whose error document has its status as a number`, { status, body }, failure, detail],
      [`200 with such a document of ${status}`, { status: 200, body }, failure, detail],
      [`the same with ${status} as text`, { status: 200, body: { ...body, status: `${status}` } }, failure, detail],
    ];
  }),
  ['an enveloped 100', { status: 200, body: { status: 100, content: {} } }, 'AtlasUnexpectedAnswer', '(100)'],
  ...['0200', '200x'].map(
    (status): Answer => [
      `an envelope whose status is the text ${status}`,
      { status: 200, body: { status, content: { _id: liveMigrationId, status: 'NEW' } } },
      'AtlasUnexpectedAnswer',
      'neither an _id nor',
    ],
  ),
  [
    'an enveloped 199, although it holds a live migration',
    { status: 200, body: { status: 199, content: { _id: liveMigrationId, status: 'NEW' } } },
    'AtlasUnexpectedAnswer',
    '199',
  ],
  [
    'HTTP 300 whose envelope says 200',
    { status: 300, body: { status: 200, content: { _id: liveMigrationId, status: 'NEW' } } },
    'AtlasUnexpectedAnswer',
    '300',
  ],
  ...[99, 600, 200.5, -200].map(
    (status): Answer => [
      `an envelope whose status is ${status}`,
      { status: 200, body: { status, content: { _id: liveMigrationId, status: 'NEW' } } },
      'AtlasUnexpectedAnswer',
      'not a JSON object',
    ],
  ),
  [
    'an HTTP error whose envelope says 200',
    { status: 502, body: { status: 200, content: { _id: liveMigrationId } } },
    'AtlasUnavailable',
    '502',
  ],
  ...['the key 12345 is bad', 'key BAD', 'BAD key', 'B'.repeat(101), ['BAD'], 403].map(
    (errorCode): Answer => [
      `a code that is no code: ${errorCode}`,
      { status: 403, body: { error: 403, errorCode, detail: 'x' } },
      'AtlasAccessDenied',
      '(403)',
    ],
  ),
  // Without Atlas's error document and without its challenge, nobody knows who has spoken.
  ...[401, 402, 403, 404].flatMap((status): Answer[] =>
    (
      [
        ['a page', { status, body: '<html>Blocked</html>', headers: html }],
        ['nothing', { status, body: '' }],
        ["somebody else's JSON", { status, body: { message: 'Forbidden', code: 'E403' } }],
        ['a code that no document of Atlas has', { status, body: { errorCode: 'blocked' } }],
        ['the status as a text', { status, body: { error: `${status}` } }],
        [
          "somebody else's challenge",
          { status, body: '', headers: { 'www-authenticate': 'Basic realm="proxy", NTLM' } },
        ],
        [
          'a challenge for a token, where none was sent',
          { status, body: '', headers: { 'www-authenticate': 'Bearer' } },
        ],
        ['an envelope around nothing', { status: 200, body: { status, content: {} } }],
      ] as [string, Reply][]
    ).map(([what, reply]) => [`${status} with ${what}`, reply, 'AtlasUnexpectedAnswer', 'proxy, a firewall']),
  ),
];

describe.each([401, 403])('a page with %i that comes instead of the challenge', (status) => {
  test.each(doorNames)('is an unexpected answer, through %s', async (door) => {
    atlas.intercept = (_request, response) => Boolean(response.writeHead(status, html).end('<html>Blocked</html>'));
    const failure = 'AtlasUnexpectedAnswer';
    expect(await ask(await coldStart(), door)).toEqual({ failure, detail: expect.stringContaining(`${status}`) });
    expect(secretsManager.counters.reads).toBe(1);
  });
});

describe.each(doorNames)('through %s, each answer of Atlas becomes its failure', (door) => {
  test.each([...answers, ...enveloped, ...more])('%s', async (_, reply, failure, detail) => {
    atlas.reply = () => reply;
    expect(await ask(handler, door)).toEqual({ failure, detail: expect.stringContaining(detail) });
  });
});

test('an address is named only where the code is about the access list', async () => {
  atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN', ['203.0.113.9']);
  expect(await ask(handler)).toMatchObject({
    detail: expect.stringMatching(/^Atlas accepts the key but denies access/),
  });
  atlas.reply = () => ({ status: 403, body: { error: 403, parameters: ['203.0.113.9'] } });
  expect(await ask(handler)).toMatchObject({
    detail: expect.stringMatching(/^Atlas accepts the key but denies access/),
  });
});

test('an envelope may have any status of success', async () => {
  atlas.reply = () => ({ status: 200, body: { status: 299, content: { _id: liveMigrationId, status: 'NEW' } } });
  expect(await ask(handler)).toMatchObject({ document: { status: 'NEW' } });
});

test.each([null, 'UNEXPECTED_ERROR'])(
  'a 401 without a challenge is about the key where its code is %s',
  async (code) => {
    atlas.reply = () => atlasError(401, code);
    expect(await ask(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
  },
);

test('a 401 that comes with a challenge is about the key, whatever its code', async () => {
  atlas.reply = ({ headers }) => ({
    ...atlasError(401, 'API_KEY_REVOKED'),
    headers: { 'www-authenticate': `Digest realm="MMS Public API", nonce="${headers.host}", qop="auth"` },
  });
  expect(await ask(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
});

test('each failure that Atlas can cause was caused above', () => {
  const caused = new Set([...answers, ...more].map(([, , failure]) => failure));
  const elsewhere = [
    'InvalidRequest',
    'AtlasCredentialsRejected',
    'AtlasTimedOut',
    'SecretUnavailable',
    'SecretInvalid',
    'InternalError',
  ];
  expect([...caused, ...elsewhere].sort()).toEqual([...failureNames].sort());
});

/** The contract's table, written out again: names, HTTP status, whether to ask again. */
test.each([
  ['InvalidRequest', 400, false],
  ['ProjectNotFound', 404, false],
  ['LiveMigrationNotFound', 404, false],
  ['AtlasAccessDenied', 502, false],
  ['AtlasCredentialsRejected', 502, false],
  ['AtlasRateLimited', 429, true],
  ['AtlasUnavailable', 503, true],
  ['AtlasTimedOut', 504, true],
  ['AtlasUnexpectedAnswer', 502, false],
  ['SecretUnavailable', 503, true],
  ['SecretInvalid', 500, false],
  ['InternalError', 500, false],
] as const)('%s is a %i', (name, status, retryable) => {
  expect(kindOf(name)).toMatchObject({ status, retryable });
});

test.each(doorNames)('an error before the event was looked at is InternalError, through %s', async (door) => {
  const withoutClock: LambdaHandler = (event, context) =>
    handler(event, { ...context, getRemainingTimeInMillis: undefined } as unknown as Context);
  expect(await ask(withoutClock, door)).toEqual({
    failure: 'InternalError',
    detail: 'An unexpected error happened in this service; see its log.',
  });
});

test.each([
  ['404', { errorCode: 'GROUP_NOT_FOUND' }, 'ProjectNotFound'],
  ['401', { errorCode: 'USER_CANNOT_ACCESS_GROUP' }, 'AtlasAccessDenied'],
  ['999', {}, 'AtlasUnexpectedAnswer'],
])('an envelope whose status is the text %s counts as one', async (status, content, failure) => {
  for (const name of ['content', 'envelope']) {
    atlas.reply = () => ({ status: 200, body: { status, [name]: content } });
    expect(await ask(handler)).toMatchObject({ failure });
  }
});

describe.each(['http-api', 'rest-api'] as const)('a problem document, through %s', (door) => {
  test('has the members of RFC 9457 and ours', async () => {
    atlas.reply = () => atlasError(404, 'GROUP_NOT_FOUND');
    const { http } = await doors[door](handler);
    expect(http.statusCode).toBe(404);
    expect(JSON.parse(http.body)).toEqual({
      type: 'urn:problem-type:atlas-live-migration:ProjectNotFound',
      title: 'Atlas does not know this project',
      status: 404,
      detail: `Atlas does not know project ${groupId} (404 GROUP_NOT_FOUND).`,
      code: 'ProjectNotFound',
      retryable: false,
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      atlas: { status: 404, errorCode: 'GROUP_NOT_FOUND' },
    });
  });

  test('names every field at fault', async () => {
    const { http } = await doors[door](handler, {
      groupId: 'x',
      liveMigrationId: 'y',
      pretty: 'yes',
      envelope: '',
    });
    expect(http.statusCode).toBe(400);
    expect(JSON.parse(http.body)).toMatchObject({
      code: 'InvalidRequest',
      errors: [
        { field: 'groupId', detail: 'must be 24 hexadecimal digits in lower case' },
        { field: 'liveMigrationId', detail: 'must be 24 hexadecimal digits in lower case' },
        { field: 'pretty', detail: 'must be true or false' },
        { field: 'envelope', detail: 'must be true or false' },
      ],
    });
    expect(atlas.counters.requests).toBe(0);
  });

  test('a rate limit tells how long to wait, in the header too', async () => {
    atlas.reply = () => ({ ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '17' } });
    const { http } = await doors[door](handler, {}, 2000);
    expect(http.statusCode).toBe(429);
    expect(http.headers['retry-after']).toBe('17');
    expect(JSON.parse(http.body)).toMatchObject({ retryAfterSeconds: 17, retryable: true });
  });
});

describe('how long to wait after a 429', () => {
  test.each<[string, Record<string, string>, unknown[] | null, number]>([
    ['0 seconds become 1', { 'retry-after': '0' }, null, 1],
    ['nothing said is 1', {}, null, 1],
    ['an empty header is 1', { 'retry-after': '' }, null, 1],
    ['parts of a second are rounded up', { 'retry-after': '1.2' }, null, 2],
    ['the header wins over the body', { 'retry-after': '5' }, ['/path', 9, 9], 5],
    ['minutes are the third parameter', {}, ['/api/oauth/token', 10, 1], 60],
    ['however many requests are allowed', {}, ['/path', 100, 1], 60],
    ['several minutes', {}, ['/path', '1', '5'], 300],
    ['a third parameter that is no number is 1', {}, ['/path', 9, 'x'], 1],
    ['a date in the past is 1', { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, null, 1],
    ['two headers in one', { 'retry-after': '120, 120' }, null, 120],
    ['seconds with a unit', { 'retry-after': '60s' }, null, 60],
    ['more than a day is a day', { 'retry-after': '1e9' }, null, 86_400],
    ['nonsense is 1', { 'retry-after': 'soon' }, ['x', {}], 1],
  ])('%s', async (_, headers, parameters, seconds) => {
    atlas.reply = () => ({ ...atlasError(429, 'RATE_LIMITED', parameters), headers });
    // So little time is left that waiting and asking again is out of the question.
    const { http } = await doors['http-api'](handler, {}, 1000);
    expect(JSON.parse(http.body).retryAfterSeconds).toBe(seconds);
  });

  test.each<[string, unknown[], number]>([
    ['RATE_LIMITED_TOKEN_BUCKET', ['/path', 7, 1200, 500, 60], 7],
    ['RATE_LIMITED_TOKEN_BUCKET', ['/path', '8'], 8],
    ['RATE_LIMITED_TOKEN_BUCKET', ['/path', { toString: 1 }], 1],
    ['TOO_MANY_REQUESTS', ['/path', 9, 9], 1],
    ['UNEXPECTED_ERROR', [9, 9, 9], 1],
  ])('of %s, the parameters %j say %i s', async (code, parameters, seconds) => {
    atlas.reply = () => atlasError(429, code, parameters);
    const { http } = await doors['http-api'](handler, {}, 1000);
    expect(JSON.parse(http.body).retryAfterSeconds).toBe(seconds);
  });

  test.each([503, 500, 504])(
    'a %i with a Retry-After is handed on, and nobody asks before it is over',
    async (status) => {
      atlas.reply = () => ({ status, body: maintenance, headers: { 'retry-after': '120' } });
      const { http } = await doors['http-api'](handler);
      expect(http).toMatchObject({ statusCode: 503, headers: { 'retry-after': '120' } });
      expect(JSON.parse(http.body)).toMatchObject({
        code: 'AtlasUnavailable',
        retryAfterSeconds: 120,
        detail: `Atlas is not available, and asks to wait 120 s (${status}).`,
      });
      expect(atlas.counters.authenticated).toBe(1);
    },
  );

  test('two seconds after a 503 are waited out', async () => {
    const pauses = skipPauses();
    atlas.reply = (_request, count) =>
      count === 1 ? { status: 503, body: maintenance, headers: { 'retry-after': '2' } } : undefined;
    expect(await ask(await coldStart())).toEqual({ document });
    expect(pauses).toEqual([2000]);
  });

  test('a date is turned into seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.UTC(2026, 10, 23, 12, 0, 0) });
    atlas.reply = () => ({
      ...atlasError(429, 'RATE_LIMITED'),
      headers: { 'retry-after': 'Mon, 23 Nov 2026 12:00:30 GMT' },
    });
    const { http } = await doors['http-api'](handler, {}, 1000);
    expect(JSON.parse(http.body).retryAfterSeconds).toBe(30);
  });
});

describe.each(doorNames)('a bad request, through %s', (door) => {
  test.each([
    ['an id too short', { liveMigrationId: 'abc' }],
    ['an id too long', { liveMigrationId: `${liveMigrationId}0` }],
    ['an id with a newline', { groupId: `${groupId}\n` }],
    ['the neighbouring path', { liveMigrationId: 'validate' }],
    ['a path in an id', { groupId: '../../../../../../etc/pa' }],
    ['an id that is a number', { groupId: 1e23 }],
    ['a list', { groupId: [groupId] }],
    ['null', { liveMigrationId: null }],
  ])('%s: refused, and nothing is sent', async (_, asked) => {
    expect(await ask(handler, door, asked)).toMatchObject({ failure: 'InvalidRequest' });
    expect([atlas.counters.requests, secretsManager.counters.reads]).toEqual([0, 0]);
  });
});

test('repeated flags that contradict each other are refused by both API types', async () => {
  const v2 = { ...readEvent('http-api'), queryStringParameters: { pretty: 'true,false' } };
  const v1 = {
    ...readEvent('rest-api'),
    queryStringParameters: { pretty: 'false' },
    multiValueQueryStringParameters: { pretty: ['true', 'false'] },
  };
  expect(await invokeHttp(handler, v2)).toMatchObject({ failure: 'InvalidRequest' });
  expect(await invokeHttp(handler, v1)).toMatchObject({ failure: 'InvalidRequest' });
});

test.each(['true', 'FALSE'])('a flag that is given three times as %s counts once, at both API types', async (value) => {
  const v2 = { ...readEvent('http-api'), queryStringParameters: { pretty: `${value},${value},${value}` } };
  const v1 = {
    ...readEvent('rest-api'),
    queryStringParameters: { pretty: value },
    multiValueQueryStringParameters: { pretty: [value, value, value] },
  };
  const [{ http: one }, { http: other }] = [await invokeHttp(handler, v2), await invokeHttp(handler, v1)];
  expect(one).toMatchObject({ statusCode: 200 });
  expect(other.body).toBe(one.body);
});

test.each(['true,', ',true', 'true,TRUE', ','])('a flag that is given as "%s" is refused', async (pretty) => {
  const event = { ...readEvent('http-api'), queryStringParameters: { pretty } };
  expect(await invokeHttp(handler, event)).toMatchObject({ failure: 'InvalidRequest' });
});

describe('events from elsewhere', () => {
  test.each(['alb', 'sqs', 'empty'])('%s.json is refused, never guessed at', async (name) => {
    expect(await invokeDirectly(handler, readEvent(name))).toEqual({
      failure: 'InvalidRequest',
      detail: 'The request is not valid: groupId is missing, liveMigrationId is missing.',
    });
  });

  test.each([[null], [undefined], ['text'], [42], [[]], [[{ groupId, liveMigrationId }]]])(
    '%j is refused',
    async (event) => {
      expect(await invokeDirectly(handler, event)).toMatchObject({ failure: 'InvalidRequest' });
    },
  );

  test('a function URL, which has the shape of an HTTP API but no path parameters, gets a 400', async () => {
    const { pathParameters: _, ...event } = readEvent('http-api');
    expect((await invokeHttp(handler, event)).http.statusCode).toBe(400);
  });

  test.each(['groupId', 'liveMigrationId'])(
    'an event with %s at its top is a direct invocation, whatever else it holds',
    async (id) => {
      const event = { ...readEvent('http-api'), [id]: { groupId, liveMigrationId }[id] };
      const other = id === 'groupId' ? 'liveMigrationId' : 'groupId';
      expect(await invokeDirectly(handler, event)).toEqual({
        failure: 'InvalidRequest',
        detail: `The request is not valid: ${other} is missing.`,
      });
    },
  );

  test('a direct invocation that names one id learns about the other', async () => {
    expect(await invokeDirectly(handler, { groupId })).toMatchObject({
      detail: 'The request is not valid: liveMigrationId is missing.',
    });
  });
});

describe.each(doorNames)('the key, through %s', (door) => {
  test('a key that Atlas refuses is AtlasCredentialsRejected', async () => {
    atlas.keys = {};
    expect(await ask(await coldStart(), door)).toEqual({
      failure: 'AtlasCredentialsRejected',
      detail: 'Atlas refuses the key that is in the secret (401 UNEXPECTED_ERROR).',
    });
  });

  test('no secret of that name is SecretInvalid, with the name', async () => {
    secretsManager.secrets = {};
    expect(await ask(await coldStart(), door)).toMatchObject({
      failure: 'SecretInvalid',
      detail: expect.stringContaining(secretId),
    });
  });

  test.each<[string, string | Buffer, string]>([
    ['not JSON', `${publicKey}:${privateKey}`, 'is not JSON'],
    ['a JSON string', JSON.stringify(privateKey), 'is not a JSON object'],
    ['binary', Buffer.from('{}'), 'is binary: it must be text, JSON'],
    ['empty', '{}', 'has neither publicKey and privateKey nor clientId and clientSecret'],
    ['half a key', JSON.stringify({ publicKey }), 'lacks privateKey'],
    ['half a service account', JSON.stringify({ clientSecret: privateKey }), 'lacks clientId'],
    [
      'halves of different keys',
      JSON.stringify({ public_key: publicKey, ApiKey: privateKey }),
      'lacks privateKey and username',
    ],
    ['an empty private key', JSON.stringify({ publicKey, privateKey: ' ' }), 'lacks privateKey'],
    ['a key that is no text', JSON.stringify({ publicKey, privateKey: 12345 }), 'lacks privateKey'],
    [
      'a line break in a key',
      JSON.stringify({ publicKey: 'a\r\nx: y', privateKey }),
      'has a key with characters that no Atlas key has',
    ],
  ])('a secret that is %s is SecretInvalid, and not shown', async (_, secret, what) => {
    secretsManager.secrets[secretId] = secret;
    const { failure, detail } = (await ask(await coldStart(), door)) as { failure: string; detail: string };
    expect({ failure, detail }).toEqual({ failure: 'SecretInvalid', detail: `The secret ${secretId} ${what}.` });
    expect(detail).not.toContain(privateKey);
  });

  test('Secrets Manager that cannot be reached is SecretUnavailable', async () => {
    const unreachable = await coldStart({ AWS_ENDPOINT_URL_SECRETS_MANAGER: 'http://127.0.0.1:1' });
    expect(await ask(unreachable, door)).toMatchObject({ failure: 'SecretUnavailable' });
  });

  test('Atlas that cannot be reached is AtlasUnavailable', async () => {
    const unreachable = await coldStart({ ATLAS_BASE_URL: 'http://127.0.0.1:1/api/atlas/v1.0' });
    expect(await ask(unreachable, door)).toEqual({
      failure: 'AtlasUnavailable',
      detail: 'The connection to 127.0.0.1:1 failed or broke (ECONNREFUSED).',
    });
  });

  test('Atlas that does not answer in time is AtlasTimedOut', async () => {
    atlas.intercept = () => true;
    expect(await ask(await coldStart({ ATLAS_TIMEOUT_MS: '100' }), door)).toEqual({
      failure: 'AtlasTimedOut',
      detail: 'Atlas did not answer within 100 ms.',
    });
  });
});

test.each([
  ['ResourceNotFoundException', 400, 'SecretInvalid'],
  ['AccessDeniedException', 400, 'SecretInvalid'],
  ['InvalidRequestException', 400, 'SecretInvalid'],
  ['DecryptionFailure', 400, 'SecretInvalid'],
  ['ThrottlingException', 400, 'SecretUnavailable'],
  ['ExpiredTokenException', 400, 'SecretUnavailable'],
  ['UnrecognizedClientException', 400, 'SecretUnavailable'],
  ['RequestTimeTooSkewed', 400, 'SecretUnavailable'],
  ['InternalServiceError', 500, 'SecretUnavailable'],
])('Secrets Manager says %s (%i), which is %s', async (name, status, failure) => {
  secretsManager.error = { status, name };
  expect(await ask(await coldStart())).toMatchObject({ failure, detail: expect.stringContaining(name) });
});
