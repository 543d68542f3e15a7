/** `npm start` as a new user meets it: what it prints, and what comes of pasting it. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import playwright from 'playwright-core';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { freePort, serve } from '../embedded/http-server.ts';
import { failureNames } from '../lib/core/failure.ts';

const root = join(import.meta.dirname, '..');
const running: ChildProcess[] = [];

/** Starts it, and returns what it has printed when `until` was printed or it ended. */
async function start(args: string[], environment: Record<string, string> = {}, until = 'log lines follow') {
  const child = spawn(process.execPath, ['scripts/start.ts', ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', ...environment },
  });
  running.push(child);
  let output = '';
  await new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        if (output.includes(until)) resolve();
      });
    }
    child.on('close', () => resolve());
  });
  return { child, output };
}

afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

test('--freshness shares answers: twenty callers at once are one question to Atlas', { timeout: 60_000 }, async () => {
  const args = ['--port', String(await freePort()), '--lambda-port', String(await freePort()), '--freshness', '5'];
  const { output } = await start(args);
  expect(output).toMatch(/embedded DynamoDB +http:\/\/127\.0\.0\.1:\d+ \(answers are shared for 5 s\)/);
  const [, before = '', twenty = '', after = ''] =
    /Twenty callers at once.*?\n\n +(.*)\n +(.*)\n +(.*)\n/.exec(output) ?? [];
  const run = async (command: string) => (await promisify(execFile)('sh', ['-c', command])).stdout;
  expect(JSON.parse(await run(before))).toMatchObject({ requests: 0 });
  expect(await run(twenty)).toBe(`${'200 '.repeat(20)}\n`);
  expect(JSON.parse(await run(after))).toMatchObject({ authenticated: 1 });
});

test('every command that it prints works, each failure among them, and Ctrl-C ends it', {
  timeout: 60_000,
}, async () => {
  const [port, lambdaPort] = [await freePort(), await freePort()];
  const { child, output } = await start(['--port', String(port), '--lambda-port', String(lambdaPort)]);
  expect(output).toMatch(/^Everything is embedded: no account, no key and no network is needed\.\n/);

  const commands = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('curl '));
  const answers: { code?: string; status?: unknown }[] = [];
  for (const command of commands) {
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
    ...failureNames.filter((name) => name !== 'InternalError'),
  ]);
  // Each stands under its name.
  expect([...output.matchAll(/# (\w+)\n {2}curl/g)].map(([, name]) => name)).toEqual(
    failureNames.filter((name) => name !== 'InternalError'),
  );
  expect(answers.find(({ code }) => code === 'AtlasRateLimited')).toMatchObject({ retryAfterSeconds: 30 });
  expect(answers.find(({ code }) => code === 'AtlasAccessDenied')).toMatchObject({
    detail: expect.stringContaining('203.0.113.7'),
  });
  expect(answers[0]).toMatchObject({ migrationHosts: ['vm001.example.com'] });
  expect(answers[1]).toMatchObject({ migrationHosts: ['vm001.example.com', 'vm002.example.com'] });
  expect(answers[2]).toMatchObject({ readyForCutover: true });

  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
});

