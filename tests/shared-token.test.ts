/** Service accounts where answers are shared: one access token for all execution environments, encrypted in the table. */

import type { IncomingMessage } from 'node:http';
import { GetItemCommand, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import { createSeal } from '../lib/sharing/sealing.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  entity,
  groupId,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { dynamoDB, environments, hold, reads, shareThroughNewTable } from './support/sharing.ts';

afterAll(() => dynamoDB.close());

const clientId = 'mdb_sa_id_66f0c0ffee';
const clientSecret = 'mdb_sa_sk_CLIENT-SECRET';
let table: string;
beforeEach(async () => {
  allIsWell();
  ({ table } = await shareThroughNewTable());
  atlas.serviceAccounts[clientId] = clientSecret;
  secretsManager.secrets[secretId] = JSON.stringify({ clientId, clientSecret });
  atlas.projects = { [groupId]: (id) => () => ({ ...entity, _id: id }) };
});

let ids = 0;
/** Asks about a live migration that is not in the table yet, so that only the token is shared. */
const askAnew = (handler: LambdaHandler, timeoutMs?: number) => {
  ids += 1;
  const liveMigrationId = ids.toString(16).padStart(24, '0');
  return ask(handler, 'direct', { liveMigrationId }, timeoutMs);
};
const answered = { document: expect.objectContaining({ status: 'WORKING' }) };
const all = async (handlers: LambdaHandler[]) => {
  const outcomes = await Promise.all(handlers.map((handler) => askAnew(handler)));
  expect(outcomes).toEqual(handlers.map(() => answered));
};
const isTokenRequest = ({ url }: IncomingMessage) => url === '/api/oauth/token';
/** The item that the token is in: the others hold documents in clear. */
const tokenItem = async () => {
  const items = await dynamoDB.items(table);
  const item = items.find(({ entry }) => entry?.S && !entry.S.startsWith('{'));
  if (!item?.['key']) throw new Error('There is no token in the table.');
  return item as typeof item & { key: { S: string } };
};

test('cold environments ask for one token', async () => {
  const output = captureOutput();
  await all(await environments(4));
  expect(atlas.counters.tokens).toBe(1);
  await all(await environments(1));
  expect(atlas.counters.tokens).toBe(1);
  const asked = output.lines().map((line) => Number(line['TokenRequests'] ?? 0));
  expect(asked.reduce((sum, count) => sum + count)).toBe(1);
});

test('without a table, each has its own', async () => {
  await all(await environments(3, { ANSWER_FRESHNESS_SECONDS: '0' }));
  expect(atlas.counters.tokens).toBe(3);
});

const now = Date.now.bind(Date);
/** The clock of all environments goes on by so much. */
const passes = (ms: number) => vi.spyOn(Date, 'now').mockImplementation(() => now() + ms);

// tests/sharing.test.ts has how long it may take.
describe('a token that takes long', () => {
  test('is asked for once by six cold environments', async () => {
    const held = hold(atlas, isTokenRequest);
    const answers = all(await environments(6));
    await held.arrived(1);
    // Each looks for an answer and for the token, and the five that wait look for the token again.
    await reads(12 + 5);
    held.release();
    await answers;
    expect(atlas.counters.tokens).toBe(1);
  });

  test('is asked for once, and so is the question, where six environments ask about one live migration', async () => {
    const held = hold(atlas, isTokenRequest);
    const handlers = await environments(6);
    const answers = Promise.all(handlers.map((handler) => ask(handler)));
    await held.arrived(1);
    // No lease on the answer begins before the token is there.
    expect((await dynamoDB.items(table)).filter(({ leaseUntil }) => leaseUntil)).toHaveLength(1);
    held.release();
    expect(await answers).toEqual(Array(6).fill(answered));
    expect(atlas.counters).toMatchObject({ tokens: 1, authenticated: 1 });
  });

  test.each([false, true])(
    'is asked for once by forty callers in one environment (a broken table: %s)',
    async (broken) => {
      if (broken) dynamoDB.intercept = (_request, response) => Boolean(response.writeHead(400).end('{}'));
      const [handler] = await environments(1);
      const held = hold(atlas, isTokenRequest);
      const answers = Promise.all(Array.from({ length: 40 }, () => askAnew(handler)));
      await held.arrived(1);
      held.release();
      expect(await answers).toEqual(Array(40).fill(answered));
      expect(atlas.counters.tokens).toBe(1);
    },
  );

  test.each([true, false])('is stored after its lease has ended, where nothing newer is there: %s', async (isAlone) => {
    const [one, other, third] = await environments(3);
    const held = hold(atlas, isTokenRequest);
    const first = askAnew(one);
    await held.arrived(1);
    const [late] = held.held.splice(0);
    passes(5001);
    atlas.intercept = undefined;
    // Another one gets a newer token meanwhile.
    if (!isAlone) expect(await askAnew(other)).toEqual(answered);
    const before = isAlone ? undefined : (await tokenItem())['entryId'];
    if (late) atlas.answer(...late);
    expect(await first).toEqual(answered);
    if (isAlone) expect(await askAnew(other)).toEqual(answered);
    else expect((await tokenItem())['entryId']).toEqual(before);
    expect(await askAnew(third)).toEqual(answered);
    expect(atlas.counters.tokens).toBe(isAlone ? 1 : 2);
  });

  test.each(['5', '0'])(
    'has its own time, beside that of the question (answers shared for %s s)',
    async (freshness) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
      const [handler] = await environments(1, { ANSWER_FRESHNESS_SECONDS: freshness });
      const held = hold(atlas, ({ headers }) => headers.authorization !== undefined);
      const answer = askAnew(handler);
      await held.arrived(1);
      vi.advanceTimersByTime(3900);
      const [[request, response] = []] = held.held.splice(0);
      if (request && response) atlas.answer(request, response);
      await held.arrived(1);
      vi.advanceTimersByTime(3900);
      held.release();
      expect(await answer).toEqual(answered);
      expect(atlas.counters).toMatchObject({ tokens: 1, requests: 2 });
    },
  );
});

