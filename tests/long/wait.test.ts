/** `npm run wait` as a program: with other options than in the short set, and until it is interrupted. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { demoProjects } from '../../embedded/demo-migrations.ts';
import type { Served } from '../../embedded/http-server.ts';
import { startInvokeEndpoint } from '../../embedded/lambda-invoke.ts';
import { allIsWell, atlas, coldStart, groupId, liveMigrationId } from '../support/harness.ts';
import { root } from '../support/npm-start.ts';

let endpoint: Served;
beforeAll(async () => {
  allIsWell();
  endpoint = await startInvokeEndpoint(await coldStart());
});
beforeEach(() => {
  allIsWell();
  atlas.projects = demoProjects;
});
afterAll(() => endpoint.close());

const start = (args: string[], environment: Record<string, string> = {}) =>
  spawn(process.execPath, ['scripts/wait.ts', ...args], { cwd: root, env: { ...process.env, ...environment } });

async function ended(child: ReturnType<typeof start>) {
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code, out, err };
}

test('without ids, a demo migration of npm start begins; and another one, when it is run again', async () => {
  const follow = async () => {
    const args = ['--poll-seconds', '1', '--give-up-after-seconds', '1', '--endpoint', endpoint.origin];
    const { code, err } = await ended(start(args));
    expect(code).toBe(5);
    const [, id, next] =
      /^\d:\d\d A demo migration begins: ([0-9a-f]{24})\. It lasts two minutes\.\n\d:\d\d (\w{24}) NEW, /.exec(err) ??
      [];
    expect(next).toBe(id);
    return id;
  };
  const [one, other] = await Promise.all([follow(), follow()]);
  expect(one).toMatch(/^[0-9a-f]{24}$/);
  expect(other).toMatch(/^[0-9a-f]{24}$/);
  expect(other).not.toBe(one);
});

test('a deployed one, until it is ready for cutover', async () => {
  atlas.projects = { [groupId]: { [liveMigrationId]: () => ({ status: 'WORKING', readyForCutover: true }) } };
  const args = ['--stage', 'prod', '--group-id', groupId, liveMigrationId, '--until', 'READY_FOR_CUTOVER'];
  const { code, out, err } = await ended(start(args, { AWS_ENDPOINT_URL_LAMBDA: endpoint.origin }));
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ status: 'WORKING', readyForCutover: true });
  expect(err).toMatch(/ 1 live migration: 1 ready for cutover\n$/);
});

test('Ctrl-C is 130', async () => {
  const child = start([liveMigrationId, '--endpoint', endpoint.origin]);
  const end = ended(child);
  await once(child.stderr, 'data');
  child.kill('SIGINT');
  expect(await end).toMatchObject({
    code: 130,
    err: expect.stringContaining('interrupted; the migration itself goes on'),
  });
});
