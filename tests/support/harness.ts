/**
 * The product as Lambda runs it, beside an embedded Atlas and Secrets Manager: the real handler with the real SDK and
 * real sockets. Tests set fields of the embedded servers and call through the doors.
 *
 * No test waits in real time for a limit of the product, and none depends on how fast the machine is:
 *
 * - What waits for a socket has a limit in the object `limits` of its file. `coldStart` sets it shorter, or longer, before
 *   the function is loaded.
 * - The pauses between attempts end at once after `skipPauses`, which tells how long they were.
 * - Where only timers matter, `vi.useFakeTimers` moves them, but for the pauses.
 * - Chance makes every back-off the shortest one, until a test draws otherwise.
 */

import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';
import { expect, onTestFinished, vi } from 'vitest';
import { startEmbeddedAtlas } from '../../embedded/atlas.ts';
import { demoGroupId, demoIds } from '../../embedded/demo-migrations.ts';
import { functionTimeoutMs, type LambdaHandler, lambdaContext } from '../../embedded/lambda-invoke.ts';
import { startEmbeddedSecretsManager } from '../../embedded/secrets-manager.ts';
import { TaskError } from '../../embedded/step-functions.ts';

/** Nobody wants to read the lines of thousands of invocations. */
const write = process.stdout.write.bind(process.stdout) as (...args: unknown[]) => boolean;
process.stdout.write = (...args: unknown[]) => String(args[0]).startsWith('{"level"') || write(...args);

export const groupId = demoGroupId;
export const liveMigrationId = demoIds.completes;
export const secretId = 'atlas/test';
export const publicKey = 'kqzjwxyv';
export const privateKey = '0a1b2c3d-PRIVATE-KEY-4e5f';

export const atlas = await startEmbeddedAtlas();
export const secretsManager = await startEmbeddedSecretsManager();

export const entity = {
  _id: liveMigrationId,
  status: 'WORKING',
  migrationHosts: ['vm001.example.com'],
  lagTimeSeconds: 42,
  readyForCutover: false,
};

export const document = {
  id: liveMigrationId,
  groupId,
  status: 'WORKING',
  reportedStatus: 'WORKING',
  terminal: false,
  readyForCutover: false,
  lagTimeSeconds: 42,
  migrationHosts: ['vm001.example.com'],
};

