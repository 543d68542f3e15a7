/** `npm start` as a new user meets it: what it prints, and what comes of pasting it. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { maxBodyBytes } from '../embedded/http-server.ts';
import { failureNames } from '../lib/core/failure.ts';
import { commandsOf, portsAreKnown, portsOf, start } from './support/npm-start.ts';

const nowhere = 'http://127.0.0.1:1';
let running: Awaited<ReturnType<typeof start>>;

/** On a machine whose settings would end it, did they reach the function. */
beforeAll(async () => {
  const home = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const settings = [
    'use_fips_endpoint = true',
    'use_dualstack_endpoint = true',
    'ignore_configured_endpoint_urls = true',
  ];
  for (const name of ['config', 'credentials'])
    writeFileSync(join(home, name), ['[default]', ...settings, ''].join('\n'));
  running = await start(['--freshness', '1', '--cors-origins', 'https://app.example.com'], {
    // Neither readable nor writable, for root neither.
    HOME: '/dev/null/home',
    AWS_PROFILE: 'nosuch',
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    AWS_SESSION_TOKEN: 'of-the-user',
    AWS_USE_FIPS_ENDPOINT: 'true',
    AWS_USE_DUALSTACK_ENDPOINT: 'true',
    AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true',
    AWS_ENDPOINT_URL: nowhere,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: nowhere,
    NODE_USE_ENV_PROXY: '1',
    ...Object.fromEntries(
      ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy'].map((name) => [name, nowhere]),
    ),
  });
  rmSync(home, { recursive: true });
});

/** All but InternalError, which can't be brought about. */
const failures = failureNames.filter((name) => name !== 'InternalError');

test('every command that it offers works, each failure among them', async () => {
  expect(running.output).toMatch(/^Everything is embedded: no account, no key and no network is needed\.\n/);
  const commands = await commandsOf(running);
  // Each failure stands under its name.
  expect(commands.slice(-failures.length).map(({ comment }) => comment)).toEqual(failures);
  const answers: { code?: string; status?: unknown }[] = [];
  // tests/long/start.test.ts waits for the time-out.
  for (const { command } of commands.filter(({ comment }) => comment !== 'AtlasTimedOut')) {
    const { stdout } = await promisify(execFile)('sh', ['-c', command.replace('curl ', 'curl -sS ')]);
    answers.push(JSON.parse(stdout));
  }
  expect(answers.map(({ code, status }) => code ?? status)).toEqual([
    'NEW',
    'NEW',
    'WORKING',
    'NEW',
    'NEW',
    'NEW',
    'NEW',
    ...failures.filter((name) => name !== 'AtlasTimedOut'),
  ]);
  expect(answers.find(({ code }) => code === 'AtlasRateLimited')).toMatchObject({ retryAfterSeconds: 30 });
  expect(answers.find(({ code }) => code === 'AtlasAccessDenied')).toMatchObject({
    detail: expect.stringContaining('203.0.113.7'),
  });
  expect(answers[0]).toMatchObject({ migrationHosts: ['vm001.example.com'] });
  expect(answers[1]).toMatchObject({ migrationHosts: ['vm001.example.com', 'vm002.example.com'] });
  expect(answers[2]).toMatchObject({ readyForCutover: true });
});

type Local = { servers: { url: string }[]; paths: Record<string, { get: { responses: object } }> };

