/** `npm run release`: what it makes, and that two machines make the same. */

import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { beforeAll, expect, test } from 'vitest';
import { bundling } from '../../deploy/bundle.ts';
import { packageService, unpack } from '../../scripts/package-service.ts';
import { checkout } from '../support/checkout.ts';

const root = join(import.meta.dirname, '../..');
const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

const release = (folder: string, umask: string, environment: Record<string, string>) =>
  promisify(execFile)('sh', ['-c', `umask ${umask} && npm run -s release`], {
    cwd: folder,
    env: { ...process.env, ...environment },
  });

let made: string;
let other: string;
let warnings: string[];
beforeAll(async () => {
  const [one, two] = [checkout('one'), checkout('another place ü')];
  for (const [folder, entries] of [
    [one, '### Added\n\n- Something.\n'],
    [two, ''],
  ] as const) {
    const path = join(folder, 'CHANGELOG.md');
    const unreleased = /(?<=## \[Unreleased\]\n\n).*?(?=## \[\d)/s;
    writeFileSync(path, readFileSync(path, 'utf8').replace(unreleased, entries));
  }
  const outcomes = await Promise.all([
    release(one, '022', { TZ: 'UTC', LANG: 'C' }),
    release(two, '077', { TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8' }),
  ]);
  warnings = outcomes.map(({ stderr }) => stderr);
  made = join(one, 'dist');
  other = join(two, 'dist');
});

const read = (name: string) => readFileSync(join(made, name));

test('it makes these files, and their sums are right', () => {
  const tarball = `atlas-live-migration-contract-${version}.tgz`;
  const others = ['LICENSES.txt', 'function.zip', 'openapi.json', 'sbom.cdx.json', 'SHA256SUMS'];
  expect(readdirSync(made).sort()).toEqual([...others, tarball].sort());
  const checked = execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: made, encoding: 'utf8' });
  expect(checked.match(/: OK$/gm)).toHaveLength(5);
});

test('two checkouts in two places, with other settings, make the same bytes', () => {
  const different = readdirSync(made).filter((name) => !readFileSync(join(other, name)).equals(read(name)));
  expect(different).toEqual([]);
});

test('function.zip is what is deployed', async () => {
  expect(read('function.zip').equals((await packageService()).zip)).toBe(true);
  const { files, remove } = unpack(read('function.zip'));
  expect(files).toEqual(['functions/get-live-migration.js', 'lib/sharing/table.js']);
  remove();
});

test('the list of packages and the licenses have everything that is in the bundle', async () => {
  const entryPoints = ['functions/get-live-migration.ts', 'lib/sharing/table.ts'].map((file) => join(root, file));
  const { metafile } = await build({ ...bundling, entryPoints, outdir: root, write: false, metafile: true });
  const inputs = Object.values(metafile?.outputs ?? {}).flatMap(({ inputs }) => Object.entries(inputs));
  const names = inputs
    .filter(([path, { bytesInOutput }]) => path.startsWith('node_modules/') && bytesInOutput > 0)
    .map(([path]) =>
      path
        .split('/')
        .slice(1, path.startsWith('node_modules/@') ? 3 : 2)
        .join('/'),
    );
  const bundled = [...new Set(names)];
  expect(bundled.length).toBeGreaterThan(10);
  const licenses = read('LICENSES.txt').toString();
  const sbom = JSON.parse(read('sbom.cdx.json').toString());
  const listed = sbom.components.map(({ purl }: { purl: string }) => decodeURIComponent(purl));
  for (const name of bundled) {
    const { version: its } = createRequire(import.meta.url)(`../../node_modules/${name}/package.json`);
    expect(licenses).toContain(`\n${name} ${its} (`);
    expect(listed).toContain(`pkg:npm/${name}@${its}`);
  }
  // Nothing else is: development packages are not shipped.
  expect(licenses.match(/^-{80}$/gm)).toHaveLength(bundled.length);
  expect(listed.join()).not.toMatch(/vitest|serverless|swagger/);
  expect(sbom.metadata.component).toMatchObject({ name: 'atlas-live-migration', version });
  expect(sbom).not.toHaveProperty('serialNumber');
  expect(sbom.metadata).not.toHaveProperty('timestamp');
});

test('it warns where CHANGELOG.md has entries that are not released', () => {
  expect(warnings).toEqual([expect.stringMatching(/^CHANGELOG\.md has entries under Unreleased, .*\n$/), '']);
});

test('a version that CHANGELOG.md does not tell of, or openapi.yaml does not name, is not released', async () => {
  const folder = checkout('unfinished');
  const changelog = readFileSync(join(folder, 'CHANGELOG.md'), 'utf8');
  writeFileSync(join(folder, 'CHANGELOG.md'), changelog.replace(`## [${version}]`, '## [9.9.9]'));
  await expect(release(folder, '022', {})).rejects.toMatchObject({
    stderr: `CHANGELOG.md has no section for version ${version}, which package.json names.\n`,
  });
  writeFileSync(join(folder, 'CHANGELOG.md'), changelog);
  const openApi = readFileSync(join(folder, 'contract/openapi.yaml'), 'utf8');
  writeFileSync(join(folder, 'contract/openapi.yaml'), openApi.replace(`version: ${version}`, 'version: 9.9.9'));
  await expect(release(folder, '022', {})).rejects.toMatchObject({
    stderr: `contract/openapi.yaml names version 9.9.9, and package.json ${version}.\n`,
  });
});
