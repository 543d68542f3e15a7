/** `npm start` as a new user meets it: what it prints, and what comes of pasting it. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const running: ChildProcess[] = [];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts it, and returns what it has printed when `until` was printed or it ended. */
async function start(args: string[], environment: Record<string, string> = {}, until = 'log lines follow') {
  const child = spawn(process.execPath, ['local/start.ts', ...args], {
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

test('every command that it prints works, and Ctrl-C ends it', { timeout: 30_000 }, async () => {
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
    'LiveMigrationNotFound',
    'ProjectNotFound',
    'InvalidRequest',
    'NEW',
    'NEW',
    'NEW',
  ]);
  expect(answers[0]).toMatchObject({ migrationHosts: ['vm001.example.com'] });
  expect(answers[1]).toMatchObject({ migrationHosts: ['vm001.example.com', 'vm002.example.com'] });
  expect(answers[2]).toMatchObject({ readyForCutover: true });

  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  expect(code).toBe(0);
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

test.each(['port', 'lambda-port'])('a taken --%s is named, with what to do', async (option) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const { child, output } = await start([
    '--port',
    String(await freePort()),
    '--lambda-port',
    String(await freePort()),
    `--${option}`,
    String(port),
  ]);
  expect(child.exitCode).toBe(1);
  expect(output).toMatch(
    new RegExp(`Port ${port} is taken by another program. Choose another one: npm start -- --${option} \\d+`),
  );
  taken.close();
});

test.each([
  [['--port', 'x'], '--port must be a port number'],
  [['--challenge', 'none'], 'There is no challenge "none".'],
  [['4000'], 'There is nothing to do with "4000".'],
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

test('a profile of the user changes nothing, and odd requests end no server', { timeout: 30_000 }, async () => {
  const [port, lambdaPort] = [await freePort(), await freePort()];
  const { output } = await start(['--port', String(port), '--lambda-port', String(lambdaPort)], {
    AWS_PROFILE: 'nosuch',
  });
  const [url = ''] = /http:\/\/localhost:\d+\/groups\S+/.exec(output) ?? [];
  const invoke = (name: string) =>
    fetch(`http://127.0.0.1:${lambdaPort}/2015-03-31/functions/${name}/invocations?Qualifier=%24LATEST`, {
      method: 'POST',
      body: '{}',
    });
  expect((await invoke('%zz')).status).toBe(404);
  expect((await invoke('forgetLiveMigration')).status).toBe(404);
  expect((await invoke('atlas-live-migration-dev-getLiveMigration%3Alive')).status).toBe(200);
  expect((await fetch(url)).status).toBe(200);
});

test('with ATLAS_SECRET_ID it says in the first line that the services are real', async () => {
  const { output } = await start(['--port', String(await freePort())], { ATLAS_SECRET_ID: 'my/secret' }, '\n');
  expect(output).toMatch(/^REAL services: the key is read from the secret my\/secret with your AWS credentials/);
});
