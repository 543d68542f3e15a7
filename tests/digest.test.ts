/** Digest authentication: right for every challenge, and for as long as an execution environment lives. */

import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { type ChallengeForm, challengeForms, expectedResponse } from '../embedded/digest-verifier.ts';
import { readDigestChallenge } from '../lib/atlas/digest-challenge.ts';
import { authorization } from '../lib/atlas/digest-header.ts';
import { allIsWell, ask, atlas, coldStart, document, secretsManager } from './support/harness.ts';

beforeEach(allIsWell);

/** RFC 7616, section 3.9.1: the server offers both algorithms. */
describe('the examples of RFC 7616, section 3.9.1', () => {
  const nonce = '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v';
  const opaque = 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS';
  const cnonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ';
  const key = { publicKey: 'Mufasa', privateKey: 'Circle of Life' };
  const challengeWith = (algorithm: string) =>
    `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, nonce="${nonce}", opaque="${opaque}"`;
  const examples = [
    ['MD5', '8ca523f5e9506fed4657c9700eebdbec'],
    ['SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'],
  ] as const;

  test.each(examples)('%s: the answer is the one of the RFC', (algorithm, response) => {
    const challenge = readDigestChallenge(challengeWith(algorithm));
    if (!challenge) throw new Error('no challenge was read');
    const header = authorization(challenge, key, { cnonce, nonceCount: 1 }, { method: 'GET', path: '/dir/index.html' });
    const directives = Object.fromEntries(
      header
        .replace('Digest ', '')
        .split(',')
        .map((directive) => directive.split(/=(.*)/s).slice(0, 2)),
    );
    expect(directives).toEqual({
      username: '"Mufasa"',
      realm: '"http-auth@example.org"',
      uri: '"/dir/index.html"',
      algorithm,
      nonce: `"${nonce}"`,
      nc: '00000001',
      cnonce: `"${cnonce}"`,
      qop: 'auth',
      response: `"${response}"`,
      opaque: `"${opaque}"`,
    });
  });

  test('of both challenges, the stronger one is answered', () => {
    const both = `${challengeWith('MD5')}, ${challengeWith('SHA-256')}`;
    expect(readDigestChallenge(both)?.algorithm).toBe('SHA-256');
  });

  test.each(examples)('%s: the embedded Atlas expects the one of the RFC', (algorithm, response) => {
    const a1 = { user: 'Mufasa', realm: 'http-auth@example.org', password: 'Circle of Life' };
    const a2 = { method: 'GET', uri: '/dir/index.html' };
    expect(expectedResponse(algorithm, a1, a2, { nonce, nc: '00000001', cnonce, qop: 'auth' })).toBe(response);
  });
});

describe('challenges', () => {
  test.each(Object.keys(challengeForms) as (keyof typeof challengeForms)[])(
    '%s: one challenge for three calls',
    async (form) => {
      atlas.challenge = form;
      const handler = await coldStart();
      for (let call = 1; call <= 3; call += 1) expect(await ask(handler)).toEqual({ document });
      expect(atlas.refusals).toEqual([]);
      expect(atlas.counters).toMatchObject({ requests: 4, challenges: 1, authenticated: 3, connections: 1 });
    },
  );

  test.each([
    ['Basic only', 'Basic realm="MMS Public API"'],
    ['an algorithm that nobody knows', 'Digest realm="r", nonce="n", algorithm=SHA-1024, qop="auth"'],
    ['auth-int only', 'Digest realm="r", nonce="n", qop="auth-int"'],
    ['another scheme with a nonce', 'DPoP realm="r", nonce="n", algorithm=MD5, qop="auth"'],
    ['a Digest without a nonce', 'Digest realm="r", qop="auth"'],
    ['nonsense', '=,"='],
    ['nothing', ''],
  ])('%s is not understood, and the key is not shown', async (_, header) => {
    const sent: (string | undefined)[] = [];
    atlas.intercept = (request, response) => {
      sent.push(request.headers.authorization);
      response.writeHead(401, header ? { 'www-authenticate': header } : {}).end('{}');
      return true;
    };
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasUnexpectedAnswer' });
    expect(sent).toEqual([undefined]);
  });

  test('two headers are read as one list', async () => {
    atlas.intercept = (request, response) => {
      if (request.headers.authorization) return false;
      response
        .writeHead(401, [
          ['WWW-Authenticate', 'Basic realm="x"'],
          ['WWW-Authenticate', 'Digest realm="MMS Public API", nonce="unknown", qop="auth", algorithm=MD5'],
        ] as unknown as string[])
        .end();
      return true;
    };
    expect(await ask(await coldStart())).toEqual({ document });
  });
});

