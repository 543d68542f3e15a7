/** `npm start` with each option, on machines of many kinds, and until its end. */

import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import playwright from 'playwright-core';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { demoGroupId, demoIds } from '../../embedded/demo-migrations.ts';
import { failuresOnDemand } from '../../embedded/failures-on-demand.ts';
import { serve } from '../../embedded/http-server.ts';
import { commandsOf, portsAreKnown, portsOf, root, start, untilReady } from '../support/npm-start.ts';

const run = async (command: string) =>
  (await promisify(execFile)('sh', ['-c', command.replace('curl ', 'curl -sS ')])).stdout;

async function takePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

const browser = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name)))
  .find((path) => existsSync(path));
const launch = (...more: string[]) =>
  playwright.chromium.launch({
    executablePath: browser ?? '',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-sync', ...more],
  });

describe('as npm runs it, in a shell', () => {
  let npm: ReturnType<typeof spawn>;
  let running: Awaited<ReturnType<typeof untilReady>>;
  beforeAll(async () => {
    npm = spawn('npm', ['start', '--', '--port', '0', '--lambda-port', '0'], { cwd: root });
    running = await untilReady(npm);
  });

  test('no request ends it, and neither does a client that goes away', async () => {
    const { host, port } = new URL(running.http);
    const command = (await commandsOf(running)).find(({ comment }) => comment === 'AtlasTimedOut')?.command ?? '';
    const question = new URL(command.replace('curl ', '')).pathname;
    const raw = async (text: string) => {
      const socket = connect(Number(port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write(`${text}\r\nhost: ${host}\r\n\r\n`);
      return socket;
    };
    const slow = await raw(`GET ${question} HTTP/1.1`);
    slow.destroy();
    // This one takes as long as the abandoned question, which came before.
    expect(JSON.parse(await run(command))).toMatchObject({ status: 504, code: 'AtlasTimedOut' });
    // Afterwards, since each loads an environment of its own, and the function has its limits for the secret as well.
    const gone = Array.from({ length: 5 }, () => raw(`GET ${question.replace('504', '403')} HTTP/1.1`));
    for (const socket of await Promise.all(gone)) socket.destroy();
    (await raw('GET // HTTP/1.1')).destroy();
    expect((await fetch(`${running.http}/?x=1`)).status).toBe(200);
    expect((await fetch(`${running.http}/openapi.json`, { method: 'HEAD' })).status).toBe(200);
  });

  describe.skipIf(!browser)('the reference in a browser (chromium or google-chrome)', () => {
    test.each([
      ['wide', 1280],
      ['narrow', 390],
      ['very narrow', 360],
    ])('%s: it loads without an error and without any other host, and a question can be tried', async (_, width) => {
      const chromium = await launch();
      try {
        const page = await chromium.newPage({ viewport: { width, height: 900 } });
        const errors: string[] = [];
        const hosts = new Set<string>();
        page.on('pageerror', ({ message }) => errors.push(message));
        page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
        page.on('request', (request) => hosts.add(new URL(request.url()).origin));
        const loaded = await page.goto(`${running.http}/`);
        expect(loaded?.headers()['content-security-policy']).toMatch(/^default-src 'self';/);
        const execute = page.getByRole('button', { name: 'Execute' });
        await execute.waitFor();
        const { y = 0, height = 0 } = (await execute.boundingBox()) ?? {};
        if (width > 1000) expect(y + height).toBeLessThan(900);
        await execute.click();
        const answer = page.locator('.live-responses-table .response');
        await answer.waitFor();
        expect(await answer.innerText()).toContain(`"id": "${demoIds.completes}"`);
        expect(errors).toEqual([]);

        // Whatever was chosen before, a failure that is chosen is the one that comes.
        for (const name of [
          'SecretInvalid',
          'AtlasAccessDenied',
          'ProjectNotFound',
          'InvalidRequest',
          'AtlasRateLimited',
        ]) {
          await page.getByLabel('Ask for').selectOption({ label: name });
          await page.getByRole('button', { name: 'Execute' }).click();
          await answer.getByText(name).first().waitFor();
        }
        await page.getByLabel('Ask for').selectOption({ label: 'a live migration that expires' });
        await page.getByRole('button', { name: 'Execute' }).click();
        await answer.getByText(demoIds.expires).first().waitFor();
        expect([...hosts]).toEqual([running.http]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
      } finally {
        await chromium.close();
      }
    });
  });

  test('it ends when npm is killed: nothing listens any more', async () => {
    const sockets = [running.http, running.invoke].map((origin) => connect(Number(new URL(origin).port), '127.0.0.1'));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    // Whether with an error or without.
    const closed = Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.on('error', () => undefined).on('close', resolve))),
    );
    npm.kill('SIGTERM');
    await closed;
  });
});

