/** The log: one line for each invocation, with everything that an operator needs and nothing that is secret. */

import { AsyncLocalStorage } from 'node:async_hooks';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { lambdaContext } from '../embedded/lambda-invoke.ts';
import { failureNames } from '../lib/core/failure.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  doorNames,
  doors,
  groupId,
  hang,
  invokeDirectly,
  liveMigrationId,
  privateKey,
  publicKey,
  readEvent,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { bringAbout } from './support/scenarios.ts';

beforeEach(allIsWell);

test('the log line says who asked what, how it ended and what it cost', async () => {
  const output = captureOutput();
  const handler = await coldStart();
  const context = lambdaContext();
  await handler(readEvent('http-api'), context);
  await ask(handler);
  const common = {
    level: 'INFO',
    service: 'atlas-live-migration',
    message: 'live migration asked for',
    groupId,
    liveMigrationId,
    outcome: 'Answered',
    attempts: 1,
    atlasStatus: 200,
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    Requests: 1,
    AtlasLatency: expect.any(Number),
    secretMs: expect.any(Number),
    totalMs: expect.any(Number),
  };
  expect(output.lines()).toMatchObject([
    {
      ...common,
      door: 'http-api',
      cold_start: true,
      SecretReads: 1,
      AtlasRequests: 2,
      challengeRequests: 1,
      function_request_id: context.awsRequestId,
    },
    {
      ...common,
      door: 'direct',
      cold_start: false,
      SecretReads: 0,
      secretMs: 0,
      AtlasRequests: 1,
      challengeRequests: 0,
    },
  ]);
});

test('the log line calls one invocation of an environment a cold start, however many begin at once', async () => {
  const output = captureOutput();
  const handler = await coldStart();
  await Promise.all([ask(handler), ask(handler), ask(handler)]);
  const told = output.lines().map((line) => line['cold_start']);
  expect(told.filter((cold) => cold !== undefined).toSorted()).toEqual([false, false, true]);
});

test('the log line tells the attempts, and what the last one met', async () => {
  const output = captureOutput();
  atlas.reply = (_request, count) => (count === 1 ? atlasError(503, 'UNEXPECTED_ERROR') : undefined);
  const handler = await coldStart();
  await ask(handler);
  atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN');
  await ask(handler);
  const [recovered, denied] = output.lines();
  expect(recovered).toMatchObject({ outcome: 'Answered', attempts: 2, atlasStatus: 200 });
  expect(recovered).not.toHaveProperty('atlasErrorCode');
  expect(denied).toMatchObject({
    level: 'ERROR',
    outcome: 'AtlasAccessDenied',
    attempts: 1,
    atlasStatus: 403,
    atlasErrorCode: 'ACCESS_FORBIDDEN',
  });
});

test('the log line says nothing of an answer before the last attempt, which got none', async () => {
  const output = captureOutput();
  atlas.reply = (_request, count) => (count === 1 ? atlasError(503, 'UNEXPECTED_ERROR') : undefined);
  let asked = 0;
  atlas.intercept = ({ headers }) => {
    if (headers.authorization) asked += 1;
    return asked > 1 && hang(4000);
  };
  const handler = await coldStart();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  await ask(handler);
  expect(output.lines()).toMatchObject([{ outcome: 'AtlasTimedOut', attempts: 3 }]);
  expect(output.lines()[0]).not.toHaveProperty('atlasStatus');
  expect(output.lines()[0]).not.toHaveProperty('atlasErrorCode');
});

test('a line that cannot be written changes no answer', async () => {
  const output = captureOutput();
  const handler = await coldStart();
  const written = vi.spyOn(process.stdout, 'write').mockImplementation(() => {
    throw new Error(privateKey);
  });
  expect(await ask(handler)).toEqual({ document });
  atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN');
  expect(await ask(handler)).toMatchObject({ failure: 'AtlasAccessDenied' });
  expect(written).toHaveBeenCalledTimes(2);
  expect(output.text()).not.toContain(privateKey);
});

test('a line is written at once, and as a whole', async () => {
  captureOutput();
  const written: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => written.push(String(chunk)) > 0);
  const handler = await coldStart();
  await Promise.all(Array.from({ length: 20 }, (_, at) => ask(handler, at % 2 ? 'direct' : 'http-api')));
  expect(written).toHaveLength(20);
  for (const line of written) expect(JSON.parse(line)).toMatchObject({ outcome: 'Answered', Requests: 1 });
  for (const line of written) expect(line).toMatch(/^[^\n]+\n$/);
});

describe('the trace', () => {
  const header = (root: string) => `Root=${root};Parent=557abcec3ee5a047;Sampled=1`;

  test('is in the line where there is one', async () => {
    const output = captureOutput();
    const handler = await coldStart();
    await ask(handler);
    vi.stubEnv('_X_AMZN_TRACE_ID', header('1-5759e988-bd862e3fe1be46a994272793'));
    await ask(handler);
    expect(output.lines().map((line) => line['xray_trace_id'])).toEqual([
      undefined,
      '1-5759e988-bd862e3fe1be46a994272793',
    ]);
  });

  test('is that of each invocation where several run side by side', async () => {
    const output = captureOutput();
    vi.stubEnv('_X_AMZN_TRACE_ID', header('1-of-the-process'));
    // As AWS's runtime client provides it in an environment of several invocations at a time.
    const running = new AsyncLocalStorage<string>();
    const { InvokeStore } = globalThis.awslambda;
    Object.assign(globalThis.awslambda, { InvokeStore: { getXRayTraceId: () => running.getStore() } });
    onTestFinished(() => void Object.assign(globalThis.awslambda, { InvokeStore }));
    const handler = await coldStart();
    const roots = ['1-one', '1-two', '1-three'];
    const ids = roots.map((_, at) => `${at}`.repeat(24));
    atlas.projects = { [groupId]: (id) => () => ({ _id: id, status: 'NEW' }) };
    await Promise.all(
      roots.map((root, at) => running.run(header(root), () => ask(handler, 'direct', { liveMigrationId: ids[at] }))),
    );
    const told = output.lines().map((line) => [line['liveMigrationId'], line['xray_trace_id']]);
    expect(Object.fromEntries(told)).toEqual(Object.fromEntries(roots.map((root, at) => [ids[at], root])));
  });
});