describe('round trips, counted by the server', () => {
  test('a cold call is 2 requests on 1 connection, a warm one 1 more', async () => {
    const handler = await coldStart();
    await ask(handler);
    expect(atlas.counters).toMatchObject({ requests: 2, connections: 1 });
    await ask(handler);
    expect(atlas.counters).toMatchObject({ requests: 3, connections: 1 });
  });

  test('a cold burst of 20 is 21 requests and 1 read of the secret', async () => {
    const handler = await coldStart();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(20).fill({ document }));
    expect(atlas.counters).toMatchObject({ requests: 21, challenges: 1 });
    expect(secretsManager.counters.reads).toBe(1);
  });

  test('20 warm concurrent calls are 20 requests, and no nonce count comes twice', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.counters.requests = 0;
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(20).fill({ document }));
    expect(atlas.counters.requests).toBe(20);
    expect(atlas.refusals).toEqual([]);
  });

  // Thousands of calls: tests/long/digest.test.ts.
  test('300 calls against a server that counts strictly and forgets quickly: none fails', async () => {
    atlas.nonceRules = { lifeMs: 60_000, maxUses: 64, inOrder: true };
    const handler = await coldStart();
    for (let call = 0; call < 300; call += 1) expect(await ask(handler)).toEqual({ document });
    // Only nonces were refused, never an answer to one.
    expect(new Set(atlas.refusals)).toEqual(new Set(['the nonce is used up']));
    expect(atlas.counters).toMatchObject({ authenticated: 300, challenges: 5, requests: 305 });
  });
});

describe('a nonce', () => {
  test('that the server forgot is replaced within the call, and the new one is kept', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.forgetNonces();
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.requests).toBe(4);
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.requests).toBe(5);
  });

  test('that the server forgot costs each of 20 concurrent calls 2 requests at most', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.forgetNonces();
    atlas.counters.requests = 0;
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(20).fill({ document }));
    expect(atlas.counters.requests).toBe(40);
  });

  test('is not sent any more after 50 seconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const handler = await coldStart();
    await ask(handler);
    vi.setSystemTime(Date.now() + 49_000);
    await ask(handler);
    expect(atlas.counters).toMatchObject({ challenges: 1 });
    vi.setSystemTime(Date.now() + 2000);
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters).toMatchObject({ challenges: 2 });
    expect(atlas.refusals).toEqual([]);
  });

  test('is not sent any more where the clock was set back: its age is not known', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const handler = await coldStart();
    await ask(handler);
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters).toMatchObject({ challenges: 2 });
  });

  test('has a client nonce of its own', async () => {
    const handlers = [await coldStart(), await coldStart()];
    for (const handler of handlers) await ask(handler);
    const clientNonces = atlas.seen.map(({ headers }) => /cnonce="([^"]+)"/.exec(headers.authorization ?? '')?.[1]);
    expect(clientNonces).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{32}$/)]);
    expect(new Set(clientNonces).size).toBe(2);
  });

  test('that is new but already stale is replaced once more', async () => {
    let first = true;
    atlas.intercept = (request) => {
      if (request.headers.authorization && first) {
        first = false;
        atlas.forgetNonces();
      }
      return false;
    };
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.refusals).toHaveLength(1);
  });

  test('that other calls use as well costs the call that they overtake one request more, and no key is refused', async () => {
    atlas.nonceRules = { lifeMs: 60_000, maxUses: Number.POSITIVE_INFINITY, inOrder: true };
    const overtaken: (() => void)[] = [];
    let authenticated = 0;
    atlas.intercept = (request, response) => {
      if (request.headers.authorization === undefined) return false;
      authenticated += 1;
      // All answers to the first challenge are judged in the opposite order of their nonce counts.
      if (authenticated > 4) return false;
      overtaken.unshift(() => atlas.answer(request, response));
      if (authenticated === 4) for (const judge of overtaken) judge();
      return true;
    };
    const handler = await coldStart();
    const outcomes = await Promise.all(Array.from({ length: 4 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(4).fill({ document }));
    expect(secretsManager.counters.reads).toBe(1);
    expect(atlas.refusals).toEqual([2, 3, 4].toReversed().map((count) => `nonce count ${count} after 0`));
    expect(atlas.counters.requests).toBe(1 + 4 + 3);
  });

  test('that is stale for ever ends as a refused key, not in a loop', async () => {
    atlas.nonceRules = { lifeMs: 0, maxUses: 1, inOrder: false };
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    expect(atlas.counters.requests).toBe(4);
  });
});

