/** What Atlas, Secrets Manager, the network and Lambda do to an execution environment, and what the caller gets. */

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  getDefaultAutoSelectFamilyAttemptTimeout,
  type Socket,
  setDefaultAutoSelectFamilyAttemptTimeout,
} from 'node:net';
import zlib from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { FailureName } from '#contract';
import { atlasError, type Reply } from '../embedded/atlas.ts';
import type { LambdaHandler } from '../embedded/lambda-invoke.ts';
import { retryDelayMs } from '../lib/atlas/retry.ts';
import { Failure, type FailureFacts } from '../lib/core/failure.ts';
import { resolveTo, startSilentPort } from './support/addresses.ts';
import { startFrozenProcess } from './support/frozen-process.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  entity,
  hang,
  liveMigrationId,
  type Outcome,
  privateKey,
  publicKey,
  secretId,
  secretsManager,
  skipPauses,
} from './support/harness.ts';
import { kinds, unasked } from './support/unasked.ts';

beforeEach(allIsWell);

/** Whether the request brings an answer to a challenge, so that it would be answered. */
const isAuthenticated = (request: IncomingMessage) => request.headers.authorization !== undefined;

/** Answers authenticated requests by hand, from their first byte on. */
const answerRaw = (answer: (response: ServerResponse, socket: Socket, count: number) => void) => {
  let count = 0;
  atlas.intercept = (request, response) => {
    if (!isAuthenticated(request)) return false;
    count += 1;
    answer(response, request.socket, count);
    return true;
  };
};

const json = JSON.stringify(entity);
const otherDocument = JSON.stringify({ ...entity, _id: 'f'.repeat(24) });