test('the place of an error that came through many calls is cut, so that no line is longer than 16 kB', async () => {
  const output = captureOutput();
  vi.spyOn(Math, 'random').mockImplementation(() => {
    const error = new RangeError('deep');
    error.name = 'N'.repeat(50_000);
    error.stack = `RangeError: deep\n${Array.from({ length: 5000 }, (_, at) => `    at call${at} (/var/task/ü.js:1:1)`).join('\n')}`;
    throw error;
  });
  atlas.reply = () => atlasError(503, null);
  expect(await ask(await coldStart())).toMatchObject({ failure: 'InternalError' });
  expect(Buffer.byteLength(output.text())).toBeLessThan(16_384);
  const [line] = output.lines();
  const frames = line?.['frames'] as string[];
  expect(frames.length).toBeGreaterThan(100);
  expect(frames[0]).toBe('at call0 (/var/task/ü.js:1:1)');
  expect(line).toMatchObject({ outcome: 'InternalError', Requests: 1 });
});

test('the log line says nothing of ids that were not valid: they may be anything', async () => {
  const output = captureOutput();
  await ask(await coldStart(), 'direct', { groupId: 'a-password-by-mistake' });
  expect(output.lines()).toMatchObject([{ outcome: 'InvalidRequest', level: 'INFO', attempts: 0 }]);
  expect(output.text()).not.toContain('a-password-by-mistake');
});

test('the log line of an unexpected error names the place and not the words', async () => {
  const output = captureOutput();
  vi.spyOn(Math, 'random').mockImplementation(() => {
    throw new RangeError('words with a secret');
  });
  atlas.reply = () => atlasError(503, null);
  const handler = await coldStart();
  const { http } = await doors['http-api'](handler);
  expect(http.statusCode).toBe(500);
  expect(http.body).toContain('An unexpected error happened in this service; see its log.');
  expect(output.lines()).toMatchObject([
    {
      level: 'ERROR',
      outcome: 'InternalError',
      errorName: 'RangeError',
      frames: expect.arrayContaining([expect.stringContaining('lib/atlas/client')]),
    },
  ]);
  expect(http.body + output.text()).not.toContain('words with a secret');
});

describe.each(doorNames)('no secret is shown through %s', (door) => {
  test.each(failureNames)('with %s', async (name) => {
    const output = captureOutput();
    // The server sees what must not be seen anywhere else.
    const secrets = new Set([
      privateKey,
      publicKey,
      'UPSTREAM-BODY',
      'AWS-SECRET-ACCESS-KEY',
      'AWS-SESSION-TOKEN',
      'made up',
    ]);
    bringAbout(name);
    const { intercept } = atlas;
    atlas.intercept = (request, response) => {
      const { authorization } = request.headers;
      if (authorization) secrets.add(authorization).add(/response="(\w+)"/.exec(authorization)?.[1] ?? authorization);
      return intercept?.(request, response) ?? false;
    };
    const handler = await coldStart();
    const outcome = await doors[door](handler, name === 'InvalidRequest' ? { groupId: 'x' } : {});
    expect(outcome).toMatchObject({ failure: name });
    expect(output.lines()).toMatchObject([{ outcome: name }]);
    const shown = JSON.stringify(outcome) + output.text();
    for (const secret of secrets) expect(shown).not.toContain(secret);
  });
});

test('no service account is shown, nor its token', async () => {
  const output = captureOutput();
  secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'mdb_sa_id_1', clientSecret: 'mdb_sa_sk_SECRET' });
  atlas.serviceAccounts['mdb_sa_id_1'] = 'mdb_sa_sk_SECRET';
  const handler = await coldStart();
  const outcomes = [await ask(handler)];
  atlas.reply = () => atlasError(403, 'ACCESS_FORBIDDEN');
  outcomes.push(await ask(handler));
  atlas.serviceAccounts = {};
  atlas.revokeTokens();
  outcomes.push(await ask(handler));
  expect(outcomes).toMatchObject([
    { document: {} },
    { failure: 'AtlasAccessDenied' },
    { failure: 'AtlasCredentialsRejected' },
  ]);
  const basic = Buffer.from('mdb_sa_id_1:mdb_sa_sk_SECRET').toString('base64');
  for (const secret of ['mdb_sa_sk_SECRET', 'token-1-of', basic])
    expect(JSON.stringify(outcomes) + output.text()).not.toContain(secret);
});

test('each invocation has one line, in a burst too', async () => {
  const output = captureOutput();
  const handler = await coldStart();
  await Promise.all(Array.from({ length: 20 }, () => invokeDirectly(handler, readEvent('direct'))));
  expect(output.lines()).toHaveLength(20);
  expect(new Set(output.lines().map((line) => line['function_request_id'])).size).toBe(20);
});