describe('a challenge with unusual syntax', () => {
  test.each([
    ['an unquoted path in Digest', 'Digest realm="r", domain=/api, nonce="n", qop="auth", algorithm=SHA-256'],
    [
      'an unquoted URL in another scheme',
      'Bearer authorization_uri=https://x/y, Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256',
    ],
    ['two words for one value', 'X a=b c, Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'],
    [
      'tokens of other schemes',
      'Negotiate a/b+c==, NTLM TlRM, Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256',
    ],
    ['a scheme alone', 'Negotiate, Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'],
    ['a parameter before any scheme', 'nonce="x", Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'],
    ['blanks at an equals sign', 'Digest realm = "r", nonce= "n", qop ="auth", algorithm  =  SHA-256'],
    ['a slash in a word', 'Digest realm="r", domain/api, nonce="n", qop="auth", algorithm=SHA-256'],
    ['a blank before a malformed value', 'Digest realm="r", domain =/api, nonce="n", qop="auth", algorithm=SHA-256'],
    ['a value without a name', 'Digest realm="r", ="x", nonce="n", qop="auth", algorithm=SHA-256'],
    ['a list without quotes', 'Digest realm="r", qop=auth,auth-int, algorithm=SHA-256, nonce="n"'],
    ['a list without quotes, the other way round', 'Digest realm="r", qop=auth-int,auth, algorithm=SHA-256, nonce="n"'],
    ['blanks in a list', 'Digest realm="r", nonce="n", qop="auth-int, auth", algorithm=SHA-256'],
    ['a malformed stale', 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256, stale=/true'],
    [
      'commas in the quotes of a malformed parameter',
      'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256, domain=/api"x, nonce=bad, \\", nonce=bad, y"',
    ],
  ])('with %s is read', (_, header) => {
    expect(readDigestChallenge(header)).toEqual({
      realm: 'r',
      nonce: 'n',
      opaque: undefined,
      qop: true,
      algorithm: 'SHA-256',
      stale: false,
    });
  });

  test('a challenge without a realm is one with an empty realm', () => {
    expect(readDigestChallenge('Digest nonce="n"')).toMatchObject({ realm: '', nonce: 'n' });
  });

  test.each([
    ['an empty opaque', 'Digest realm="r", nonce="n", opaque=, qop="auth"'],
    ['a qop that goes on', 'Digest realm="r", nonce="n", qop="auth";'],
    ['a session without qop', 'Digest realm="r", nonce="n", algorithm=MD5-sess'],
    ['a nonce of other characters', 'Digest realm="r", nonce="\u00fc"'],
    ['a nonce that begins with another character', 'Digest realm="r", nonce="\u00fcn"'],
    ['a nonce that ends with another character', 'Digest realm="r", nonce="n\u00fc"'],
    ['a nonce without an equals sign', 'Digest realm="r", nonce xn'],
    ['a malformed nonce before a good one', 'Digest realm="r", nonce=/n, nonce="n"'],
    ['a malformed realm', 'Digest realm=/r, nonce="n"'],
    ['a malformed algorithm', 'Digest realm="r", nonce="n", algorithm=/SHA-256'],
  ])('with %s is not answered', (_, header) => {
    expect(readDigestChallenge(header)).toBeUndefined();
  });
});

test('a realm of other characters is hashed in the bytes that came', () => {
  const challenge = readDigestChallenge(`Digest realm="${Buffer.from('Zugang über').toString('latin1')}", nonce="n"`);
  if (!challenge) throw new Error('no challenge was read');
  const key = { publicKey: 'user', privateKey: 'key' };
  const header = authorization(challenge, key, { cnonce: 'c', nonceCount: 1 }, { method: 'GET', path: '/' });
  const [a1, a2] = [
    { user: 'user', realm: 'Zugang über', password: 'key' },
    { method: 'GET', uri: '/' },
  ];
  expect(/response="(\w+)"/.exec(header)?.[1]).toBe(expectedResponse('MD5', a1, a2, { nonce: 'n' }));
});

describe('a refusal on a kept nonce', () => {
  test('that is not about the key keeps the nonce', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.counters.requests = 0;
    atlas.reply = () => atlasError(401, 'USER_CANNOT_ACCESS_GROUP');
    for (let call = 0; call < 5; call += 1) expect(await ask(handler)).toMatchObject({ failure: 'AtlasAccessDenied' });
    expect(atlas.counters.requests).toBe(5);
  });

  test('with a challenge that cannot be answered is an unexpected answer, as it is when cold', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.intercept = (_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="MMS Public API"' }).end('{}');
      return true;
    };
    expect(await ask(handler)).toMatchObject({ failure: 'AtlasUnexpectedAnswer' });
    expect(secretsManager.counters.reads).toBe(1);
  });
});

