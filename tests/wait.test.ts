/** `npm run wait`: what it shows, and what its exit codes tell a script. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { demoProjects } from '../embedded/demo-migrations.ts';
import type { Served } from '../embedded/http-server.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { allIsWell, atlas, coldStart, groupId, liveMigrationId } from './support/harness.ts';

let endpoint: Served;
beforeAll(async () => {
  allIsWell();
  endpoint = await startInvokeEndpoint(await coldStart());
});
beforeEach(allIsWell);
afterAll(() => endpoint.close());

/** Atlas says one thing after the other, the last one for ever. */
const atlasSays = (...answers: object[]) => {
  atlas.reply = (_request, count) => ({
    status: 200,
    body: { _id: liveMigrationId, ...answers[Math.min(count, answers.length) - 1] },
  });
};

function start(args: string[]): ChildProcess & { text: { out: string; err: string } } {
  const child = spawn(process.execPath, ['scripts/wait.ts', ...args], { cwd: join(import.meta.dirname, '..') });
  const text = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    text.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    text.err += chunk;
  });
  return Object.assign(child, { text });
}

async function wait(...args: string[]) {
  const child = start([groupId, liveMigrationId, '--poll-seconds', '1', '--endpoint', endpoint.origin, ...args]);
  const [code] = await once(child, 'close');
  return { code, ...child.text };
}

test('success is 0: plain lines in a pipe, and the document alone on standard output', async () => {
  atlasSays({ status: 'WORKING', lagTimeSeconds: 7, readyForCutover: true }, { status: 'COMPLETE' });
  const { code, out, err } = await wait();
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ id: liveMigrationId, status: 'COMPLETE' });
  expect(err.replace(/^\d+:\d\d {2}/gm, '').split('\n')).toEqual([
    'WORKING  lag 7 s  ready for cutover: yes',
    'event: start → WORKING, ready for cutover: yes',
    'COMPLETE  lag not known  ready for cutover: not known',
    'event: WORKING → COMPLETE, ready for cutover: not known',
    'done',
    '',
  ]);
});

test('without ids, a demo migration of npm start begins; and another one, when it is run again', async () => {
  atlas.projects = demoProjects;
  const follow = async () => {
    const child = start(['--poll-seconds', '1', '--give-up-after-seconds', '1', '--endpoint', endpoint.origin]);
    const [code] = await once(child, 'close');
    expect(code).toBe(5);
    const [first, second] = child.text.err.split('\n');
    expect(second).toMatch(/^0:0\d {2}NEW {2}/);
    return /^A demo migration begins: (\w{24})\. It lasts two minutes\.$/.exec(first ?? '')?.[1];
  };
  const [one, other] = [await follow(), await follow()];
  expect(one).toMatch(/^[0-9a-f]{24}$/);
  expect(other).toMatch(/^[0-9a-f]{24}$/);
  expect(other).not.toBe(one);
});

test('ready for cutover is 0 where that was waited for', async () => {
  atlasSays({ status: 'WORKING', readyForCutover: true });
  expect(await wait('--until', 'READY_FOR_CUTOVER')).toMatchObject({ code: 0 });
});

test.each([
  ['FAILED', 3, 'LiveMigrationFailed'],
  ['EXPIRED', 4, 'LiveMigrationExpired'],
])('%s is %i, with the document', async (status, expected, name) => {
  atlasSays({ status });
  const { code, out, err } = await wait();
  expect(code).toBe(expected);
  expect(JSON.parse(out)).toMatchObject({ status });
  expect(err).toContain(name);
});

test('giving up is 5', async () => {
  atlasSays({ status: 'WORKING' });
  expect(await wait('--give-up-after-seconds', '1')).toMatchObject({
    code: 5,
    out: '',
    err: expect.stringContaining('LiveMigrationWaitTimedOut'),
  });
});

test('a failure of the adapter is 1, under its own name', async () => {
  atlas.projects = {};
  expect(await wait()).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('ProjectNotFound: Atlas does not know project'),
  });
});

test('nobody there is 1, and says what to do', async () => {
  expect(await wait('--endpoint', 'http://127.0.0.1:1')).toMatchObject({
    code: 1,
    err: expect.stringContaining('Is npm start running?'),
  });
});

test('Ctrl-C is 130', async () => {
  atlasSays({ status: 'WORKING' });
  const child = start([groupId, liveMigrationId, '--endpoint', endpoint.origin]);
  await once(child.stderr ?? child, 'data');
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect(code).toBe(130);
  expect(child.text.err).toContain('interrupted; the migration itself goes on');
});

test('another server is 1, and says so', async () => {
  expect(await wait('--endpoint', atlas.origin)).toMatchObject({
    code: 1,
    err: expect.stringContaining('no Lambda invoke endpoint'),
  });
});

test.each([
  [[groupId]],
  [[groupId, liveMigrationId, 'more']],
  [['--nonsense']],
  [[groupId, liveMigrationId, '--poll-seconds', '1.5']],
  [[groupId, liveMigrationId, '--until', 'FOO']],
  [[groupId, liveMigrationId, '--endpoint', 'foo']],
])('%j is 2, with the usage', async (args) => {
  const child = start(args);
  const [code] = await once(child, 'close');
  expect(code).toBe(2);
  expect(child.text.err).toContain('Usage: npm run wait');
});