describe('time: the answer leaves before the function is ended', () => {
  const timedOut = {
    failure: 'AtlasTimedOut',
    detail: expect.stringMatching(/^Atlas did not answer within \d+ ms\.$/),
  };

  test.each<[string, (response: ServerResponse) => void]>([
    ['sends nothing', () => undefined],
    ['sends headers only', (response) => response.writeHead(200).flushHeaders()],
    [
      'drips',
      (response) => {
        const drip = setInterval(() => response.write(' '), 5);
        response.on('close', () => clearInterval(drip));
      },
    ],
  ])('Atlas %s: one attempt has its limit', async (_, answer) => {
    answerRaw((response) => answer(response));
    expect(await ask(await coldStart({ ATLAS_TIMEOUT_MS: '100' }))).toEqual(timedOut);
  });

  test('the limit of an attempt is cut to what the invocation has left', async () => {
    answerRaw(() => undefined);
    const { detail } = (await ask(await coldStart(), 'direct', {}, 700)) as { detail: string };
    expect(Number(/within (\d+) ms/.exec(detail)?.[1])).toBeLessThanOrEqual(200);
  });

  test('the challenge counts as part of the attempt', async () => {
    atlas.intercept = () => true;
    expect(await ask(await coldStart({ ATLAS_TIMEOUT_MS: '100' }))).toEqual(timedOut);
  });

  test('a token that does not come has the limit of an attempt, for itself', async () => {
    secretsManager.secrets['atlas/test'] = JSON.stringify({ clientId: 'a', clientSecret: 'b' });
    atlas.intercept = () => true;
    expect(await ask(await coldStart({ ATLAS_TIMEOUT_MS: '100' }))).toEqual({
      failure: 'AtlasTimedOut',
      detail: 'Atlas issued no access token within 100 ms.',
    });
  });

  test('a secret that hangs is SecretUnavailable', async () => {
    secretsManager.intercept = () => true;
    expect(await ask(await coldStart(), 'direct', {}, 700)).toMatchObject({
      failure: 'SecretUnavailable',
      detail: expect.stringMatching(/^Secrets Manager did not answer within \d+ ms\.$/),
    });
  });

  test('an invocation without any time fails, and the next one uses its read', async () => {
    const handler = await coldStart();
    expect(await ask(handler, 'direct', {}, 100)).toMatchObject({ failure: 'SecretUnavailable' });
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(1);
  });

  test('a caller that gives up does not end the others', async () => {
    const held: (() => void)[] = [];
    secretsManager.intercept = (request, response) => {
      held.push(() => {
        secretsManager.intercept = undefined;
        void secretsManager.answer(request, response);
      });
      return true;
    };
    const handler = await coldStart();
    const patient = ask(handler);
    expect(await ask(handler, 'direct', {}, 600)).toMatchObject({ failure: 'SecretUnavailable' });
    for (const release of held) release();
    expect(await patient).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(1);
  });

  describe('a shared request that hangs ends at its own limit, and callers that still have time start a new one', () => {
    /** Lets the first request hang. @returns resolves when it has come */
    const hangFirst = () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      let requests = 0;
      return {
        came: promise,
        isFirst: () => {
          requests += 1;
          resolve();
          return requests === 1;
        },
        requests: () => requests,
      };
    };

    test.each([
      ['for a challenge', { publicKey, privateKey }],
      ['for an access token', { clientId: 'a', clientSecret: 'b' }],
    ])('%s', async (_, secret) => {
      secretsManager.secrets[secretId] = JSON.stringify(secret);
      atlas.serviceAccounts = { a: 'b' };
      const hung = hangFirst();
      atlas.intercept = hung.isFirst;
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
      const handler = await coldStart({ ATLAS_TIMEOUT_MS: '300' });
      const asked = [ask(handler)];
      await hung.came;
      for (let caller = 2; caller <= 3; caller += 1) {
        await vi.advanceTimersByTimeAsync(100);
        asked.push(ask(handler));
      }
      await vi.advanceTimersByTimeAsync(100);
      expect(await Promise.all(asked)).toEqual(Array(3).fill({ document }));
      // The one that hung, one more like it, and three questions.
      expect(hung.requests()).toBe(5);
    });

    test('for the secret', async () => {
      const hung = hangFirst();
      secretsManager.intercept = hung.isFirst;
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
      // Else the SDK would ask again before.
      const handler = await coldStart({}, { 'secret/secrets-manager.ts': { requestMs: 60_000 } });
      await hung.came;
      const early = ask(handler);
      await vi.advanceTimersByTimeAsync(500);
      const late = ask(handler);
      await vi.advanceTimersByTimeAsync(2500);
      expect(await early).toMatchObject({ failure: 'SecretUnavailable' });
      expect(await late).toEqual({ document });
      expect(hung.requests()).toBe(2);
    });
  });

  test('a caller that gives up does not drop the read that others began meanwhile', async () => {
    const came = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
    const answers: (() => void)[] = [];
    secretsManager.intercept = (request, response) => {
      came[answers.length]?.resolve();
      answers.push(() => void secretsManager.answer(request, response));
      return true;
    };
    const handler = await coldStart();
    await came[0].promise;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const hurried = ask(handler, 'direct', {}, 600);
    await vi.advanceTimersByTimeAsync(99);
    vi.advanceTimersByTime(1);
    vi.useRealTimers();
    // Some come before the reading that was given up has ended, and some after.
    const others: Promise<Outcome>[] = [];
    for (let turn = 0; turn < 50; turn += 1) {
      others.push(ask(handler));
      await undefined;
    }
    expect(await hurried).toMatchObject({ failure: 'SecretUnavailable' });
    await came[1].promise;
    answers[1]?.();
    expect(await Promise.all(others)).toEqual(Array(50).fill({ document }));
    expect(await ask(handler)).toEqual({ document });
    expect(answers).toHaveLength(2);
  });

  test('no timer and no request outlives its invocation', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const closed: Promise<unknown>[] = [];
    const handler = await coldStart({ ATLAS_TIMEOUT_MS: '100' });
    await ask(handler);
    while (timers() > 0) await new Promise(setImmediate);
    expect(await ask(handler)).toEqual({ document });
    expect(timers()).toBe(0);
    answerRaw((_response, socket) => closed.push(once(socket, 'close')));
    await ask(handler);
    expect(timers()).toBe(0);
    await Promise.all(closed);
    expect(closed).toHaveLength(2);
  });

  test('requests for a challenge and a secret are given up when no caller waits for them any more', async () => {
    const closed: Promise<unknown>[] = [];
    const hang = (request: IncomingMessage) => closed.push(once(request.socket, 'close')) > 0;
    atlas.intercept = hang;
    await ask(await coldStart({ ATLAS_TIMEOUT_MS: '100' }));
    secretsManager.intercept = hang;
    await ask(await coldStart(), 'direct', {}, 700);
    await Promise.all(closed);
    // Two attempts at the challenge, and the secret.
    expect(closed).toHaveLength(3);
  });
});