export const readEvent = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../../events/${name}.json`, import.meta.url), 'utf8'));

/** Everything as it should be: a key that Atlas knows, a secret that holds it, one migration. */
export function allIsWell() {
  vi.unstubAllEnvs();
  vi.useRealTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  atlas.reset();
  secretsManager.reset();
  atlas.keys[publicKey] = privateKey;
  atlas.projects = { [groupId]: { [liveMigrationId]: () => entity } };
  secretsManager.secrets[secretId] = JSON.stringify({ publicKey, privateKey });
  for (const [name, value] of Object.entries({
    ATLAS_SECRET_ID: secretId,
    ATLAS_BASE_URL: atlas.baseUrl,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    AWS_ACCESS_KEY_ID: 'AKIATESTTESTTESTTEST',
    AWS_SECRET_ACCESS_KEY: 'AWS-SECRET-ACCESS-KEY-of-the-test',
    AWS_SESSION_TOKEN: 'AWS-SESSION-TOKEN-of-the-test',
    AWS_REGION: 'us-east-1',
    // Left empty: the SDK would prefer a profile to the keys above.
    AWS_PROFILE: '',
    // Failures name the remedy where it is not there.
    NODE_EXTRA_CA_CERTS: '',
  })) {
    vi.stubEnv(name, value);
  }
}

/**
 * Lets the pauses between attempts end at once, for environments that start from now on.
 *
 * @returns the milliseconds of each pause, as they come
 */
export function skipPauses(): number[] {
  const pauses: number[] = [];
  const pause = vi.spyOn(timers, 'setTimeout').mockImplementation(async (ms = 0, value) => {
    pauses.push(ms);
    return value as never;
  });
  // The product imports it by its name.
  syncBuiltinESMExports();
  onTestFinished(() => {
    pause.mockRestore();
    syncBuiltinESMExports();
  });
  return pauses;
}

/**
 * For `intercept`, where `vi.useFakeTimers` is in force: the request hangs, and the time that it may take is over at once.
 */
export function hang(ms: number): true {
  setImmediate(() => vi.advanceTimersByTime(ms));
  return true;
}

/**
 * A new execution environment: the function's modules are loaded anew, with the environment as it is now.
 *
 * @param limits other values in the object `limits` of a file, by the file's path in `lib/`
 */
export async function coldStart(
  environment: Record<string, string> = {},
  limits: Record<string, Record<string, number>> = {},
): Promise<LambdaHandler> {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  vi.resetModules();
  for (const [file, values] of Object.entries(limits)) {
    const { limits: known } = await import(/* @vite-ignore */ new URL(`../../lib/${file}`, import.meta.url).href);
    expect(Object.keys(known)).toEqual(expect.arrayContaining(Object.keys(values)));
    Object.assign(known, values);
  }
  // A new environment reads the secret at once. Where a test ended before that read arrived, the next test would count it.
  const { AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint, ATLAS_SECRET_ID: id = '' } = process.env;
  const noRead = new AbortController();
  const isRead = endpoint === secretsManager.origin && !id.includes('{groupId}');
  const firstRead = isRead && secretsManager.nextRead(noRead.signal);
  const { handler } = await import('../../functions/get-live-migration.ts').catch((error) => {
    noRead.abort();
    throw error;
  });
  await firstRead;
  return handler;
}

export type Asked = { groupId?: unknown; liveMigrationId?: unknown; pretty?: string; envelope?: string };

/** What a caller got, whichever door it came through. */
export type Outcome = { document: unknown } | { failure: string; detail: string };

type HttpResult = { statusCode: number; headers: Record<string, string>; body: string };

/** The HTTP answer as it stands, and what it means. */
function readHttp(result: unknown): Outcome & { http: HttpResult } {
  const http = result as HttpResult;
  const body = JSON.parse(http.body);
  expect(http.headers['cache-control']).toBe('no-store');
  if (http.statusCode === 200) {
    expect(http.headers['content-type']).toBe('application/json');
    return { document: body, http };
  }
  expect(http.headers['content-type']).toBe('application/problem+json');
  expect(body.status).toBe(http.statusCode);
  return { failure: body.code, detail: body.detail, http };
}

export async function invokeDirectly(
  handler: LambdaHandler,
  event: unknown,
  timeoutMs = functionTimeoutMs,
): Promise<Outcome> {
  try {
    return { document: await handler(event, lambdaContext(timeoutMs)) };
  } catch (error) {
    const { name, message, stack } = error as Error;
    expect(stack).toBe(`${name}: ${message}`);
    return { failure: name, detail: message };
  }
}

/** The function as a state machine invokes it: what it throws is an error with the failure's name. */
export const asTask =
  (handler: LambdaHandler, timeoutMs = functionTimeoutMs) =>
  async (payload: unknown): Promise<unknown> => {
    try {
      return await handler(payload, lambdaContext(timeoutMs));
    } catch (error) {
      const { name, message } = error as Error;
      throw new TaskError(name, JSON.stringify({ errorType: name, errorMessage: message, trace: [] }));
    }
  };

export async function invokeHttp(handler: LambdaHandler, event: unknown, timeoutMs = functionTimeoutMs) {
  return readHttp(await handler(event, lambdaContext(timeoutMs)));
}

const withFields = (
  name: string,
  { groupId: group = groupId, liveMigrationId: id = liveMigrationId, ...query }: Asked,
) => {
  const event = readEvent(name);
  const many = Object.fromEntries(Object.entries(query).map(([key, value]) => [key, [value]]));
  return {
    ...event,
    pathParameters: { groupId: group, liveMigrationId: id },
    ...(Object.keys(query).length > 0 ? { queryStringParameters: query } : {}),
    ...(name === 'rest-api' && Object.keys(query).length > 0 ? { multiValueQueryStringParameters: many } : {}),
  };
};

/** The ways in. Each takes the same question through an event of its own shape. */
export const doors = {
  'http-api': (handler: LambdaHandler, asked: Asked = {}, timeoutMs?: number) =>
    invokeHttp(handler, withFields('http-api', asked), timeoutMs),
  'rest-api': (handler: LambdaHandler, asked: Asked = {}, timeoutMs?: number) =>
    invokeHttp(handler, withFields('rest-api', asked), timeoutMs),
  direct: (handler: LambdaHandler, asked: Asked = {}, timeoutMs?: number) =>
    invokeDirectly(handler, { ...readEvent('direct'), ...asked }, timeoutMs),
  'step-functions-task': (handler: LambdaHandler, asked: Asked = {}, timeoutMs?: number) =>
    invokeDirectly(handler, { ...readEvent('step-functions-task'), ...asked }, timeoutMs),
};

export type DoorName = keyof typeof doors;
export const doorNames = Object.keys(doors) as DoorName[];

/** Asks through a door and leaves out what only HTTP has. */
export async function ask(
  handler: LambdaHandler,
  door: DoorName = 'direct',
  asked: Asked = {},
  timeoutMs?: number,
): Promise<Outcome> {
  const { http: _, ...outcome } = (await doors[door](handler, asked, timeoutMs)) as Outcome & { http?: unknown };
  return outcome as Outcome;
}

/** Collects what the process writes to standard output and error, the function's lines among it. */
export function captureOutput() {
  const written: string[] = [];
  const take = (chunk: string | Uint8Array) => {
    written.push(String(chunk));
    return true;
  };
  vi.spyOn(process.stdout, 'write').mockImplementation(take as typeof process.stdout.write);
  vi.spyOn(process.stderr, 'write').mockImplementation(take as typeof process.stderr.write);
  return {
    text: () => written.join(''),
    lines: () =>
      written
        .join('')
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}