describe.skipIf(!browser || !portsAreKnown)('web pages in the same browser (chromium or google-chrome)', () => {
  test('read nothing and ask nothing, at any port and by any name, unless their origin is allowed', async () => {
    const startSite = async () => {
      const site = await serve((_, response) => response.setHeader('content-type', 'text/html').end('A page.'));
      onTestFinished(site.close);
      return { ip: site.origin, name: site.origin.replace('127.0.0.1', 'localhost') };
    };
    const [other, { name: allowed }] = [await startSite(), await startSite()];
    const { child, output, http, invoke } = await start(['--freshness', '5', '--cors-origins', allowed]);
    const question = `${http}/groups/${demoGroupId}/liveMigrations/${demoIds.completes}`;
    const [, atlas = ''] = /embedded Atlas +(\S+)/.exec(output) ?? [];
    const asked = async () => ((await (await fetch(`${atlas}/counters`)).json()) as { requests: number }).requests;
    const body = JSON.stringify({ groupId: demoGroupId, liveMigrationId: demoIds.completes });
    const invocation = `${invoke}/2015-03-31/functions/getLiveMigration/invocations`;
    const scan = JSON.stringify({ TableName: 'atlas-live-migration-dev-answers' });
    const headers = { 'x-amz-target': 'DynamoDB_20120810.Scan', 'content-type': 'application/x-amz-json-1.0' };

    const chromium = await launch('--host-resolver-rules=MAP rebound.example 127.0.0.1');
    try {
      const page = await chromium.newPage();
      const read = (url: string, init: Record<string, unknown> = {}) =>
        page.evaluate(
          ([url, init]) =>
            fetch(url, init).then(
              (answer) => answer.text(),
              ({ message }: Error) => message,
            ),
          [url, init] as const,
        );
      const ports = portsOf(child.pid);
      expect(ports).toHaveLength(5);

      // Another port of the same site, and another site.
      for (const origin of [other.ip, other.name]) {
        await page.goto(origin);
        for (const url of [question, ...ports.map((port) => `http://127.0.0.1:${port}/`)]) {
          expect(await read(url)).toBe('Failed to fetch');
          expect(await read(url, { method: 'POST', headers, body: scan })).toBe('Failed to fetch');
        }
        // The browser sends these without asking first, and lets the page know nothing of the answer.
        expect(await read(invocation, { method: 'POST', body, mode: 'no-cors' })).toBe('');
        expect(await read(question, { mode: 'no-cors' })).toBe('');
        await page.setContent(`<iframe src="${question}"></iframe><img src="${question}">`);
      }
      for (const port of ports) {
        const answer = await page.goto(`http://rebound.example:${port}/`);
        expect(await answer?.text()).toContain('The Host of a request must be');
      }
      expect(await asked()).toBe(0);

      await page.goto(allowed);
      expect(await read(question)).toContain(demoIds.completes);
      expect(await asked()).toBeGreaterThan(0);
    } finally {
      await chromium.close();
    }
  });
});

const hasScript = spawnSync('script', ['--version']).status === 0;