describe('retries', () => {
  const failing = (replies: (Reply | undefined)[]) => {
    atlas.reply = (_request, count) => replies[count - 1];
  };

  test.each([500, 502, 503, 504])('a %i that passes is not seen by the caller', async (status) => {
    failing([atlasError(status, null)]);
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
  });

  test('three attempts are made, not more', async () => {
    atlas.reply = () => atlasError(503, null);
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasUnavailable' });
    expect(atlas.counters.authenticated).toBe(3);
  });

  test.each([400, 401, 402, 403, 404, 406, 410, 418, 501, 505])('a %i is not asked for again', async (status) => {
    atlas.reply = () => atlasError(status, 'SOME_CODE');
    expect(await ask(await coldStart())).toHaveProperty('failure');
    expect(atlas.counters.authenticated).toBe(1);
  });

  test('a rate limit of a second is waited out', async () => {
    const pauses = skipPauses();
    failing([{ ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '1' } }]);
    expect(await ask(await coldStart())).toEqual({ document });
    expect(atlas.counters.authenticated).toBe(2);
    expect(pauses).toEqual([1000]);
  });

  test('a rate limit is waited out once only, whatever the key', async () => {
    const pauses = skipPauses();
    const limited: Reply = { ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '1' } };
    atlas.reply = (_request, count) => {
      if (count !== 2) return limited;
      secretsManager.secrets[secretId] = JSON.stringify({ publicKey: 'rotated', privateKey });
      atlas.keys = { rotated: privateKey };
      return atlasError(401, 'UNEXPECTED_ERROR');
    };
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasRateLimited' });
    expect(atlas.counters.authenticated).toBe(3);
    expect(pauses).toEqual([1000]);
  });

  test('a rate limit is waited out once only', async () => {
    const pauses = skipPauses();
    atlas.reply = () => ({ ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '1' } });
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasRateLimited' });
    expect(atlas.counters.authenticated).toBe(2);
    expect(pauses).toEqual([1000]);
  });

  const afterFailure = (name: FailureName, facts: FailureFacts = {}) => new Failure(name, '', facts);
  const unavailable = (status: number) => afterFailure('AtlasUnavailable', { atlas: { status, errorCode: null } });
  const limited = (retryAfterSeconds: number) => afterFailure('AtlasRateLimited', { retryAfterSeconds });

  const timedOut = afterFailure('AtlasTimedOut');

  test.each<[string, Failure[], number, number, number | undefined]>([
    // what, failures so far, ms left, random, expected ms
    ['no connection, first time', [afterFailure('AtlasUnavailable')], 5000, 0.5, 50],
    ['no connection, second time', Array(2).fill(afterFailure('AtlasUnavailable')), 5000, 0.5, 100],
    ['no connection, third time', Array(3).fill(afterFailure('AtlasUnavailable')), 5000, 0.5, undefined],
    ['the jitter may be nothing', [unavailable(503)], 5000, 0, 0],
    ['the jitter is full', [unavailable(503)], 5000, 1, 100],
    ['no time for an attempt', [unavailable(503)], 249, 0, undefined],
    ['just time for an attempt', [unavailable(503)], 250, 0, 0],
    ['a 501 does not pass', [unavailable(501)], 5000, 0, undefined],
    ['a limit of two seconds, waited out with jitter', [limited(2)], 20_000, 0.5, 2250],
    ['a limit of three seconds, handed on', [limited(3)], 20_000, 0, undefined],
    ['a limit, and just time for an attempt after it', [limited(1)], 1250, 0, 1000],
    ['a limit, and no time for an attempt after it', [limited(1)], 1249, 0, undefined],
    ['a second limit', [limited(1), limited(1)], 20_000, 0, undefined],
    ['a first limit after a 503', [unavailable(503), limited(1)], 20_000, 0, 1000],
    ['a time-out, and time for a whole attempt', [timedOut], 4000, 1, 0],
    ['a time-out, and less time', [timedOut], 3999, 0, undefined],
    ['a second time-out', [timedOut, timedOut], 20_000, 0, undefined],
    ['a first time-out after a 503', [unavailable(503), timedOut], 20_000, 0, 0],
    ['a refused key', [afterFailure('AtlasCredentialsRejected')], 5000, 0, undefined],
    ['an answer not understood', [afterFailure('AtlasUnexpectedAnswer')], 5000, 0, undefined],
  ])('%s', (_, failures, msLeft, random, expected) => {
    expect(retryDelayMs(failures, msLeft, 4000, random)).toBe(expected);
  });

  test('an attempt that times out is made once more, on a new connection', async () => {
    const handler = await coldStart();
    await ask(handler);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    atlas.intercept = () => {
      atlas.intercept = undefined;
      return hang(4000);
    };
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.connections).toBe(2);
  });

  test('an attempt that times out is not made again without time for a whole one', async () => {
    atlas.intercept = () => true;
    const handler = await coldStart({ ATLAS_TIMEOUT_MS: '100' });
    expect(await ask(handler, 'direct', {}, 500 + 190)).toMatchObject({ failure: 'AtlasTimedOut' });
    expect(atlas.counters.requests).toBe(1);
  });
});