test('who would have no time for a token and an answer after a wait asks for a token at once', async () => {
  const [one, hurried] = await environments(2);
  const held = hold(atlas, isTokenRequest);
  const answers = [askAnew(one)];
  await held.arrived(1);
  answers.push(askAnew(hurried, 8400));
  await held.arrived(2);
  held.release();
  expect(await Promise.all(answers)).toEqual([answered, answered]);
});

test('an environment that dies while it asks for the token delays the others by its lease', async () => {
  const held = hold(atlas, isTokenRequest);
  const [dead, ...others] = await environments(4);
  const gone = askAnew(dead);
  await held.arrived(1);
  // Each of the three looks for an answer and for the token, and then for the token again.
  const isAwaited = reads(3 * 3);
  const answers = all(others);
  await isAwaited;
  expect(held.held).toHaveLength(1);
  atlas.intercept = undefined;
  const [lease] = (await dynamoDB.items(table)).filter(({ leaseUntil }) => leaseUntil);
  expect(Number(lease?.['leaseUntil']?.N) - now()).toBeGreaterThan(4000);
  await dynamoDB.client.send(
    new UpdateItemCommand({
      TableName: table,
      Key: { key: lease?.['key'] ?? { S: '' } },
      UpdateExpression: 'SET leaseUntil = :over',
      ExpressionAttributeValues: { ':over': { N: String(now() - 1) } },
    }),
  );
  await answers;
  expect(atlas.counters.tokens).toBe(1);
  held.release();
  await gone;
});

test('a revoked token that six use at once is replaced once', async () => {
  const handlers = await environments(6);
  await all(handlers);
  atlas.revokeTokens();
  await all(handlers);
  expect(atlas.counters.tokens).toBe(2);
});