test('the document of the reference is the contract without what AWS adds', async () => {
  const local = (await (await fetch(`${running.http}/openapi.json`)).json()) as Local;
  expect(local.servers.map(({ url }) => url)).toEqual(['/']);
  expect(local).not.toHaveProperty('security');
  expect(JSON.stringify(local)).not.toMatch(/sigv4|GatewayMessage"\}/);
  const { responses } = Object.values(local.paths)[0]?.get ?? { responses: {} };
  expect(Object.keys(responses)).toEqual(['200', '400', '404', '429', '500', '502', '503', '504']);
});

test('the first screen has at most 20 lines of 80 columns, and begins with what runs', async () => {
  const lines = running.output.split('\n');
  expect(lines.length).toBeLessThanOrEqual(21);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  expect(lines[0]).toBe('Everything is embedded: no account, no key and no network is needed.');
  // What it prints works as it stands, in one shell.
  const [, script = ''] = /\n {2}(BASE=.*?)\n\n/s.exec(running.output) ?? [];
  const { stdout } = await promisify(execFile)('sh', ['-c', script.replaceAll('curl ', 'curl -sS ')]);
  expect(stdout).toMatch(/^\{"id":"7e68e12770616e75e6df43d0".*"code":"AtlasRateLimited"/);
});

const invoke = (name: string, payload: unknown = {}) =>
  fetch(`${running.invoke}/2015-03-31/functions/${name}/invocations?Qualifier=%24LATEST`, {
    method: 'POST',
    body: JSON.stringify(payload),
  });

test('a failure of a direct invocation has its name', async () => {
  const answer = await invoke('getLiveMigration', { groupId: '0'.repeat(24), liveMigrationId: '0'.repeat(24) });
  expect(answer.headers.get('x-amz-function-error')).toBe('Unhandled');
  expect(await answer.json()).toMatchObject({ errorType: 'ProjectNotFound' });
});

test('odd requests do not end the invoke endpoint', async () => {
  expect((await invoke('%zz')).status).toBe(404);
  expect((await invoke('forgetLiveMigration')).status).toBe(404);
  for (const liveMigrationId of [{ toString: 1 }, ['x'], 7])
    expect((await invoke('getLiveMigration', { liveMigrationId })).status).toBe(200);
  expect((await invoke('atlas-live-migration-dev-getLiveMigration%3Alive')).status).toBe(200);
});

describe.skipIf(!portsAreKnown)('at every port that it opens', () => {
  /** @param head the request line and the headers, in which PORT is the server's own */
  async function answerOf(port: number, head: string[], body = '') {
    const socket = connect(port, '127.0.0.1');
    socket.end(`${head.join('\r\n').replaceAll('PORT', String(port))}\r\nconnection: close\r\n\r\n${body}`);
    return text(socket);
  }
  const answers = (head: string[], body?: string) =>
    Promise.all(portsOf(running.child.pid).map((port) => answerOf(port, head, body)));
  const loopback = 'host: 127.0.0.1:PORT';

  test('it is one of those that it prints', () => {
    const printed = [...running.output.matchAll(/^ {2}.* {2}http:\/\/127\.0\.0\.1:(\d+)/gm)].map(([, port]) =>
      Number(port),
    );
    expect(new Set(portsOf(running.child.pid))).toEqual(new Set(printed));
    expect(new Set(printed).size).toBe(5);
  });

  const [host, page] = [/must be 127\.0\.0\.1, localhost or \[::1\]/, /A web page of another origin may not ask/];
  test.each<[string, number, RegExp, string[]]>([
    ['a name that leads here', 403, host, ['host: attacker.example:PORT']],
    ['another port', 403, host, ['host: 127.0.0.1:1']],
    ['no port', 403, host, ['host: localhost']],
    ['no Host', 403, host, []],
    ['an address that is not this one', 403, host, ['host: 127.0.0.1.attacker.example:PORT']],
    ['another origin', 403, page, [loopback, 'origin: https://attacker.example']],
    ['another port of this machine', 403, page, [loopback, 'origin: http://127.0.0.1:1']],
    ['another name of this machine', 403, page, ['host: localhost:PORT', 'origin: http://127.0.0.1:PORT']],
    ['an origin that is hidden', 403, page, [loopback, 'origin: null']],
    ['an embedding page of another site', 403, page, [loopback, 'sec-fetch-site: cross-site']],
    ['an embedding page of another port', 403, page, [loopback, 'sec-fetch-site: same-site']],
    ['a body that is too long', 413, /6291456 bytes at most/, [loopback, `content-length: ${maxBodyBytes + 1}`]],
  ])('%s is refused', async (_, status, sentence, headers) => {
    const given = [
      ...(await answers(['GET / HTTP/1.1', ...headers])),
      ...(await answers(['POST /2015-03-31/functions/getLiveMigration/invocations HTTP/1.0', ...headers])),
    ];
    for (const answer of given) {
      expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(answer).toMatch(sentence);
      expect(answer).not.toMatch(/access-control-/i);
    }
  });

  test.each([
    [['host: LOCALHOST:PORT']],
    [['host: [::1]:PORT', 'sec-fetch-site: none']],
    [[loopback, 'origin: http://127.0.0.1:PORT', 'sec-fetch-site: same-origin']],
  ])('%j is from this machine, and gets no CORS header', async (headers) => {
    for (const answer of await answers(['GET /nothing HTTP/1.1', ...headers])) {
      expect(answer).not.toMatch(host);
      expect(answer).not.toMatch(page);
      expect(answer).not.toMatch(/access-control-/i);
    }
  });

  test.each([
    ['secretsmanager.GetSecretValue', { SecretId: `atlas/${demoGroupId}` }],
    ['DynamoDB_20120810.Scan', { TableName: 'atlas-live-migration-dev-answers' }],
  ])('%s with keys of another program reveals nothing', async (target, input) => {
    const body = JSON.stringify(input);
    const given = await answers(
      [
        'POST / HTTP/1.1',
        loopback,
        `x-amz-target: ${target}`,
        'x-amz-date: 20261128T000000Z',
        'content-type: application/x-amz-json-1.0',
        'authorization: AWS4-HMAC-SHA256 Credential=embedded/20261128/us-east-1/x/aws4_request, SignedHeaders=host, Signature=0',
        `content-length: ${body.length}`,
      ],
      body,
    );
    expect(given.filter((answer) => answer.includes('only the program that started it'))).toHaveLength(2);
    expect(given.filter((answer) => answer.startsWith('HTTP/1.1 200'))).toEqual([]);
  });

  test.each(['GET / HTTP/1.1', 'GET // HTTP/1.1', 'POST / HTTP/1.1', 'OPTIONS * HTTP/1.1'])(
    '%s ends nothing',
    async (line) => {
      for (const answer of await answers([line, loopback])) expect(answer).toMatch(/^HTTP\/1.1 \d+ /);
      expect(portsOf(running.child.pid)).toHaveLength(5);
    },
  );
});

/** The table in docs/callers.md, local column. */
test('the local HTTP API differs from API Gateway as docs/callers.md says', async () => {
  const url = `${running.http}/groups/${demoGroupId}/liveMigrations/${demoIds.completes}`;
  const statusOf = async (target: string, init: RequestInit = {}) => (await fetch(target, init)).status;
  const preflight = (origin: string) =>
    fetch(url, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET' } });
  expect({
    signature: await statusOf(url),
    HEAD: await statusOf(url, { method: 'HEAD' }),
    OPTIONS: await statusOf(url, { method: 'OPTIONS' }),
    preflight: (await preflight('https://app.example.com')).status,
    'foreign preflight': (await preflight('https://attacker.example')).status,
    slash: await statusOf(`${url}/`),
    POST: await statusOf(url, { method: 'POST' }),
    unknown: await statusOf(new URL('/nothing', url).href),
  }).toEqual({
    signature: 200,
    HEAD: 200,
    OPTIONS: 404,
    preflight: 204,
    'foreign preflight': 403,
    slash: 200,
    POST: 404,
    unknown: 404,
  });
  const fromPage = await fetch(url, { headers: { origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' } });
  expect(fromPage.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
  expect(fromPage.headers.get('access-control-allow-credentials')).toBeNull();
  expect((await fetch(url)).headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(await (await fetch(new URL('/nothing', url))).json()).toMatchObject({
    error: 'Serverless-offline: route not found.',
  });
});

test('a port that is taken is named at once, with a command that works', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const { child, output } = await start(['--port', String(port)]);
  expect(child.exitCode).toBe(1);
  expect(output).toMatch(
    new RegExp(
      `^Port ${port} is taken by another program\\. This command would work: npm start -- --port \\d+ --lambda-port 0\n$`,
    ),
  );
});

test('a wrong argument is refused with the usage', async () => {
  const { child, output } = await start(['--port', 'x']);
  expect(child.exitCode).toBe(2);
  expect(output).toContain('Usage: npm start');
  expect(output).toContain('--port must be a port number from 0 to 65535.');
});

test('Ctrl-C ends it', async () => {
  running.child.kill('SIGINT');
  expect(await once(running.child, 'exit')).toEqual([0, null]);
});