describe('connections', () => {
  test('one that breaks in the middle of an answer is tried again', async () => {
    answerRaw((response, socket, count) => {
      if (count > 1) {
        response.end(json);
        return;
      }
      response.writeHead(200, { 'content-length': 1000 });
      response.write(json.slice(0, 20), () => socket.destroy());
    });
    expect(await ask(await coldStart())).toEqual({ document });
  });

  test('one that always breaks in the middle ends as AtlasUnavailable', async () => {
    answerRaw((response, socket) => {
      response.writeHead(200, { 'content-length': 1000 });
      response.write(json.slice(0, 20), () => socket.destroy());
    });
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasUnavailable' });
  });

  test('one that is reset before an answer is tried again', async () => {
    answerRaw((response, socket, count) => {
      if (count === 1) socket.resetAndDestroy();
      else response.end(json);
    });
    expect(await ask(await coldStart())).toEqual({ document });
  });

  test('a protocol switch that was not requested is AtlasUnexpectedAnswer', async () => {
    answerRaw((_response, socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    );
    expect(await ask(await coldStart())).toMatchObject({
      failure: 'AtlasUnexpectedAnswer',
      detail: expect.stringContaining('101'),
    });
  });

  test('an answer that is no HTTP is AtlasUnexpectedAnswer', async () => {
    answerRaw((_response, socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    expect(await ask(await coldStart())).toMatchObject({
      failure: 'AtlasUnexpectedAnswer',
      detail: expect.stringContaining('HPE_'),
    });
  });

  test.each([1, 20])(
    '%i pooled, closed by the server between two requests: the next calls do not notice, and no request is lost',
    async (burst) => {
      const handler = await coldStart();
      await Promise.all(Array.from({ length: burst }, () => ask(handler)));
      const output = captureOutput();
      // In the same turn of the event loop, so that the client has had no chance to see its sockets close.
      atlas.closeConnections();
      const outcomes = await Promise.all(Array.from({ length: burst }, () => ask(handler)));
      expect(outcomes).toEqual(Array(burst).fill({ document }));
      expect(output.lines()).toMatchObject(Array(burst).fill({ attempts: 1, AtlasRequests: 1 }));
    },
  );

  test.each([1, 20])(
    '%i pooled, silently dead after more than 3 idle seconds: the next calls use new ones',
    async (burst) => {
      vi.useFakeTimers({ toFake: ['Date'] });
      const handler = await coldStart();
      await Promise.all(Array.from({ length: burst }, () => ask(handler)));
      const dead = new Set<Socket>();
      atlas.eachConnection((socket) => dead.add(socket));
      expect(dead.size).toBeGreaterThanOrEqual(1);
      let lost = 0;
      atlas.intercept = (request) => {
        if (!dead.has(request.socket)) return false;
        lost += 1;
        return true;
      };
      vi.setSystemTime(Date.now() + 3100);
      const outcomes = await Promise.all(Array.from({ length: burst }, () => ask(handler)));
      expect(outcomes).toEqual(Array(burst).fill({ document }));
      // A second attempt would have been answered, too.
      expect(lost).toBe(0);
    },
  );

  test('pooled, too long idle: the next call closes them all', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const earlier = new Set<Socket>();
    atlas.eachConnection((socket) => earlier.add(socket));
    const handler = await coldStart();
    await Promise.all(Array.from({ length: 5 }, () => ask(handler)));
    // The client ends them: where the server does, because they are idle, there is no such event.
    const ended: Promise<unknown>[] = [];
    atlas.eachConnection((socket) => earlier.has(socket) || ended.push(once(socket, 'end')));
    expect(ended).toHaveLength(5);
    vi.setSystemTime(Date.now() + 3100);
    expect(await ask(handler)).toEqual({ document });
    await Promise.all(ended);
  });

  test('in use beside one that breaks: it is closed after its answer, and not kept', async () => {
    const held: [IncomingMessage, ServerResponse][] = [];
    const bothAsked = new Promise<void>((resolve) => {
      atlas.intercept = (request, response) => {
        if (!isAuthenticated(request)) return false;
        if (held.push([request, response]) === 2) resolve();
        return true;
      };
    });
    const handler = await coldStart();
    const outcomes = [ask(handler), ask(handler)];
    await bothAsked;
    atlas.intercept = undefined;
    const [[broken], [request, response]] = held as [[IncomingMessage], [IncomingMessage, ServerResponse]];
    const ended = once(request.socket, 'end');
    broken.socket.resetAndDestroy();
    // Its caller has got the answer over another connection.
    await Promise.race(outcomes);
    atlas.answer(request, response);
    expect(await Promise.all(outcomes)).toEqual([{ document }, { document }]);
    await ended;
  });

  describe('pooled, with bytes that nobody asked for: they answer nothing, and a new one is used in the same attempt', () => {
    // Each question opens the connection that the next one loses.
    let handler: LambdaHandler;
    beforeAll(async () => {
      allIsWell();
      handler = await coldStart();
    });

    describe.each([
      ['unread when the question comes', 0],
      ['read before the question comes', 4],
    ])('%s', (_, turns) => {
      test.each(kinds)('%s', async (kind) => {
        expect(await ask(handler)).toEqual({ document });
        atlas.counters.connections = 0;
        const output = captureOutput();
        atlas.eachConnection((socket) => socket.write(unasked[kind]));
        for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
        expect(await ask(handler)).toEqual({ document });
        expect(output.lines()).toMatchObject([{ attempts: 1, AtlasRequests: 1 }]);
        expect(atlas.counters.connections).toBe(1);
      });
    });
  });

  test('pooled, of which some have bytes that nobody asked for: a burst does not notice', async () => {
    const handler = await coldStart();
    const burst = () => Promise.all(Array.from({ length: 20 }, () => ask(handler)));
    await burst();
    let connections = 0;
    atlas.eachConnection((socket) => {
      connections += 1;
      if (connections % 3 === 0) socket.write(unasked['a document']);
    });
    expect(await burst()).toEqual(Array(20).fill({ document }));
  });

  describe('over which another answer came than the one asked for: it is closed, since it may stay one answer behind', () => {
    test('a document', async () => {
      const handler = await coldStart();
      answerRaw((response, _socket, count) => response.end(count === 1 ? otherDocument : json));
      expect(await ask(handler)).toMatchObject({ failure: 'AtlasUnexpectedAnswer' });
      expect(await ask(handler)).toEqual({ document });
      expect(atlas.counters.connections).toBe(2);
    });

    test('a document instead of an access token', async () => {
      secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'a', clientSecret: 'b' });
      atlas.serviceAccounts = { a: 'b' };
      const handler = await coldStart();
      answerRaw((response) => response.end(json));
      expect(await ask(handler)).toMatchObject({ failure: 'AtlasUnexpectedAnswer' });
      atlas.intercept = undefined;
      expect(await ask(handler)).toEqual({ document });
      expect(atlas.counters.connections).toBe(2);
    });
  });

  describe('a 408', () => {
    const timeOut = (response: ServerResponse) => response.writeHead(408, { connection: 'close' }).end();

    test('to a question on a pooled connection: it is asked again on a new one, in the same attempt', async () => {
      const handler = await coldStart();
      await ask(handler);
      const output = captureOutput();
      answerRaw((response, _socket, count) => (count === 1 ? timeOut(response) : response.end(json)));
      expect(await ask(handler)).toEqual({ document });
      expect(output.lines()).toMatchObject([{ attempts: 1, AtlasRequests: 2 }]);
      expect(atlas.counters.connections).toBe(2);
    });

    test('on a new connection as well is AtlasUnexpectedAnswer', async () => {
      const handler = await coldStart();
      await ask(handler);
      answerRaw(timeOut);
      expect(await ask(handler)).toMatchObject({
        failure: 'AtlasUnexpectedAnswer',
        detail: expect.stringContaining('(408)'),
      });
      expect(atlas.counters.requests).toBe(2 + 2);
    });
  });

  test('pooled, when the clock is set back: how long they were idle is not known, and a new one is used', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const handler = await coldStart();
    await ask(handler);
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.connections).toBe(2);
  });

  test('pooled and still good: the same one is used', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const handler = await coldStart();
    await ask(handler);
    vi.setSystemTime(Date.now() + 2900);
    await ask(handler);
    expect(atlas.counters.connections).toBe(1);
  });
});