test('a token that is refused as soon as it is new is the end of it', async () => {
  atlas.tokenLifeSeconds = 0;
  const [handler] = await environments(1);
  expect(await askAnew(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
  expect(atlas.counters.tokens).toBe(1);
});

test('a client secret that is rotated under load loses no call', async () => {
  const handlers = await environments(4);
  await all(handlers);
  atlas.serviceAccounts[clientId] = 'mdb_sa_sk_ROTATED';
  atlas.revokeTokens();
  secretsManager.secrets[secretId] = JSON.stringify({ clientId, clientSecret: 'mdb_sa_sk_ROTATED' });
  await all([...handlers, ...handlers, ...handlers, ...(await environments(2))]);
  expect(atlas.counters.tokens).toBe(2);
});

test('a token is given up a minute before it expires', async () => {
  await all(await environments(1));
  const now = Date.now.bind(Date);
  vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_530_000);
  await all(await environments(1));
  expect(atlas.counters.tokens).toBe(1);
  vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_541_000);
  await all(await environments(2));
  expect(atlas.counters.tokens).toBe(2);
});

describe('a rate limit of the token endpoint', () => {
  const limits = (seconds: number, status = 429) => {
    let requests = 0;
    atlas.intercept = (request, response) => {
      if (!isTokenRequest(request)) return false;
      requests += 1;
      const { body } = status === 429 ? atlasError(429, 'RATE_LIMITED') : { body: { error: 'access_denied' } };
      response.writeHead(status, { 'retry-after': String(seconds) }).end(JSON.stringify(body));
      return true;
    };
    return () => requests;
  };

  test.each([
    [429, 30],
    [403, 60],
  ])('of status %i is shared by all that use the account, until it is over', async (status, seconds) => {
    const requests = limits(seconds, status);
    const [one, other, third] = await environments(3);
    expect(await askAnew(one)).toMatchObject({ failure: 'AtlasRateLimited' });
    const now = Date.now.bind(Date);
    vi.spyOn(Date, 'now').mockImplementation(() => now() + 10_000);
    expect(await askAnew(other)).toMatchObject({
      failure: 'AtlasRateLimited',
      detail: expect.stringContaining(
        status === 429 ? `Atlas asks to wait ${seconds - 10} s` : 'too many valid access tokens',
      ),
    });
    expect(requests()).toBe(1);
    atlas.intercept = undefined;
    vi.spyOn(Date, 'now').mockImplementation(() => now() + seconds * 1000 + 100);
    expect(await askAnew(third)).toEqual(answered);
  });

  test('from the future counts as none', async () => {
    limits(30);
    const now = Date.now.bind(Date);
    vi.spyOn(Date, 'now').mockImplementation(() => now() + 10_000);
    await askAnew(await coldStart());
    vi.spyOn(Date, 'now').mockImplementation(() => now());
    atlas.intercept = undefined;
    expect(await askAnew(await coldStart())).toEqual(answered);
  });

  test('without a table is not remembered', async () => {
    const requests = limits(30);
    const handler = await coldStart({ ANSWER_FRESHNESS_SECONDS: '0' });
    for (let call = 0; call < 2; call += 1) await askAnew(handler);
    expect(requests()).toBe(2);
  });

  test('holds for that service account only', async () => {
    limits(30);
    await askAnew(await coldStart());
    atlas.intercept = undefined;
    atlas.serviceAccounts['other'] = clientSecret;
    secretsManager.secrets['other'] = JSON.stringify({ clientId: 'other', clientSecret });
    expect(await askAnew(await coldStart({ ATLAS_SECRET_ID: 'other' }))).toEqual(answered);
  });
});

test('another failure of the token endpoint is not shared', async () => {
  let requests = 0;
  atlas.intercept = (request, response) => {
    if (!isTokenRequest(request)) return false;
    requests += 1;
    response.writeHead(403).end(JSON.stringify(atlasError(403, 'ACCESS_FORBIDDEN').body));
    return true;
  };
  for (const handler of await environments(2))
    expect(await askAnew(handler)).toMatchObject({ failure: 'AtlasAccessDenied' });
  const entries = (await dynamoDB.items(table)).flatMap(({ entry }) => entry?.S ?? []);
  expect(entries).toEqual([]);
  expect(requests).toBe(2);
});

