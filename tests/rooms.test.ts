/** The direction of imports is the architecture: the linter refuses a core that knows what stands around it. */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

/** A project of its own with this project's rules, and nothing in it but a file of the core. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  mkdirSync(join(folder, 'lib/core'), { recursive: true });
  cpSync(join(root, 'biome.json'), join(folder, 'biome.json'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function lint(module: string) {
  writeFileSync(join(folder, 'lib/core/file.ts'), `import { x } from '${module}';\n\nexport const y = x;\n`);
  const args = ['lint', '--vcs-enabled=false', '--error-on-warnings', 'lib/core/file.ts'];
  return spawnSync(join(root, 'node_modules/.bin/biome'), args, { cwd: folder, encoding: 'utf8' });
}

test.each([
  '../atlas/http-client.ts',
  '../secret/store.ts',
  '../lambda/doors.ts',
  '../../embedded/atlas.ts',
  '../../functions/get-live-migration.ts',
  'node:http',
  '@middy/core',
  '@aws-sdk/client-secrets-manager',
  'digest-fetch',
])('the core may not import %s', (module) => {
  expect(lint(module)).toMatchObject({ status: 1, stderr: expect.stringContaining('noRestrictedImports') });
});

test.each(['./failure.ts', '../json.ts', '#contract'])('the core may import %s', (module) => {
  expect(lint(module)).toMatchObject({ status: 0 });
});

test('no file may import one that imports it, not even a type', () => {
  const write = (name: string, other: string) =>
    writeFileSync(
      join(folder, `lib/core/${name}.ts`),
      `import type { T } from './${other}.ts';\n\nexport type U = T;\n`,
    );
  write('one', 'other');
  write('other', 'one');
  const args = ['lint', '--vcs-enabled=false', 'lib/core'];
  const { status, stderr } = spawnSync(join(root, 'node_modules/.bin/biome'), args, { cwd: folder, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('noImportCycles') });
});