// The state of a process is read from /proc, which other systems do not have.
describe.skipIf(!existsSync('/proc/self/stat'))('a frozen process', () => {
  let environment: Awaited<ReturnType<typeof startFrozenProcess>>;
  beforeAll(async () => {
    allIsWell();
    environment = await startFrozenProcess();
  });
  afterAll(() => environment.end());

  test.each<[string, number, 'live' | 'closed' | 'reset']>([
    ['one call, live connections', 1, 'live'],
    ['one call, closed connections', 1, 'closed'],
    ['one call, reset connections', 1, 'reset'],
    ['a burst of 12, live connections', 12, 'live'],
    ['a burst of 12, closed connections', 12, 'closed'],
    ['a burst of 12, reset connections', 12, 'reset'],
  ])('%s: each call is answered after the thaw', async (_, burst, state) => {
    for (let freeze = 0; freeze < 3; freeze += 1) {
      expect(await environment.ask(burst)).toEqual(Array(burst).fill({ document }));
      await environment.freeze();
      const closed: Promise<unknown>[] = [];
      atlas.eachConnection((socket) => {
        if (state === 'live') return;
        closed.push(once(socket, 'close'));
        if (state === 'reset') socket.resetAndDestroy();
        else socket.destroy();
      });
      await Promise.all(closed);
      environment.thaw();
      expect(await environment.ask(burst)).toEqual(Array(burst).fill({ document }));
    }
  });

  describe.each([
    ['before', true],
    ['after', false],
  ])('bytes that came %s the question while it was frozen answer nothing', (_, bytesFirst) => {
    test.each(['a 408', 'a document', 'half a body'] as const)('%s', async (kind) => {
      const send = () => atlas.eachConnection((socket) => socket.write(unasked[kind]));
      expect(await environment.ask(1)).toEqual([{ document }]);
      await environment.freeze();
      if (bytesFirst) send();
      const outcomes = environment.ask(1);
      if (!bytesFirst) send();
      environment.thaw();
      expect(await outcomes).toEqual([{ document }]);
      expect(await environment.ask(1)).toEqual([{ document }]);
    });
  });
});