test('what is sealed can be opened with the same secret for the same key, and is another text each time', () => {
  const { seal, open } = createSeal('secret', 'key');
  const sealed = seal('a token');
  expect(open(sealed)).toBe('a token');
  expect(seal('a token')).not.toBe(sealed);
  expect(() => createSeal('another secret', 'key').open(sealed)).toThrow();
  expect(() => createSeal('secret', 'another key').open(sealed)).toThrow();
});

describe('an item that', () => {
  const change = async (entry: string) => {
    const { key } = await tokenItem();
    await dynamoDB.client.send(
      new UpdateItemCommand({
        TableName: table,
        Key: { key },
        UpdateExpression: 'SET entry = :entry',
        ExpressionAttributeValues: { ':entry': { S: entry } },
      }),
    );
  };

  test.each([
    ['is empty', () => ''],
    ['is no base64', () => '{"authorization":"Bearer x"}'],
    ['was cut', (entry: string) => entry.slice(0, 40)],
    ['has one other bit', (entry: string) => `${entry[0] === 'A' ? 'B' : 'A'}${entry.slice(1)}`],
  ])('%s counts as not there', async (_, make) => {
    await all(await environments(1));
    await change(make((await tokenItem())['entry']?.S ?? ''));
    await all(await environments(2));
    expect(atlas.counters.tokens).toBe(2);
  });

  test('was sealed for another account with the same secret counts as not there', async () => {
    await all(await environments(1));
    const sealed = await tokenItem();
    atlas.serviceAccounts['other'] = clientSecret;
    secretsManager.secrets['other'] = JSON.stringify({ clientId: 'other', clientSecret });
    const handler = await coldStart({ ATLAS_SECRET_ID: 'other' });
    const before = new Set((await dynamoDB.items(table)).map(({ key }) => key?.S));
    await askAnew(handler);
    const its = (await dynamoDB.items(table)).find(
      ({ key, entry }) => !before.has(key?.S) && !entry?.S?.startsWith('{'),
    );
    const key = its?.['key'] ?? { S: '' };
    await dynamoDB.client.send(new PutItemCommand({ TableName: table, Item: { ...sealed, key } }));
    const tokens: unknown[] = [];
    atlas.intercept = ({ headers }) => {
      tokens.push(headers.authorization);
      return false;
    };
    await askAnew(await coldStart({ ATLAS_SECRET_ID: 'other' }));
    expect(tokens).toEqual([expect.stringContaining('Basic '), 'Bearer token-3-of-other']);
  });

  test('holds a token tells nothing of it: not the account, its secret or its ids, in any encoding', async () => {
    const seen = new Set([clientId, clientSecret, groupId]);
    atlas.intercept = ({ headers }) => {
      for (const part of headers.authorization?.split(' ') ?? []) if (part.length > 8) seen.add(part);
      return false;
    };
    await all(await environments(1));
    expect(seen.size).toBe(5);
    const { Item } = await dynamoDB.client.send(
      new GetItemCommand({ TableName: table, Key: { key: (await tokenItem()).key } }),
    );
    const text = JSON.stringify(Item);
    for (const secret of seen)
      for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const)
        expect(text).not.toContain(Buffer.from(secret).toString(encoding).replace(/=+$/, ''));
  });
});

test.each<[string, () => void]>([
  [
    'hangs',
    () => {
      dynamoDB.intercept = () => true;
    },
  ],
  [
    'fails',
    () => {
      dynamoDB.intercept = (_request, response) => {
        response.writeHead(400).end('{"__type":"ThrottlingException"}');
        return true;
      };
    },
  ],
])('a table that %s costs no call, also in a short attempt', async (_, arrange) => {
  arrange();
  const limits = { 'sharing/table.ts': { attemptMs: 100 } };
  await all([await coldStart({ ATLAS_TIMEOUT_MS: '1000' }, limits), await coldStart({}, limits)]);
});