test('a 403 before any authentication says nothing of the key', async () => {
  atlas.intercept = (_request, response) => {
    response.writeHead(403).end(JSON.stringify(atlasError(403, 'IP_ADDRESS_NOT_ON_ACCESS_LIST', ['192.0.2.1']).body));
    return true;
  };
  const unproven = (await ask(await coldStart())) as { detail: string };
  expect(unproven).toMatchObject({ failure: 'AtlasAccessDenied', detail: expect.stringContaining('192.0.2.1') });
  expect(unproven.detail).toContain(': Atlas denies access to project');
  atlas.intercept = undefined;
  atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN');
  expect(await ask(await coldStart())).toMatchObject({ detail: expect.stringContaining('Atlas accepts the key') });
});

describe('what digest-fetch would misread', () => {
  const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
  let made = 0;
  const form = (realm: string, nonce: string, opaque: string | undefined, qop: boolean): ChallengeForm => ({
    realm,
    algorithm: 'MD5',
    qop,
    ...(opaque === undefined ? {} : { opaque }),
    nonce: () => {
      made += 1;
      return `${made}${nonce}`;
    },
    header: (value) =>
      [
        `Digest realm=${quote(realm)}, nonce=${quote(value)}, algorithm=MD5`,
        ...(qop ? ['qop="auth"'] : []),
        ...(opaque === undefined ? [] : [`opaque=${quote(opaque)}`]),
      ].join(', '),
  });

  test.each([
    ['with qop', true],
    ['without qop', false],
  ])('a nonce that holds qop= is answered right, %s', async (_, qop) => {
    atlas.challenge = form('MMS Public API', 'k3Zr9aBBqop=', undefined, qop);
    expect(await ask(await coldStart())).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(1);
  });

  test('realms, nonces and opaques of any printable characters are answered right', async () => {
    const printable = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    });
    const directive = fc.constantFrom(
      'qop="auth-int"',
      'nonce="x"',
      'opaque=y',
      'realm=',
      'algorithm=SHA-256',
      '$&',
      ',',
    );
    const text = fc.oneof(
      printable,
      fc.tuple(printable, directive, printable).map((parts) => parts.join('')),
    );
    const handler = await coldStart();
    await ask(handler);
    await fc.assert(
      fc.asyncProperty(text, text, fc.option(text, { nil: undefined }), fc.boolean(), async (...parts) => {
        atlas.challenge = form(...parts);
        // The nonce of the run before is refused, with this challenge.
        atlas.forgetNonces();
        atlas.counters.requests = 0;
        expect(await ask(handler)).toEqual({ document });
        expect(atlas.counters.requests).toBe(2);
      }),
      { numRuns: 150 },
    );
  });

  test.each([
    ['spaces', `Digest${' '.repeat(500_000)}`],
    ['spaces before a letter', `Digest${' '.repeat(500_000)}x`],
    ['spaces before a comma', `Digest${' '.repeat(500_000)},`],
    ['commas', ','.repeat(500_000)],
    ['words', 'a '.repeat(250_000)],
    ['open quotes', 'a="'.repeat(150_000)],
    ['parameters', 'Digest a=b, '.repeat(40_000)],
  ])('a header of half a megabyte of %s is read in linear time', (_, header) => {
    // Quadratic time would be minutes: the test would time out.
    expect(readDigestChallenge(header)).toBeUndefined();
  });
});

test('a call that waited for a challenge that did not come asks for its own', async () => {
  let requests = 0;
  atlas.intercept = (_request, response) => {
    requests += 1;
    if (requests > 1) return false;
    response.writeHead(410).end('{}');
    return true;
  };
  const handler = await coldStart();
  const outcomes = await Promise.all([ask(handler), ask(handler), ask(handler)]);
  expect(outcomes.filter((outcome) => 'document' in outcome)).toHaveLength(2);
  expect(outcomes.filter((outcome) => 'failure' in outcome)).toMatchObject([{ failure: 'AtlasUnexpectedAnswer' }]);
});
