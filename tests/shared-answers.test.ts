/** Shared answers: one execution environment asks Atlas, all callers get what it got, and no failure of the table fails a question. */

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { DeleteTableCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { FailureName } from '#contract';
import { atlasError } from '../embedded/atlas.ts';
import { failureNames } from '../lib/core/failure.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  doors,
  entity,
  groupId,
  liveMigrationId,
  privateKey,
  publicKey,
  secretId,
  secretsManager,
  skipPauses,
} from './support/harness.ts';
import { bringAbout } from './support/scenarios.ts';
import { dynamoDB, environments, hold, isOperation, reads, shareThroughNewTable } from './support/sharing.ts';

afterAll(() => dynamoDB.close());

let table: string;
let variables: Record<string, string>;
beforeEach(async () => {
  allIsWell();
  ({ table, variables } = await shareThroughNewTable());
});

const first = <T>(list: T[]): T => {
  const [item] = list;
  if (item === undefined) throw new Error('The list is empty.');
  return item;
};
const onlyItem = async () => first(await dynamoDB.items(table));

type Values = Record<string, { S: string } | { N: string }>;
/** Changes attributes of the only item. */
async function change(values: Values) {
  const names = Object.keys(values);
  const ExpressionAttributeValues = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`:${name}`, value]),
  );
  await dynamoDB.client.send(
    new UpdateItemCommand({
      TableName: table,
      Key: { key: (await onlyItem())['key'] ?? { S: '' } },
      UpdateExpression: `SET ${names.map((name) => `${name} = :${name}`).join(', ')}`,
      ExpressionAttributeValues,
    }),
  );
}
/** Makes what is in the table so much older. */
async function age(ms: number) {
  const entry = JSON.parse((await onlyItem())['entry']?.S ?? '');
  for (const time of ['askedAt', 'cameAt']) if (entry[time]) entry[time] -= ms;
  await change({ entry: { S: JSON.stringify(entry) } });
}

const isQuestion = ({ headers }: IncomingMessage) => headers.authorization !== undefined;

