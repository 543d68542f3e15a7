/** Service accounts: one access token, kept and shared, replaced when it has to be. */

import { beforeEach, describe, expect, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  doors,
  entity,
  secretId,
  secretsManager,
} from './support/harness.ts';

beforeEach(allIsWell);

const clientId = 'mdb_sa_id_66f0c0ffee';
const clientSecret = 'mdb_sa_sk_CLIENT-SECRET';

describe('a service account', () => {
  beforeEach(() => {
    atlas.serviceAccounts[clientId] = clientSecret;
    secretsManager.secrets[secretId] = JSON.stringify({ clientId, clientSecret });
  });

  test.each([
    ['clientId and clientSecret', { clientId, clientSecret }],
    ['as Terraform writes it', { client_id: clientId, client_secret: clientSecret }],
    ['wins over a whole API key', { publicKey: 'wrong', privateKey: 'wrong', clientId, clientSecret }],
  ])('%s: one request for a token and one question', async (_, secret) => {
    secretsManager.secrets[secretId] = JSON.stringify(secret);
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.counters).toMatchObject({ requests: 2, tokens: 1, challenges: 0, connections: 1 });
  });

  test('one token serves a cold burst and every call after it', async () => {
    const handler = await coldStart();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(20).fill({ document }));
    await ask(handler);
    expect(atlas.counters).toMatchObject({ requests: 22, tokens: 1 });
  });

  test('a token is replaced a minute before it expires', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const handler = await coldStart();
    await ask(handler);
    vi.setSystemTime(Date.now() + 3_539_000);
    await ask(handler);
    expect(atlas.counters.tokens).toBe(1);
    vi.setSystemTime(Date.now() + 2000);
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters).toMatchObject({ tokens: 2, requests: 5 });
  });

  test('a revoked token is replaced within the call, once for all who are under way', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.revokeTokens();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    expect(outcomes).toEqual(Array(20).fill({ document }));
    expect(atlas.counters.tokens).toBe(2);
  });

  test('a token that is refused as soon as it is new is not fetched over and over', async () => {
    atlas.tokenLifeSeconds = 0;
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    expect(atlas.counters.tokens).toBe(1);
  });

  test.each([
    ['no life', {}, 2],
    ['null as its life', { expires_in: null }, 2],
    ['a life in digits as text', { expires_in: '3600' }, 1],
    ['a life that is no number', { expires_in: 'soon' }, 2],
  ])('a token with %s serves the question, and two questions take so many tokens', async (_, life, tokens) => {
    let requests = 0;
    atlas.intercept = (request, response) => {
      const isToken = request.url === '/api/oauth/token';
      requests += Number(isToken);
      const token = { access_token: `made-up-${requests}`, token_type: 'Bearer', ...life };
      response.end(JSON.stringify(isToken ? token : entity));
      return true;
    };
    const handler = await coldStart();
    for (let call = 0; call < 2; call += 1) expect(await ask(handler)).toEqual({ document });
    expect(requests).toBe(tokens);
  });

  test('a good token is kept when Atlas says that it may not see this project', async () => {
    const handler = await coldStart();
    atlas.reply = () => atlasError(401, 'USER_CANNOT_ACCESS_GROUP');
    for (let call = 0; call < 3; call += 1) expect(await ask(handler)).toMatchObject({ failure: 'AtlasAccessDenied' });
    expect(atlas.counters).toMatchObject({ tokens: 1, requests: 4 });
  });

  test('a limit of live tokens says to wait a minute', async () => {
    atlas.intercept = (request, response) => {
      if (request.url !== '/api/oauth/token') return false;
      response.writeHead(403).end(JSON.stringify({ error: 'access_denied' }));
      return true;
    };
    const { http } = await doors['http-api'](await coldStart());
    expect(http.statusCode).toBe(429);
    expect(http.headers['retry-after']).toBe('60');
  });

  test('the request for a token says where it comes from, and counts', async () => {
    const output = captureOutput();
    const agents: unknown[] = [];
    atlas.intercept = ({ headers }) => {
      agents.push(headers['user-agent']);
      return false;
    };
    const handler = await coldStart();
    await ask(handler);
    await ask(handler);
    expect(agents).toEqual(Array(3).fill('atlas-live-migration'));
    expect(output.lines()).toMatchObject([
      { AtlasRequests: 2, TokenRequests: 1, challengeRequests: 0 },
      { AtlasRequests: 1, challengeRequests: 0 },
    ]);
  });

  test('a wrong secret is refused after one fresh reading', async () => {
    atlas.serviceAccounts = {};
    expect(await ask(await coldStart())).toMatchObject({
      failure: 'AtlasCredentialsRejected',
      detail: expect.stringContaining('401'),
    });
    expect(secretsManager.counters.reads).toBe(2);
    expect(atlas.counters.requests).toBe(1);
  });

  test.each<[string, { status: number; body: unknown }, string]>([
    ['400', { status: 400, body: { error: 'invalid_client' } }, 'AtlasCredentialsRejected'],
    ['403', { status: 403, body: { error: 403, errorCode: 'ACCESS_FORBIDDEN' } }, 'AtlasAccessDenied'],
    ['too many live tokens', { status: 403, body: { error: 'access_denied' } }, 'AtlasRateLimited'],
    [
      'denied for another reason',
      { status: 403, body: { error: 'access_denied', error_description: 'This account is suspended.' } },
      'AtlasAccessDenied',
    ],
    ['402', { status: 402, body: { error: 402, errorCode: 'ACCOUNT_SUSPENDED' } }, 'AtlasAccessDenied'],
    ...[400, 401, 402, 403].map((status): [string, { status: number; body: unknown }, string] => [
      `a page with ${status}`,
      { status, body: '<html>Blocked</html>' },
      'AtlasUnexpectedAnswer',
    ]),
    ["somebody else's 401", { status: 401, body: { message: 'Unauthorized' } }, 'AtlasUnexpectedAnswer'],
    [
      'too many live tokens, in words',
      { status: 403, body: { error: 403, detail: 'Access Token limit reached for this service account.' } },
      'AtlasRateLimited',
    ],
    ['429', { status: 429, body: {} }, 'AtlasRateLimited'],
    ['500', { status: 500, body: 'Server Error' }, 'AtlasUnavailable'],
    ['a maintenance page', { status: 503, body: '<html>' }, 'AtlasUnavailable'],
    ['404', { status: 404, body: '' }, 'AtlasUnexpectedAnswer'],
    ['no token', { status: 200, body: { token_type: 'Bearer', expires_in: 3600 } }, 'AtlasUnexpectedAnswer'],
    ['no JSON', { status: 200, body: '<html>' }, 'AtlasUnexpectedAnswer'],
    [
      'a token that no header can hold',
      { status: 200, body: { access_token: 'a\r\nb', expires_in: 3600 } },
      'AtlasUnexpectedAnswer',
    ],
  ])('a failure of the token request has its own name: %s', async (_, { status, body }, failure) => {
    atlas.intercept = (request, response) => {
      if (request.url !== '/api/oauth/token') return false;
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
      return true;
    };
    expect(await ask(await coldStart(), 'direct', {}, 1500)).toMatchObject({ failure });
  });
});