describe.skipIf(!hasScript)('on a terminal (which the program script makes)', () => {
  /** @returns what it has shown so far, without the carriage returns of a terminal, and with ⎋ for ESC */
  async function startOnTerminal(columns: number, environment: Record<string, string> = {}) {
    const program = `stty cols ${columns} rows 24; exec '${process.execPath}' scripts/start.ts --port 0 --lambda-port 0`;
    const { NO_COLOR: _, ...env } = process.env;
    const child = spawn('script', ['-qefc', program, '/dev/null'], {
      cwd: root,
      env: { ...env, TERM: 'xterm', ...environment },
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk).replaceAll('\r\n', '\n').replaceAll('\u001b', '⎋')));
    const shows = async (text: string | RegExp) => {
      const isThere = () => (typeof text === 'string' ? output.includes(text) : text.test(output));
      while (!isThere()) await once(child.stdout, 'data');
    };
    onTestFinished(() => void child.kill('SIGKILL'));
    await shows('Keys: ');
    const http = /HTTP API +(\S+)/.exec(output)?.[1] ?? '';
    const ask = (id: string) => fetch(`${http}/groups/${demoGroupId}/liveMigrations/${id}`);
    return { child, shows, ask, output: () => output };
  }
  const failing = failuresOnDemand.AtlasAccessDenied.liveMigrationId;
  /** What is left on the screen of lines that were written over. */
  const written = (text: string) => text.split('⎋[K');

  test('80 columns: the first screen, a short line for each request, and the keys', async () => {
    const { child, shows, ask, output } = await startOnTerminal(80);
    const lines = output().trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(20);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines.at(-1)).toBe('Keys: h all commands, l full log lines, o open the page, q or Ctrl-C quit.');

    await ask(demoIds.completes);
    await shows(/\n\d\d:\d\d:\d\d http {3}7e68e127…43d0 200 NEW {2}\d+ ms\n/);
    await ask(failing);
    await shows(/⎋\[31m\d\d:\d\d:\d\d http {3}fa11ed00…0403 502 AtlasAccessDenied {2}\d+ ms⎋\[39m\n/);
    await ask(demoIds.completes);
    await shows('×2');
    expect(written(output()).at(-1)).toMatch(/^\d\d:\d\d:\d\d http {3}7e68e127…43d0 200 NEW {2}\d+ ms {2}×2⎋\[2B\r$/);
    expect(output()).not.toContain('{"level"');

    child.stdin.write('l');
    await shows("The function's log lines follow.");
    await ask(failing);
    await shows('{"level":"ERROR"');
    child.stdin.write('h');
    await shows('# SecretInvalid');
    child.stdin.write('q');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('60 columns and NO_COLOR: no line of a request is broken or coloured, and Ctrl-C ends it', async () => {
    const { child, shows, ask, output } = await startOnTerminal(60, { NO_COLOR: '1' });
    await ask(failing);
    await shows('AtlasAccessDenied');
    const shown = output().slice(output().indexOf('Keys: ')).split('\n').slice(1);
    for (const line of shown) expect(line).toMatch(/^[^⎋]{0,59}$/);
    // What is pasted is no key, and Ctrl-C counts wherever it stands.
    child.stdin.write('__proto__\u0003\u0003');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

test('--log short in a pipe: a line for each new answer, and none of the function', async () => {
  const { child, output, http } = await start(['--log', 'short']);
  expect(output).toContain('A short line for each request follows.');
  let printed = '';
  child.stdout.on('data', (chunk) => (printed += chunk));
  const ask = (id: string) => fetch(`${http}/groups/${demoGroupId}/liveMigrations/${id}`);
  for (const id of [demoIds.expires, demoIds.expires, failuresOnDemand.LiveMigrationNotFound.liveMigrationId])
    await ask(id);
  while (!printed.includes('NotFound')) await once(child.stdout, 'data');
  expect(printed.replace(/\d+ ms|\d\d:\d\d:\d\d/g, 'x')).toBe(
    'x http   7e68e127…43d2 200 WORKING, ready for cutover  x\nx http   fa11ed00…0404 404 LiveMigrationNotFound  x\n',
  );
});

describe('where both ports are taken, the command that would work', () => {
  let running: Awaited<ReturnType<typeof start>>;

  test('keeps the other options', async () => {
    const [port, lambdaPort] = [await takePort(), await takePort()];
    const other = ['--challenge', 'op', '--freshness', '5', '--cors-origins', 'https://a.example'];
    const refused = await start(['--port', String(port), ...other, '--lambda-port', String(lambdaPort)]);
    expect(refused.child.exitCode).toBe(1);
    expect(refused.output).toContain(`Port ${port} is taken by another program. Port ${lambdaPort} is taken by`);
    const [, command = ''] = /This command would work: npm start -- (.*)$/m.exec(refused.output) ?? [];
    expect(command).toMatch(
      /^--challenge op --freshness 5 --cors-origins 'https:\/\/a\.example' --port \d+ --lambda-port \d+$/,
    );
    expect(command).not.toContain(String(port));
    expect(command).not.toContain(String(lambdaPort));
    // Other tests may take these ports meanwhile.
    running = await start(
      command
        .replaceAll("'", '')
        .replace(/port \d+/g, 'port 0')
        .split(' '),
    );
    expect(running.output).toContain('(challenge: op)');
    expect(running.output).toContain('log lines follow');
  });

  test('--freshness shares answers: callers at once are one question to Atlas', async () => {
    const { output, http } = running;
    expect(output).toMatch(/embedded DynamoDB +http:\/\/127\.0\.0\.1:\d+ \(answers are shared for 5 s\)/);
    const [, atlas = ''] = /embedded Atlas +(\S+)/.exec(output) ?? [];
    const question = `${http}/groups/${demoGroupId}/liveMigrations/${demoIds.completes}`;
    // Each is an environment of its own, which takes long to load.
    const answers = await Promise.all(Array.from({ length: 5 }, () => fetch(question)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(200));
    expect(await (await fetch(`${atlas}/counters`)).json()).toMatchObject({ authenticated: 1 });
  });
});

test('it ends when the reader of its output goes away: without a stack trace', async () => {
  const command = 'node scripts/start.ts --port 0 --lambda-port 0 | head -1';
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', command], {
    cwd: root,
    env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH']}` },
  });
  expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(/^Everything is embedded.*\n$/), stderr: '' });
});

test('a variable of the function that is not valid is named, and nothing else is shown', async () => {
  const { child, output } = await start([], { ATLAS_TIMEOUT_MS: 'soon' });
  expect(child.exitCode).toBe(1);
  expect(output).toMatch(/is needed\.\nThis function's environment is not valid: ATLAS_TIMEOUT_MS must be .*\.\n$/);
});

test('what serverless refuses ends it', async () => {
  const { child, output } = await start([], { ATLAS_SECRET_ID: 'not a name', AWS_REGION: 'us-east-1' });
  expect(child.exitCode).toBe(1);
  expect(output).toContain('atlasSecretId must be the name or ARN of a secret');
});

test('with a secret of AWS, the region is that of the SDK, and must be named', async () => {
  const { child, output } = await start([], { ATLAS_SECRET_ID: 'atlas/real', HOME: '/dev/null/home' });
  expect(child.exitCode).toBe(1);
  expect(output).toBe('Name the region of the secret: set AWS_REGION.\n');
});

test('with a secret of AWS, the region of the profile is used at every door, and what AWS answers cannot command the terminal', async () => {
  const regions: (string | undefined)[] = [];
  const secretsManager = await serve((request, response) => {
    regions.push(/\/\d{8}\/([\w-]+)\/secretsmanager\//.exec(request.headers.authorization ?? '')?.[1]);
    response.writeHead(400).end('{"__type":"NotFound\u009b2JException"}');
  });
  onTestFinished(secretsManager.close);
  const home = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const profile = ['region = eu-central-1', 'aws_access_key_id = local', 'aws_secret_access_key = local'];
  writeFileSync(join(home, 'config'), ['[profile team]', ...profile, ''].join('\n'));
  const { child, output, http, invoke } = await start([], {
    ATLAS_SECRET_ID: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:real-abcdef',
    AWS_PROFILE: 'team',
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    // As in the network of a company.
    NO_PROXY: '10.0.0.0/8,.corp.example.com',
  });
  expect(output).toMatch(/^REAL services: .* the secret arn:\S+ in eu-central-1 .*\n/);
  expect(output).not.toContain('embedded');
  let printed = '';
  child.stdout.on('data', (chunk) => (printed += chunk));
  const ids = { groupId: demoGroupId, liveMigrationId: demoIds.completes };
  const answers = [
    await fetch(`${http}/groups/${ids.groupId}/liveMigrations/${ids.liveMigrationId}`),
    await fetch(`${invoke}/2015-03-31/functions/getLiveMigration/invocations`, {
      method: 'POST',
      body: JSON.stringify(ids),
    }),
  ];
  for (const answer of answers) expect(await answer.text()).toContain('SecretInvalid');
  expect(new Set(regions)).toEqual(new Set(['eu-central-1']));
  while (printed.split('\n').length < 3) await once(child.stdout, 'data');
  const [first = '', second = ''] = printed.split('\n');
  for (const line of [first, second]) {
    expect(line).not.toContain('\u009b');
    expect(JSON.parse(line)).toHaveProperty('detail', expect.stringContaining('\u009b2J'));
  }
});