describe('the API reference at the root of the local API', () => {
  /** Its origin, and a running `npm start` behind it. */
  async function open(environment: Record<string, string> = {}) {
    const port = await freePort();
    await start(['--port', String(port), '--lambda-port', String(await freePort())], environment);
    return `http://127.0.0.1:${port}`;
  }
  type Local = {
    servers: { url: string }[];
    security?: unknown;
    components: object;
    paths: Record<
      string,
      { get: { parameters: { examples?: Record<string, { value: string }> }[]; responses: object } }
    >;
  };

  test('its document is the contract without what AWS adds, and its examples bring about each failure', async () => {
    const origin = await open();
    const local = (await (await fetch(`${origin}/openapi.json`)).json()) as Local;
    expect(local.servers.map(({ url }) => url)).toEqual(['/']);
    expect(local).not.toHaveProperty('security');
    expect(JSON.stringify(local)).not.toMatch(/sigv4|GatewayMessage"\}/);
    const { parameters, responses } = Object.values(local.paths)[0]?.get ?? { parameters: [], responses: {} };
    expect(Object.keys(responses)).toEqual(['200', '400', '404', '429', '500', '502', '503', '504']);
    const [groups = {}, migrations = {}] = parameters.map(({ examples }) => examples);
    const demo = { group: groups['demo']?.value, migration: migrations['completes']?.value };
    const got = failureNames
      .filter((name) => name !== 'InternalError')
      .map(async (name) => {
        const group = groups[name]?.value ?? demo.group;
        const migration = migrations[name]?.value ?? demo.migration;
        const answer = await fetch(`${origin}/groups/${group}/liveMigrations/${migration}`);
        return ((await answer.json()) as { code: string }).code;
      });
    expect(await Promise.all(got)).toEqual(failureNames.filter((name) => name !== 'InternalError'));
  });

  test('no request ends it, and neither does a client that goes away', async () => {
    const origin = await open();
    const { host, port } = new URL(origin);
    const question = '/groups/5f1b2c3d4e5f6a7b8c9d0e1f/liveMigrations/fa11ed000000000000000504';
    const raw = async (text: string) => {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write(`${text}\r\nhost: ${host}\r\n\r\n`);
      return socket;
    };
    const slow = await raw(`GET ${question} HTTP/1.1`);
    slow.destroy();
    const gone = Array.from({ length: 20 }, () => raw(`GET ${question.replace('504', '403')} HTTP/1.1`));
    for (const socket of await Promise.all(gone)) socket.destroy();
    (await raw('GET // HTTP/1.1')).destroy();
    // Wait for as long as the abandoned question takes.
    expect((await fetch(`${origin}${question}`)).status).toBe(504);
    expect((await fetch(`${origin}/?x=1`)).status).toBe(200);
    expect((await fetch(`${origin}/openapi.json`, { method: 'HEAD' })).status).toBe(200);
  });

  const browser = ['chromium', 'chromium-browser', 'google-chrome']
    .flatMap((name) => (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name)))
    .find((path) => existsSync(path));

  describe.skipIf(!browser)('in a browser (chromium or google-chrome)', () => {
    test.each([
      ['wide', 1280],
      ['narrow', 360],
    ])('%s: it loads without an error and without any other host, and a question can be tried', async (_, width) => {
      const origin = await open();
      const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync'];
      const chromium = await playwright.chromium.launch({ executablePath: browser ?? '', args });
      try {
        const page = await chromium.newPage({ viewport: { width, height: 900 } });
        const errors: string[] = [];
        const hosts = new Set<string>();
        page.on('pageerror', ({ message }) => errors.push(message));
        page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
        page.on('request', (request) => hosts.add(new URL(request.url()).origin));
        const loaded = await page.goto(`${origin}/`);
        expect(loaded?.headers()['content-security-policy']).toMatch(/^default-src 'self';/);
        await page.getByRole('button', { name: 'Execute' }).click();
        const answer = page.locator('.live-responses-table .response');
        await answer.waitFor();
        expect(await answer.innerText()).toContain('"status": "NEW"');
        expect(errors).toEqual([]);

        await page.locator('.parameters select').nth(1).selectOption({ label: 'AtlasAccessDenied' });
        await page.getByRole('button', { name: 'Execute' }).click();
        await answer.getByText('203.0.113.7').first().waitFor();
        expect([...hosts]).toEqual([origin]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
      } finally {
        await chromium.close();
      }
    });
  });
});

test('a failure of a direct invocation has its name', { timeout: 30_000 }, async () => {
  const [port, lambdaPort] = [await freePort(), await freePort()];
  await start(['--port', String(port), '--lambda-port', String(lambdaPort), '--challenge', 'op']);
  const url = `http://127.0.0.1:${lambdaPort}/2015-03-31/functions/getLiveMigration/invocations`;
  const answer = await fetch(url, {
    method: 'POST',
    body: JSON.stringify({ groupId: '0'.repeat(24), liveMigrationId: '0'.repeat(24) }),
  });
  expect(answer.headers.get('x-amz-function-error')).toBe('Unhandled');
  expect(await answer.json()).toMatchObject({ errorType: 'ProjectNotFound' });
});

describe('ports that are taken are named at once, with a command that works', () => {
  async function takePort() {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { server, port: (server.address() as AddressInfo).port };
  }

  test.each(['port', 'lambda-port'])('--%s', async (option) => {
    const { server, port } = await takePort();
    const other = option === 'port' ? 'lambda-port' : 'port';
    const free = await freePort();
    const { child, output } = await start([`--${option}`, String(port), `--${other}`, String(free)]);
    expect(child.exitCode).toBe(1);
    expect(output).toContain(`Port ${port} is taken by another program. This command would work: npm start -- `);
    expect(output).toContain(`--${other} ${free}`);
    server.close();
  });

  test('both, and the other options are kept', async () => {
    const [one, other] = [await takePort(), await takePort()];
    const args = ['--port', String(one.port), '--challenge', 'op', '--lambda-port', String(other.port)];
    const refused = await start(args);
    expect(refused.child.exitCode).toBe(1);
    expect(refused.output).toContain(`Port ${one.port} is taken by another program. Port ${other.port} is taken by`);
    const [, command = ''] = /This command would work: npm start -- (.*)$/m.exec(refused.output) ?? [];
    expect(command).toMatch(/^--challenge op --port \d+ --lambda-port \d+$/);
    const { output } = await start(command.split(' '));
    expect(output).toContain('(challenge: op)');
    expect(output).toContain('log lines follow');
    for (const { server } of [one, other]) server.close();
  });
});

describe('npm start ends', () => {
  /** As `npm start` itself is run, in a shell of npm's. */
  async function npmStart(until: string) {
    const [port, lambdaPort] = [await freePort(), await freePort()];
    const args = ['start', '--', '--port', String(port), '--lambda-port', String(lambdaPort)];
    const npm = spawn('npm', args, { cwd: root, detached: true });
    running.push(npm);
    let output = '';
    for await (const chunk of npm.stdout) {
      output += chunk;
      if (output.includes(until)) break;
    }
    return { npm, port };
  }
  const isClosed = async (port: number) => {
    const socket = connect(port, '127.0.0.1');
    const closed = await once(socket, 'connect').then(
      () => false,
      () => true,
    );
    socket.destroy();
    return closed;
  };

  test('when npm is killed: nothing listens any more', async () => {
    const { npm, port } = await npmStart('log lines follow');
    npm.kill('SIGTERM');
    await once(npm, 'exit');
    await expect.poll(() => isClosed(port), { timeout: 20_000 }).toBe(true);
  });

  test('when the reader of its output goes away: without a stack trace', async () => {
    const { stdout, stderr } = await promisify(execFile)(
      'sh',
      [
        '-c',
        'node scripts/start.ts "$@" | head -1',
        'sh',
        '--port',
        String(await freePort()),
        '--lambda-port',
        String(await freePort()),
      ],
      { cwd: root, env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH']}` } },
    );
    expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(/^Everything is embedded.*\n$/), stderr: '' });
  });
});

