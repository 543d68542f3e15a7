/** The direction of imports is the architecture: the linter refuses a core that knows what stands around it. */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');

const refused = [
  '../atlas/http-client.ts',
  '../secret/store.ts',
  '../lambda/doors.ts',
  '../../embedded/atlas.ts',
  '../../functions/get-live-migration.ts',
  'node:http',
  '@middy/core',
  '@aws-sdk/client-secrets-manager',
  'digest-fetch',
];
const allowed = ['./failure.ts', '../json.ts', '#contract'];

/** What the linter says of a project of its own with this project's rules, and nothing in it but files of the core. */
let said: string;
beforeAll(() => {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  mkdirSync(join(folder, 'lib/core'), { recursive: true });
  cpSync(join(root, 'biome.json'), join(folder, 'biome.json'));
  const write = (name: string, text: string) => writeFileSync(join(folder, `lib/core/${name}.ts`), text);
  for (const [index, module] of [...refused, ...allowed].entries())
    write(`file-${index}`, `import { x } from '${module}';\n\nexport const y = x;\n`);
  write('one', "import type { T } from './other.ts';\n\nexport type U = T;\n");
  write('other', "import type { U } from './one.ts';\n\nexport type T = U;\n");
  const args = ['lint', '--vcs-enabled=false', '--max-diagnostics=none', '--reporter=github', 'lib/core'];
  said = spawnSync(join(root, 'node_modules/.bin/biome'), args, { cwd: folder, encoding: 'utf8' }).stdout;
  rmSync(folder, { recursive: true });
});

/** The rules that a file breaks. */
const broken = (name: string) =>
  [...said.matchAll(/^::error title=([\w/]+),file=[^,]*\/([\w-]+)\.ts/gm)]
    .filter(([, , file]) => file === name)
    .map(([, rule]) => rule);

test.each(refused)('the core may not import %s', (module) => {
  expect(broken(`file-${refused.indexOf(module)}`)).toEqual(['lint/style/noRestrictedImports']);
});

test.each(allowed)('the core may import %s', (module) => {
  expect(broken(`file-${refused.length + allowed.indexOf(module)}`)).toEqual([]);
});

test('no file may import one that imports it, not even a type', () => {
  expect([broken('one'), broken('other')]).toEqual(Array(2).fill(['lint/suspicious/noImportCycles']));
});
