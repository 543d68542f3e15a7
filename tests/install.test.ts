/** What an incomplete installation says: one sentence with the way out, and no stack trace. */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  for (const file of ['scripts/installed.js', 'contract/make-types.js', 'package.json']) {
    cpSync(join(root, file), join(folder, file));
  }
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(cwd: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

test('without npm ci, programs say what installs the packages', () => {
  expect(run(folder, 'scripts/installed.js')).toEqual({
    status: 1,
    output: 'The packages are not installed; this installs them: npm ci\n',
  });
});

test('NODE_ENV=production npm ci succeeds and says what it left out; programs say how to get it', () => {
  mkdirSync(join(folder, 'node_modules/@middy/core'), { recursive: true });
  const leftOut = /^The development packages were left out .*: npm ci --include=dev\n$/;
  expect(run(folder, 'contract/make-types.js')).toEqual({ status: 0, output: expect.stringMatching(leftOut) });
  expect(run(folder, 'scripts/installed.js')).toEqual({ status: 1, output: expect.stringMatching(leftOut) });
});

test("with ignore-scripts and an older Node.js, programs say how to get the project's own", () => {
  const old = run(root, '--no-experimental-strip-types', 'scripts/installed.js');
  expect(old).toEqual({
    status: 1,
    output: expect.stringMatching(/^Node\.js v\S+ .*: npm ci --ignore-scripts=false\n$/),
  });
});

test('serverless says on an older Node.js which one runs it', () => {
  const { status, output } = run(root, '--no-experimental-strip-types', 'deploy/serverless.cjs');
  expect(status).toBe(1);
  expect(output).toMatch(/^Error: Node\.js v\S+ does not run TypeScript\. `npx serverless` .*$/m);
});

test('a whole installation says nothing', () => {
  expect(run(root, 'scripts/installed.js')).toEqual({ status: 0, output: '' });
});

test('the installation script of the API reference reports nothing: npm before 11.16 runs it', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['report.js'], {
    cwd: join(root, 'node_modules/@scarf/scarf'),
    // As npm sets it for installation scripts.
    env: { ...process.env, INIT_CWD: root, SCARF_VERBOSE: 'true' },
    encoding: 'utf8',
  });
  expect({ status, output: stdout + stderr }).toEqual({
    status: 0,
    output: expect.stringContaining('User has opted out'),
  });
});

test('each program that npm runs is checked first', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const programs = Object.entries(scripts).filter(([, command]) => command.includes('.ts') || command.includes('tsc'));
  expect(programs.map(([name]) => name)).toEqual([
    'start',
    'wait',
    'smoke',
    'contract',
    'template',
    'release',
    'release:notes',
    'check',
    'bench',
    'crowd',
    'soak',
  ]);
  for (const [, command] of programs) expect(command).toMatch(/^node (--import \.\/)?scripts\/installed\.js /);
});