test.each([
  [['--port', 'x'], '--port must be a port number'],
  [['--freshness', '61'], '--freshness must be a whole number from 0 to 60.'],
  [['--challenge', 'none'], 'Unknown challenge "none".'],
  [['4000'], 'Unknown argument "4000".'],
  [['--port', '3100', '--lambda-port', '3100'], 'must be two ports'],
  [['--nonsense'], "Unknown option '--nonsense'"],
])('%j is refused with the usage', async (args, message) => {
  const { child, output } = await start(args);
  expect(child.exitCode).toBe(2);
  expect(output).toContain(message);
  expect(output).toContain('Usage: npm start');
});

test('a variable of the function that is not valid is named, and nothing else is shown', async () => {
  const { child, output } = await start(
    ['--port', String(await freePort()), '--lambda-port', String(await freePort())],
    { ATLAS_TIMEOUT_MS: 'soon' },
  );
  expect(child.exitCode).toBe(1);
  expect(output).toMatch(/is needed\.\nThis function's environment is not valid: ATLAS_TIMEOUT_MS must be .*\.\n$/);
});

test('with a secret of AWS, the region is that of the SDK, and must be named', async () => {
  const args = ['--port', String(await freePort()), '--lambda-port', String(await freePort())];
  const real = { ATLAS_SECRET_ID: 'atlas/real', HOME: '/dev/null/home' };
  const { child, output } = await start(args, real);
  expect(child.exitCode).toBe(1);
  expect(output).toBe('Name the region of the secret: set AWS_REGION.\n');
});

test('with a secret of AWS, the region of the profile is used at every door', async () => {
  const regions: (string | undefined)[] = [];
  const secretsManager = await serve((request, response) => {
    regions.push(/\/\d{8}\/([\w-]+)\/secretsmanager\//.exec(request.headers.authorization ?? '')?.[1]);
    response.writeHead(400).end('{"__type":"ResourceNotFoundException"}');
  });
  onTestFinished(secretsManager.close);
  const home = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const profile = ['region = eu-central-1', 'aws_access_key_id = local', 'aws_secret_access_key = local'];
  writeFileSync(join(home, 'config'), ['[profile team]', ...profile, ''].join('\n'));
  const [port, lambdaPort] = [await freePort(), await freePort()];
  const { output } = await start(['--port', String(port), '--lambda-port', String(lambdaPort)], {
    ATLAS_SECRET_ID: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:real-abcdef',
    AWS_PROFILE: 'team',
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    // As in the network of a company.
    NO_PROXY: '10.0.0.0/8,.corp.example.com',
  });
  expect(output).toMatch(/^REAL services: .* the secret arn:\S+ in eu-central-1 .*\n/);
  expect(output).not.toContain('embedded');
  const ids = { groupId: demoGroupId, liveMigrationId: demoIds.completes };
  const answers = [
    await fetch(`http://127.0.0.1:${port}/groups/${ids.groupId}/liveMigrations/${ids.liveMigrationId}`),
    await fetch(`http://127.0.0.1:${lambdaPort}/2015-03-31/functions/getLiveMigration/invocations`, {
      method: 'POST',
      body: JSON.stringify(ids),
    }),
  ];
  for (const answer of answers) expect(await answer.text()).toContain('SecretInvalid');
  expect(new Set(regions)).toEqual(new Set(['eu-central-1']));
});

test('nothing of the machine reaches the function, and odd requests end no server', async () => {
  const [port, lambdaPort] = [await freePort(), await freePort()];
  const home = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const settings = [
    'use_fips_endpoint = true',
    'use_dualstack_endpoint = true',
    'ignore_configured_endpoint_urls = true',
  ];
  for (const name of ['config', 'credentials'])
    writeFileSync(join(home, name), ['[default]', ...settings, ''].join('\n'));
  const nowhere = 'http://127.0.0.1:1';
  const { output } = await start(['--port', String(port), '--lambda-port', String(lambdaPort)], {
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
    ...Object.fromEntries(
      ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy'].map((name) => [name, nowhere]),
    ),
  });
  rmSync(home, { recursive: true });
  const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\/groups\S+/.exec(output) ?? [];
  const invoke = (name: string) =>
    fetch(`http://127.0.0.1:${lambdaPort}/2015-03-31/functions/${name}/invocations?Qualifier=%24LATEST`, {
      method: 'POST',
      body: '{}',
    });
  expect((await invoke('%zz')).status).toBe(404);
  const odd = connect(lambdaPort, '127.0.0.1');
  await once(odd, 'connect');
  odd.end('GET // HTTP/1.1\r\nhost: x\r\n\r\n');
  expect(String((await once(odd, 'data'))[0])).toContain('404 Not Found');
  expect((await invoke('forgetLiveMigration')).status).toBe(404);
  expect((await invoke('atlas-live-migration-dev-getLiveMigration%3Alive')).status).toBe(200);
  expect((await fetch(url)).status).toBe(200);
});

/** The table in docs/callers.md, local column. */
test('the local HTTP API differs from API Gateway as docs/callers.md says', async () => {
  const [port, lambdaPort] = [await freePort(), await freePort()];
  const { output } = await start(['--port', String(port), '--lambda-port', String(lambdaPort)]);
  const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\/groups\S+/.exec(output) ?? [];
  const statusOf = async (target: string, init: RequestInit = {}) => (await fetch(target, init)).status;
  const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'GET' };
  expect({
    signature: await statusOf(url),
    HEAD: await statusOf(url, { method: 'HEAD' }),
    OPTIONS: await statusOf(url, { method: 'OPTIONS' }),
    preflight: await statusOf(url, { method: 'OPTIONS', headers: preflight }),
    slash: await statusOf(`${url}/`),
    POST: await statusOf(url, { method: 'POST' }),
    unknown: await statusOf(new URL('/nothing', url).href),
  }).toEqual({ signature: 200, HEAD: 200, OPTIONS: 404, preflight: 200, slash: 200, POST: 404, unknown: 404 });
  expect((await fetch(url)).headers.get('content-type')).toBe('application/json; charset=utf-8');
  expect(await (await fetch(new URL('/nothing', url))).json()).toMatchObject({
    error: 'Serverless-offline: route not found.',
  });
});