describe('an answer', () => {
  test('comes from Atlas, then from memory, and for another environment from the table; each says so, and its age', async () => {
    const output = captureOutput();
    const [one, other] = await environments(2);
    const answers = [await doors['http-api'](one), await doors['rest-api'](one), await doors['http-api'](other)];
    for (const answer of answers) {
      expect(answer).toMatchObject({ document });
      expect(answer.http.headers).toMatchObject({ age: expect.stringMatching(/^[0-4]$/), 'cache-control': 'no-store' });
    }
    expect(await ask(other)).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(1);
    const told = output.lines().map(({ answerFrom, attempts }) => [answerFrom, attempts]);
    expect(told).toEqual([
      ['atlas', 1],
      ['memory', 0],
      ['table', 0],
      ['memory', 0],
    ]);
    for (const line of output.lines()) expect(line['answerAgeMs']).toEqual(expect.any(Number));
  });

  test('is counted as shared where it comes from memory or from the table', async () => {
    const output = captureOutput();
    const [one, other] = await environments(2);
    for (const handler of [one, one, other]) await ask(handler);
    const counted = output.lines().map((line) => line['SharedAnswers']);
    expect(counted.filter((value) => value !== undefined)).toEqual([0, 1, 1]);
  });

  test('carries its whole seconds as Age', async () => {
    const [one, other] = await environments(2);
    await ask(one);
    await age(3000);
    const { askedAt } = JSON.parse((await onlyItem())['entry']?.S ?? '');
    vi.spyOn(Date, 'now').mockReturnValue(askedAt + 3999);
    const { http } = await doors['http-api'](other);
    expect(http.headers['age']).toBe('3');
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('is as old as the request that was answered, and not as an attempt before', async () => {
    const now = Date.now.bind(Date);
    atlas.reply = (_request, count) => {
      if (count > 1) return undefined;
      vi.spyOn(Date, 'now').mockImplementation(() => now() + 3000);
      return atlasError(503, null);
    };
    const { http } = await doors['http-api'](await coldStart());
    expect(http.headers['age']).toMatch(/^[01]$/);
  });

  test('that is older than it may be when the question comes in is asked for anew', async () => {
    const output = captureOutput();
    const [one, other, third] = await environments(3);
    await ask(one);
    await age(5000);
    expect(await ask(other)).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
    await ask(third);
    expect(atlas.counters.authenticated).toBe(2);
    expect(output.lines().map((line) => line['answerFrom'])).toEqual(['atlas', 'atlas', 'table']);
  });

  test('is judged by the moment when the question came in, however long the table took', async () => {
    await ask(await coldStart());
    await age(3000);
    const handler = await coldStart();
    const now = Date.now.bind(Date);
    dynamoDB.intercept = () => {
      vi.spyOn(Date, 'now').mockImplementation(() => now() + 3000);
      return false;
    };
    const { http } = await doors['http-api'](handler);
    expect(http.headers['age']).toMatch(/^[67]$/);
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('is as old as the freshness of the one who asks allows, not of the one who stored it', async () => {
    const [longer] = await environments(1, { ANSWER_FRESHNESS_SECONDS: '60' });
    await ask(longer);
    await age(20_000);
    const [shorter] = await environments(1, { ANSWER_FRESHNESS_SECONDS: '5' });
    await ask(shorter);
    expect(atlas.counters.authenticated).toBe(2);
    await age(20_000);
    const [again] = await environments(1, { ANSWER_FRESHNESS_SECONDS: '60' });
    await ask(again);
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('from the future counts as none, but for a second that clocks may differ', async () => {
    const [one, other, third] = await environments(3);
    await ask(one);
    await age(-900);
    const { http } = await doors['http-api'](other);
    expect(http.headers['age']).toBe('0');
    expect(atlas.counters.authenticated).toBe(1);
    await age(-700);
    expect(await ask(third)).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('is the same whatever the flags say, and the flags are still validated', async () => {
    const [one] = await environments(1);
    await ask(one);
    const { http } = await doors['http-api'](one, { pretty: 'true', envelope: 'true' });
    expect(http.body).toBe(`${JSON.stringify(document, null, 2)}\n`);
    expect(await ask(one, 'http-api', { pretty: 'maybe' })).toMatchObject({ failure: 'InvalidRequest' });
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('is asked for once, however many want it at once', async () => {
    const output = captureOutput();
    const handlers = await environments(4);
    const atlasHeld = hold(atlas, isQuestion);
    const answers = handlers.flatMap((handler) => Array.from({ length: 5 }, () => ask(handler)));
    await atlasHeld.arrived(1);
    // Three environments wait for the fourth, and read the table again and again.
    await reads(7);
    atlasHeld.release();
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 20 }, () => ({ document })));
    expect(atlas.counters.authenticated).toBe(1);
    expect(
      output
        .lines()
        .map((line) => line['answerFrom'])
        .filter((from) => from === 'table'),
    ).toHaveLength(3);
  });

  test('without a table carries no age, and its log line has no word of it', async () => {
    const output = captureOutput();
    const handler = await coldStart({ ANSWER_FRESHNESS_SECONDS: '0' });
    const { http } = await doors['http-api'](handler);
    await ask(handler);
    expect(http.headers).not.toHaveProperty('age');
    expect(atlas.counters.authenticated).toBe(2);
    for (const line of output.lines()) {
      for (const field of ['answerFrom', 'answerAgeMs', 'tableFailure', 'tableUsed', 'askedAt'])
        expect(line).not.toHaveProperty(field);
    }
    expect(await dynamoDB.items(table)).toEqual([]);
  });
});

describe('no answer crosses over', () => {
  const otherGroup = '5f1b2c3d4e5f6a7b8c9d0e20';
  const otherId = '7e68e12770616e75e6df43d9';
  const asks = async (variables: Record<string, string>, asked = {}) => {
    await ask(await coldStart());
    expect(await ask(await coldStart(variables), 'direct', asked)).toMatchObject({ document: {} });
    expect(atlas.counters.authenticated).toBe(2);
  };

  test('to another key', async () => {
    atlas.keys['otherkey'] = privateKey;
    secretsManager.secrets['other'] = JSON.stringify({ publicKey: 'otherkey', privateKey });
    await asks({ ATLAS_SECRET_ID: 'other' });
  });

  test('to a rotated key', async () => {
    await ask(await coldStart());
    atlas.keys[publicKey] = 'ROTATED-PRIVATE-KEY';
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey, privateKey: 'ROTATED-PRIVATE-KEY' });
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
    expect(await dynamoDB.items(table)).toHaveLength(2);
  });

  test('to another base URL', async () => asks({ ATLAS_BASE_URL: atlas.baseUrl.replace('v1.0', 'v2') }));

  test('to another server', async () => asks({ ATLAS_BASE_URL: atlas.baseUrl.replace('127.0.0.1', 'localhost') }));

  test('to another project', async () => {
    atlas.projects = { ...atlas.projects, [otherGroup]: { [liveMigrationId]: () => entity } };
    await asks({}, { groupId: otherGroup });
  });

  test('to another live migration', async () => {
    atlas.projects = { [groupId]: { [liveMigrationId]: () => entity, [otherId]: () => ({ ...entity, _id: otherId }) } };
    await asks({}, { liveMigrationId: otherId });
  });
});

describe('a lease', () => {
  /** An environment asks Atlas, and ends without a word. */
  const die = async (variables: Record<string, string> = {}) => {
    const held = hold(atlas, isQuestion);
    const [handler] = await environments(1, variables);
    void ask(handler);
    await held.arrived(1);
    atlas.intercept = undefined;
    return held;
  };

  test('of an environment that died delays the others until it ends', async () => {
    // Not by `die`: that caller would make another attempt with a new lease.
    await ask(await coldStart());
    await age(60_000);
    await change({ leaseOwner: { S: 'dead' }, leaseUntil: { N: String(Date.now() + 4500) } });
    const answer = ask(await coldStart());
    // A caller that waits reads the item over and over.
    await reads(3);
    expect(atlas.counters.authenticated).toBe(1);
    const end = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 4501);
    expect(await answer).toEqual({ document });
    end.mockRestore();
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('that ends later than it can counts as none', async () => {
    await ask(await coldStart());
    await age(60_000);
    await change({ leaseOwner: { S: 'wrong' }, leaseUntil: { N: String(Date.now() + 60_000) } });
    const held = hold(atlas, isQuestion);
    const answer = ask(await coldStart());
    await held.arrived(1);
    const until = Number((await onlyItem())['leaseUntil']?.N);
    expect(until).toBeGreaterThan(Date.now());
    expect(until).toBeLessThanOrEqual(Date.now() + 5000);
    held.release();
    expect(await answer).toEqual({ document });
    expect(await onlyItem()).not.toHaveProperty('leaseUntil');
  });

  test('lasts a second longer than the attempt', async () => {
    const from = Date.now();
    const held = await die({ ATLAS_TIMEOUT_MS: '2000' });
    const until = Number((await onlyItem())['leaseUntil']?.N);
    expect(until).toBeGreaterThanOrEqual(from + 3000);
    expect(until).toBeLessThanOrEqual(Date.now() + 3000);
    held.release();
  });

  test('is not waited for by a caller that would have no time left to ask', async () => {
    const held = await die();
    const output = captureOutput();
    expect(await ask(await coldStart(), 'direct', {}, 4550)).toEqual({ document });
    expect(output.lines()).toMatchObject([{ answerFrom: 'atlas', attempts: 1 }]);
    // Without a lease, nothing is stored: the other one's is still there.
    expect(await onlyItem()).toMatchObject({ leaseUntil: {} });
    expect(await onlyItem()).not.toHaveProperty('entry');
    held.release();
  });

  test('is looked for at half the price first, and then in a way that sees every write', async () => {
    const bodies: string[] = [];
    const atlasHeld = hold(atlas, isQuestion);
    const [one, other] = await environments(2);
    const answers = [ask(one)];
    await atlasHeld.arrived(1);
    const isEnough = new Promise<void>((resolve) => {
      dynamoDB.intercept = (request) => {
        const at = bodies.push('') - 1;
        request.on('data', (chunk) => {
          bodies[at] += chunk;
        });
        if (bodies.length === 3) resolve();
        return false;
      };
    });
    answers.push(ask(other));
    await isEnough;
    atlasHeld.release();
    await Promise.all(answers);
    expect(bodies.slice(0, 3).map((body) => JSON.parse(body).ConsistentRead)).toEqual([false, true, true]);
  });

  test('that has ended, or that another has by now, stores nothing', async () => {
    const held = hold(atlas, isQuestion);
    const answer = ask(await coldStart());
    await held.arrived(1);
    await change({ leaseUntil: { N: String(Date.now() - 1) } });
    held.release();
    expect(await answer).toEqual({ document });
    expect(await onlyItem()).not.toHaveProperty('entry');
  });

  test('whose reply was lost is recognised', async () => {
    let updates = 0;
    dynamoDB.intercept = (request, response) => {
      if (!isOperation('UpdateItem')(request)) return false;
      updates += 1;
      if (updates > 1) return false;
      // The write is made, and its reply gets lost.
      const { end } = response;
      response.end = ((...args: unknown[]) => {
        request.socket.destroy();
        return Reflect.apply(end, response, args);
      }) as typeof end;
      return false;
    };
    const output = captureOutput();
    const { requests } = dynamoDB.counters;
    expect(await ask(await coldStart())).toEqual({ document });
    expect(output.lines()).toMatchObject([{ answerFrom: 'atlas' }]);
    expect(output.lines()[0]).not.toHaveProperty('tableFailure');
    // A reading, the lease and its second attempt, a reading that finds it, the entry: nobody waited for it.
    expect(dynamoDB.counters.requests).toBe(requests + 5);
    expect(await onlyItem()).toMatchObject({ entry: {} });
    expect(await onlyItem()).not.toHaveProperty('leaseOwner');
  });
});

describe('a failure', () => {
  const shared: FailureName[] = [
    ...(['ProjectNotFound', 'LiveMigrationNotFound', 'AtlasAccessDenied', 'AtlasUnexpectedAnswer'] as const),
  ];

  test.each(shared)('%s is shared for a second', async (name) => {
    bringAbout(name);
    const [one, other, third] = await environments(3);
    const outcome = await doors['http-api'](one);
    const { requestId: _, ...problem } = JSON.parse(outcome.http.body);
    const again = await doors['http-api'](other);
    expect(JSON.parse(again.http.body)).toMatchObject(problem);
    expect(again.http.headers).not.toHaveProperty('age');
    expect(atlas.counters.authenticated).toBe(1);
    await age(1001);
    expect(await ask(third)).toMatchObject({ failure: name });
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('is shared with those who came in its second, however late they read it', async () => {
    bringAbout('AtlasAccessDenied');
    await ask(await coldStart());
    const handler = await coldStart();
    const now = Date.now.bind(Date);
    dynamoDB.intercept = () => {
      vi.spyOn(Date, 'now').mockImplementation(() => now() + 1500);
      return false;
    };
    expect(await ask(handler)).toMatchObject({ failure: 'AtlasAccessDenied' });
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('from the future counts as none', async () => {
    bringAbout('AtlasAccessDenied');
    await ask(await coldStart());
    await age(-10_000);
    atlas.reply = undefined;
    expect(await ask(await coldStart())).toEqual({ document });
  });

  test.each(['AtlasCredentialsRejected', 'SecretUnavailable', 'SecretInvalid'] as const)(
    '%s is not shared',
    async (name) => {
      bringAbout(name);
      const upstream = async () => {
        expect(await ask(await coldStart())).toMatchObject({ failure: name });
        return atlas.counters.requests + secretsManager.counters.reads;
      };
      const once = await upstream();
      expect(await upstream()).toBe(2 * once);
      // Only the lease of a question to Atlas leaves an item, and it is given back.
      const items = await dynamoDB.items(table);
      expect(items).toHaveLength(name === 'AtlasCredentialsRejected' ? 1 : 0);
      for (const item of items) expect(item).not.toHaveProperty('entry');
    },
  );

  test('that a waiter waits for is its own as well, however long that took', async () => {
    const held = hold(atlas, isQuestion);
    const [one, other] = await environments(2);
    const outcomes = [ask(one)];
    await held.arrived(1);
    const waits = reads(3);
    outcomes.push(ask(other));
    await waits;
    atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN');
    held.release();
    for (const outcome of await Promise.all(outcomes)) expect(outcome).toMatchObject({ failure: 'AtlasAccessDenied' });
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('that another key than a refused one met is shared', async () => {
    const handler = await coldStart();
    atlas.keys[publicKey] = 'ROTATED-PRIVATE-KEY';
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey, privateKey });
    const { promise: isRefused, resolve } = Promise.withResolvers<void>();
    atlas.intercept = ({ headers }) => {
      if (headers.authorization) resolve();
      return false;
    };
    atlas.reply = () => atlasError(503, null);
    const outcome = ask(handler);
    await isRefused;
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey, privateKey: 'ROTATED-PRIVATE-KEY' });
    expect(await outcome).toMatchObject({ failure: 'AtlasUnavailable' });
    const { authenticated } = atlas.counters;
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasUnavailable' });
    expect(atlas.counters.authenticated).toBe(authenticated);
  });

  test('that may pass is met by attempts that all callers share', async () => {
    const output = captureOutput();
    atlas.reply = () => atlasError(503, 'UNEXPECTED_ERROR');
    const handlers = await environments(6);
    const outcomes = await Promise.all(handlers.map((handler) => ask(handler)));
    for (const outcome of outcomes) expect(outcome).toMatchObject({ failure: 'AtlasUnavailable' });
    expect(atlas.counters.authenticated).toBe(3);
    const attempts = output.lines().map((line) => Number(line['attempts']));
    expect(attempts.reduce((sum, count) => sum + count)).toBe(3);
  });

  test('that passes is not shown to any caller: the next attempt answers all', async () => {
    atlas.reply = (_request, count) => (count <= 2 ? atlasError(503, null) : undefined);
    const handlers = await environments(4);
    expect(await Promise.all(handlers.map((handler) => ask(handler)))).toEqual(handlers.map(() => ({ document })));
    expect(atlas.counters.authenticated).toBe(3);
  });

  test('of an attempt that its own invocation cut short is not shared, not even in the same environment', async () => {
    const output = captureOutput();
    atlas.intercept = isQuestion;
    const handler = await coldStart({ ATLAS_TIMEOUT_MS: '200' });
    // Of 600 ms the function keeps 500 for its answer.
    expect(await ask(handler, 'direct', {}, 600)).toMatchObject({ failure: 'AtlasTimedOut' });
    expect(await dynamoDB.items(table)).toEqual([]);
    expect(await ask(handler)).toMatchObject({ failure: 'AtlasTimedOut' });
    expect(output.lines().map((line) => line['attempts'])).toEqual([1, 2]);
  });

  test('of a refused key does not make those wait who wait for it: they ask at once, and together', async () => {
    bringAbout('AtlasCredentialsRejected');
    const held = hold(atlas, isQuestion);
    const handlers = await environments(3);
    const outcomes = [ask(handlers[0])];
    await held.arrived(1);
    const waits = reads(5);
    outcomes.push(...handlers.slice(1).map((handler) => ask(handler)));
    await waits;
    const [[request, response] = []] = held.held.splice(0);
    if (request && response) atlas.answer(request, response);
    // Neither waits until the other has an answer. Each environment has a nonce of its own.
    await held.arrived(2);
    const nonces = held.held.map(([{ headers }]) => /nonce="([^"]+)"/.exec(headers.authorization ?? '')?.[1]);
    expect(new Set(nonces).size).toBe(2);
    held.release();
    for (const outcome of await Promise.all(outcomes)) {
      expect(outcome).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    }
    expect(await onlyItem()).not.toHaveProperty('leaseOwner');
  });
});

describe('a rate limit', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['Date'] }));
  const limited = (seconds: number) => ({
    ...atlasError(429, 'RATE_LIMITED'),
    headers: { 'retry-after': `${seconds}` },
  });

  test('is shared until its time is over, with the seconds that are left', async () => {
    const pauses = skipPauses();
    atlas.reply = () => limited(60);
    const [one, other, third] = await environments(3);
    expect(await doors['http-api'](one)).toMatchObject({ http: { headers: { 'retry-after': '60' } } });
    await age(49_500);
    const outcome = await doors['http-api'](other);
    expect(outcome).toMatchObject({
      failure: 'AtlasRateLimited',
      detail: 'Atlas asks to wait 11 s before the next request (429 RATE_LIMITED).',
    });
    expect(outcome.http.headers['retry-after']).toBe('11');
    expect(JSON.parse(outcome.http.body)).toMatchObject({ retryAfterSeconds: 11, atlas: { status: 429 } });
    expect(atlas.counters.authenticated).toBe(1);
    await age(10_600);
    // What is over does not count any more: a new limit is waited out.
    const { authenticated } = atlas.counters;
    atlas.reply = (_request, count) => (count === authenticated + 1 ? limited(1) : undefined);
    expect(await ask(third)).toEqual({ document });
    expect(pauses).toEqual([1000]);
  });

  test('of which two seconds or less are left is waited out', async () => {
    const pauses = skipPauses();
    atlas.reply = () => limited(60);
    const [one, other] = await environments(2);
    await ask(one);
    await age(58_500);
    atlas.reply = undefined;
    expect(await ask(other)).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
    expect(pauses).toEqual([2000]);
  });

  test('brings nothing of the attempts before it, when it is nearly over', async () => {
    skipPauses();
    // One short limit, which was waited out, and a long one.
    atlas.reply = (_request, count) => limited(count === 1 ? 1 : 60);
    const [one, other] = await environments(2);
    expect(await ask(one)).toMatchObject({ failure: 'AtlasRateLimited' });
    expect(atlas.counters.authenticated).toBe(2);
    await age(59_300);
    atlas.reply = undefined;
    expect(await ask(other)).toEqual({ document });
  });

  test('holds for that live migration only', async () => {
    atlas.reply = () => limited(60);
    const [one, other] = await environments(2);
    await ask(one);
    atlas.reply = undefined;
    expect(await ask(other, 'direct', { liveMigrationId: '7e68e12770616e75e6df43d9' })).toMatchObject({
      failure: 'LiveMigrationNotFound',
    });
  });
});

describe('the table', () => {
  const refuses = (name: string, status = 400) => {
    dynamoDB.intercept = (_request, response) => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(JSON.stringify({ __type: `com.amazonaws.dynamodb.v20120810#${name}`, message: 'made up' }));
      return true;
    };
  };
  const ways: Record<string, [arrange: () => unknown, name: string, limits?: Record<string, number>]> = {
    missing: [() => dynamoDB.client.send(new DeleteTableCommand({ TableName: table })), 'ResourceNotFoundException'],
    denied: [() => refuses('AccessDeniedException'), 'AccessDeniedException'],
    throttled: [() => refuses('ThrottlingException'), 'ThrottlingException'],
    'out of order': [() => refuses('InternalServerError', 500), 'InternalServerError'],
    hanging: [
      () => {
        dynamoDB.intercept = () => true;
      },
      'TimeoutError',
      { attemptMs: 100 },
    ],
    'not there': [() => vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', 'http://127.0.0.1:9'), 'ECONNREFUSED'],
  };

  test.each(Object.keys(ways))('that is %s fails no question, and is not used for a while', async (way) => {
    const output = captureOutput();
    const [arrange, name, limits = {}] = ways[way] ?? [() => undefined, ''];
    await arrange();
    const handler = await coldStart({}, { 'sharing/table.ts': limits });
    expect(await ask(handler)).toEqual({ document });
    const { requests } = dynamoDB.counters;
    expect(await ask(handler)).toEqual({ document });
    expect(await ask(handler, 'direct', { liveMigrationId: '7e68e12770616e75e6df43d9' })).toMatchObject({
      failure: 'LiveMigrationNotFound',
    });
    expect(dynamoDB.counters.requests).toBe(requests);
    expect(atlas.counters.authenticated).toBe(2);
    const lines = output.lines();
    expect(lines).toMatchObject([{ answerFrom: 'atlas', tableFailure: name }, { answerFrom: 'memory' }, {}]);
    expect(lines.slice(1).some((line) => 'tableFailure' in line)).toBe(false);
    const failures = output
      .lines()
      .map((line) => line['TableFailures'])
      .filter((value) => value !== undefined);
    expect(failures).toEqual([1]);
  });

  test('is asked once more where a request to it hangs for a second', async () => {
    const output = captureOutput();
    const handler = await coldStart();
    const hanging = Promise.withResolvers<void>();
    dynamoDB.intercept = () => {
      dynamoDB.intercept = undefined;
      hanging.resolve();
      return true;
    };
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const answer = ask(handler);
    await hanging.promise;
    await vi.advanceTimersByTimeAsync(1000);
    // The pause of the SDK before its second request is drawn by chance.
    await vi.advanceTimersByTimeAsync(200);
    expect(await answer).toEqual({ document });
    expect(await dynamoDB.items(table)).toHaveLength(1);
    expect(output.lines()).toMatchObject([{ answerFrom: 'atlas' }]);
    expect(output.lines()[0]).not.toHaveProperty('tableFailure');
  });

  test('that fails when the answer is there does not lose the answer', async () => {
    const held = hold(atlas, isQuestion);
    const handler = await coldStart();
    const answer = ask(handler);
    await held.arrived(1);
    refuses('ThrottlingException');
    held.release();
    expect(await answer).toEqual({ document });
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('is tried again after some ten seconds', async () => {
    refuses('AccessDeniedException');
    const handler = await coldStart();
    await ask(handler);
    dynamoDB.intercept = undefined;
    const { requests } = dynamoDB.counters;
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 10_001);
    expect(await ask(handler)).toEqual({ document });
    expect(dynamoDB.counters.requests).toBeGreaterThan(requests);
    expect(await dynamoDB.items(table)).toHaveLength(1);
  });

  const documentEntry = (change: object) =>
    JSON.stringify({ askedAt: Date.now(), document: { ...document, ...change } });
  const failureEntry = (change: object) =>
    JSON.stringify({
      cameAt: Date.now(),
      failures: [{ name: 'AtlasAccessDenied', detail: 'Denied.', atlas: { status: 403, errorCode: null }, ...change }],
    });
  test('whose entry is good gives the document or the failure in it', async () => {
    await ask(await coldStart());
    const output = captureOutput();
    await change({ entry: { S: documentEntry({ reportedStatus: 'COMPLETE' }) } });
    expect(await ask(await coldStart())).toMatchObject({ document: { status: 'COMPLETE' } });
    await change({ entry: { S: failureEntry({}) } });
    expect(await ask(await coldStart())).toEqual({ failure: 'AtlasAccessDenied', detail: 'Denied.' });
    expect(output.lines()).toMatchObject([{ answerFrom: 'table' }, { outcome: 'AtlasAccessDenied' }]);
    expect(atlas.counters.authenticated).toBe(1);
  });

  // Made when the test runs: an entry that is too old would be rejected for its age.
  const broken: [string, () => string][] = [
    ['no JSON', () => '{'],
    ['nothing', () => ''],
    ['a list', () => '[]'],
    ['null', () => 'null'],
    ['no time', () => JSON.stringify({ document })],
    ['a time that is none', () => JSON.stringify({ askedAt: '1', document })],
    ['another live migration', () => documentEntry({ id: '7e68e12770616e75e6df43d9' })],
    ['no document', () => JSON.stringify({ askedAt: Date.now(), document: {} })],
    ['no failure', () => JSON.stringify({ cameAt: Date.now(), failures: [] })],
    ['an unknown failure', () => failureEntry({ name: 'AtlasExploded' })],
    ['a failure that is not shared', () => failureEntry({ name: 'InternalError' })],
    ['a detail that is no sentence', () => failureEntry({ detail: `\n${'x'.repeat(10)}` })],
    ['a detail that is too long', () => failureEntry({ detail: 'x'.repeat(1001) })],
    ['a status that is none', () => failureEntry({ atlas: { status: 'x', errorCode: null } })],
    ["words in place of Atlas's code", () => failureEntry({ atlas: { status: 403, errorCode: 'some words' } })],
    ['a rate limit without its seconds', () => failureEntry({ name: 'AtlasRateLimited' })],
    ['a rate limit of years', () => failureEntry({ name: 'AtlasRateLimited', retryAfterSeconds: 100_000_000 })],
    ['seconds of something else', () => failureEntry({ retryAfterSeconds: 5 })],
  ];
  test('whose entry holds anything else is as if it held none', async () => {
    await ask(await coldStart());
    const output = captureOutput();
    for (const [what, entry] of broken) {
      await change({ entry: { S: entry() } });
      expect(await ask(await coldStart()), what).toEqual({ document });
      expect(output.lines().at(-1), what).toMatchObject({ answerFrom: 'atlas' });
      expect(output.lines().at(-1), what).not.toHaveProperty('tableFailure');
      expect((await onlyItem())['entry']?.S, what).toContain('"status":"WORKING"');
    }
    expect(output.lines()).toHaveLength(broken.length);
    expect(atlas.counters.authenticated).toBe(1 + broken.length);
  });

  test.each<[string, Values]>([
    ['an entry of another type', { entry: { N: '1' } }],
    ['an id of another type', { entryId: { N: '1' } }],
    ['the end of a lease of another type', { leaseOwner: { S: 'x' }, leaseUntil: { S: 'soon' } }],
    ['an owner of another type', { leaseOwner: { N: '1' }, leaseUntil: { N: '99999999999999' } }],
  ])('whose item has %s delays no caller', async (_, values) => {
    await ask(await coldStart());
    await age(60_000);
    await change(values);
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('holds no secret, no token and nothing that Atlas sent beyond the document, however it fails', async () => {
    const account = { clientId: 'mdb_sa_id_1', clientSecret: 'mdb_sa_sk_SECRET' };
    const secrets = new Set([publicKey, privateKey, ...Object.values(account), 'UPSTREAM', 'made up', 'token-']);
    const { intercept } = atlas;
    for (const name of ['Answered', ...failureNames] as const) {
      for (const credentials of [{ publicKey, privateKey }, account]) {
        allIsWell();
        for (const [variable, value] of Object.entries(variables)) vi.stubEnv(variable, value);
        atlas.projects = { [groupId]: { [liveMigrationId]: () => ({ ...entity, links: ['UPSTREAM'] }) } };
        atlas.serviceAccounts[account.clientId] = account.clientSecret;
        secretsManager.secrets[secretId] = JSON.stringify(credentials);
        if (name !== 'Answered') bringAbout(name);
        const { intercept: brought } = atlas;
        atlas.intercept = (request, response) => {
          const { authorization } = request.headers;
          if (authorization) secrets.add(authorization).add(authorization.split(' ')[1] ?? authorization);
          return brought?.(request, response) ?? false;
        };
        await ask(await coldStart(), 'direct', name === 'InvalidRequest' ? { groupId: 'x' } : {});
        vi.restoreAllMocks();
      }
    }
    atlas.intercept = intercept;
    const items = await dynamoDB.items(table);
    expect(items.length).toBeGreaterThan(1);
    const text = JSON.stringify(items);
    for (const secret of secrets) {
      for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const)
        expect(text).not.toContain(Buffer.from(secret).toString(encoding));
    }
  });

  test('deletes its items by itself, also those that are but a lease', async () => {
    const held = hold(atlas, isQuestion);
    const answer = ask(await coldStart());
    await held.arrived(1);
    const inSeconds = async () => Number((await onlyItem())['expiresAt']?.N) - Date.now() / 1000;
    expect(await inSeconds()).toBeGreaterThan(86_000);
    expect(await inSeconds()).toBeLessThan(87_000);
    held.release();
    await answer;
    expect(await inSeconds()).toBeGreaterThan(86_000);
  });
});

test('how long Atlas is away is shared as well', async () => {
  atlas.reply = () => ({ status: 503, body: '', headers: { 'retry-after': '120' } });
  const [one, other] = await environments(2);
  for (const handler of [one, other]) {
    const { http } = await doors['http-api'](handler);
    expect(http).toMatchObject({ statusCode: 503, headers: { 'retry-after': '120' } });
  }
  expect(atlas.counters.authenticated).toBe(1);
});

test('a client that goes away in the middle of its request does not end the embedded DynamoDB', async () => {
  const { host, port } = new URL(dynamoDB.origin);
  const socket = connect(Number(port), '127.0.0.1');
  const arrived = once(dynamoDB.server, 'request');
  socket.write(`POST / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 2\r\n\r\n{`);
  const [request] = await arrived;
  const gone = new Promise((resolve) => request.on('close', resolve));
  socket.resetAndDestroy();
  await gone;
  expect(await dynamoDB.items(table)).toEqual([]);
});