describe('bodies', () => {
  // What is in a body leaves nothing behind: one environment reads them all.
  let handler: LambdaHandler;
  beforeAll(async () => {
    allIsWell();
    handler = await coldStart();
  });

  const padded = (bytes: number) => JSON.stringify({ ...entity, padding: 'x'.repeat(bytes) });
  const limit = 16 * 1024;
  const good: [string, Record<string, string>, string | Buffer][] = [
    ['gzip', { 'content-encoding': 'gzip' }, zlib.gzipSync(json)],
    ['deflate', { 'content-encoding': 'deflate' }, zlib.deflateSync(json)],
    ['deflate without its wrapper', { 'content-encoding': 'deflate' }, zlib.deflateRawSync(json)],
    ['x-gzip', { 'content-encoding': 'x-gzip' }, zlib.gzipSync(json)],
    ['identity', { 'content-encoding': 'identity' }, json],
    ['an empty encoding', { 'content-encoding': '' }, json],
    ['a byte order mark', {}, `\uFEFF${json}`],
    ['a charset that is not true', { 'content-type': 'application/json;charset=ISO-8859-1' }, json],
    ['a content type that is not true', { 'content-type': 'text/html' }, json],
    ['no content type', {}, json],
    ['bytes that are no UTF-8', {}, Buffer.from(JSON.stringify({ ...entity, note: 'é' }), 'latin1')],
    ['almost 16 KiB', {}, padded(limit - 1000)],
    ['keys that come twice: the last counts', {}, `{"status":"FAILED",${json.slice(1)}`],
    [
      '__proto__',
      {},
      `{"__proto__":{"status":"COMPLETE","lagTimeSeconds":1},"constructor":{"prototype":{}},${json.slice(1)}`,
    ],
  ];
  test.each(good)('%s: the answer is read', async (_, headers, body) => {
    atlas.reply = () => ({ status: 200, headers, body });
    expect(await ask(handler)).toEqual({ document });
  });

  const bad: [string, Record<string, string>, string | Buffer][] = [
    [
      'bytes that become more than 16 KiB as text',
      {},
      Buffer.from(JSON.stringify({ ...entity, status: '\u00ff'.repeat(100_000) }), 'latin1'),
    ],
    ['more than 16 KiB', {}, padded(limit)],
    ['a gzip that grows beyond 16 KiB', { 'content-encoding': 'gzip' }, zlib.gzipSync(padded(400 * limit))],
    ['a deflate that grows beyond 16 KiB', { 'content-encoding': 'deflate' }, zlib.deflateSync(padded(400 * limit))],
    ['a gzip that is none', { 'content-encoding': 'gzip' }, json],
    ['a gzip that was cut', { 'content-encoding': 'gzip' }, zlib.gzipSync(json).subarray(0, 30)],
    ['an encoding that nobody asked for', { 'content-encoding': 'br' }, zlib.brotliCompressSync(json)],
    ['cut JSON', {}, json.slice(0, -1)],
    ['JSON in UTF-16', {}, Buffer.from(json, 'utf16le')],
    ['two documents', {}, json + json],
    ['a million brackets', {}, '['.repeat(1_000_000)],
    ['an object nested 100,000 deep', {}, `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    ['__proto__ only', {}, `{"__proto__":{"_id":"${liveMigrationId}","status":"COMPLETE"}}`],
  ];
  test.each(bad)('%s: the answer is not understood', async (name, headers, body) => {
    atlas.reply = () => ({ status: 200, headers, body });
    expect(await ask(handler)).toMatchObject({
      failure: 'AtlasUnexpectedAnswer',
      ...(name.includes('16 KiB') ? { detail: expect.stringContaining('is longer than 16 KiB') } : {}),
    });
  });

  test('an endless body is cut off after 16 KiB', async () => {
    let sent = 0;
    const chunk = 'x'.repeat(16_384);
    answerRaw((response) => {
      const pump = () => {
        for (let more = true; more && !response.destroyed; sent += chunk.length) more = response.write(chunk);
      };
      response.on('drain', pump);
      pump();
    });
    expect(await ask(await coldStart())).toMatchObject({
      failure: 'AtlasUnexpectedAnswer',
      detail: expect.stringContaining('longer than 16 KiB'),
    });
    expect(sent).toBeGreaterThan(limit);
    // What the sockets' buffers hold was sent as well, some megabytes.
    expect(sent).toBeLessThan(20 * 2 ** 20);
  });

  test('an error keeps its meaning, whatever its body is', async () => {
    atlas.reply = () => ({ status: 503, body: 'x'.repeat(2 * limit) });
    expect(await ask(handler, 'direct', {}, 600)).toMatchObject({ failure: 'AtlasUnavailable' });
  });
});

// Linux alone drops what comes to a full queue, and has more than one address for this machine.
describe.skipIf(process.platform !== 'linux')(
  'an address that never accepts has a second, and the next one answers',
  () => {
    test.each([
      ['Atlas', ['127.0.0.2', '127.0.0.3'], atlas, 'ATLAS_BASE_URL', '/api/atlas/v1.0'],
      ['Secrets Manager', ['127.0.0.2'], secretsManager, 'AWS_ENDPOINT_URL_SECRETS_MANAGER', ''],
    ])('for %s, after %j', async (_, silent, { origin }, variable, path) => {
      const { port } = new URL(origin);
      for (const host of silent) await startSilentPort(host, Number(port));
      const resolve = resolveTo([...silent, '127.0.0.1']);

      setDefaultAutoSelectFamilyAttemptTimeout(250);
      // A busy machine takes longer for the rest.
      const environment = { [variable]: `http://localhost:${port}${path}`, ATLAS_TIMEOUT_MS: '15000' };
      const patient = { 'secret/secrets-manager.ts': { requestMs: 60_000 }, 'secret/store.ts': { readMs: 60_000 } };
      expect(await ask(await coldStart(environment, patient))).toEqual({ document });
      expect(resolve).toHaveBeenCalledOnce();
      expect(getDefaultAutoSelectFamilyAttemptTimeout()).toBe(1000);
    });
  },
);
