/**
 * `npm run release`: makes what a release consists of, in `dist/`. The same commit gives the same bytes on every machine
 * with the same npm, so that anybody can check a release by making it again.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { makeContractPackage } from '../contract/make-package.ts';
import { bundleOpenApi } from '../contract/openapi.ts';
import { apart, bundling } from '../deploy/bundle.ts';
import { packageService } from './package-service.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const require = createRequire(import.meta.url);
const { version } = require('../package.json') as { version: string };
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

type Lock = { packages: Record<string, { version: string; dev?: boolean; license?: string }> };
const { packages } = require('../package-lock.json') as Lock;

/** The path of each package of which a bundle of the function has something in it, as in package-lock.json. */
async function bundledPackages(): Promise<string[]> {
  const entryPoints = ['functions/get-live-migration', ...apart].map((file) => join(root, `${file}.ts`));
  const { metafile } = await build({ ...bundling, entryPoints, outdir: root, write: false, metafile: true });
  const paths = Object.values(metafile?.outputs ?? {})
    .flatMap(({ inputs }) => Object.entries(inputs))
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .flatMap(([path]) => /node_modules\/(?:.*node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(path) ?? []);
  return [...new Set(paths)].sort();
}

type Component = { 'bom-ref': string; name: string; version: string };
type Dependency = { ref: string; dependsOn?: string[] };
type Sbom = {
  serialNumber?: string;
  metadata: { timestamp?: string; component: Component };
  components: Component[];
  dependencies: Dependency[];
};

/**
 * The production packages. npm leaves those out that a development package needs as well, so it is asked for all, and the
 * lock file says which of them are for production.
 */
async function sbom(): Promise<Sbom> {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'];
  const { stdout } = await promisify(execFile)('npm', args, { cwd: root, maxBuffer: 2 ** 26 });
  const { serialNumber: _, metadata, ...whole } = JSON.parse(stdout) as Sbom;
  const production = new Set(
    Object.entries(packages)
      .filter(([path, { dev }]) => path && !dev)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`),
  );
  const { timestamp: __, component, ...metadataRest } = metadata;
  const isProduction = (ref: string) => production.has(ref);
  return {
    ...whole,
    // npm names it after the folder.
    metadata: { ...metadataRest, component: { ...component, name: 'atlas-live-migration' } },
    components: whole.components.filter((part) => isProduction(part['bom-ref'])),
    dependencies: whole.dependencies
      .filter(({ ref }) => isProduction(ref) || ref === component['bom-ref'])
      .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter(isProduction) })),
  };
}

/** The license of everything that is in the function's bundles. */
function licenses(bundled: string[]): string {
  const own = readFileSync(join(root, 'LICENSE'), 'utf8').trim();
  const texts = bundled.map((path) => {
    const files = readdirSync(join(root, path)).filter((file) => /^(licen[sc]e|notice)/i.test(file));
    const text = files.sort().map((file) => readFileSync(join(root, path, file), 'utf8').trim());
    const { version, license } = packages[path] ?? {};
    if (text.length === 0) {
      const { author } = require(`../${path}/package.json`) as { author?: string | { name: string } };
      const by = typeof author === 'object' ? author.name : author;
      text.push(
        `The package has no license file. Its author is ${by}. The text: https://spdx.org/licenses/${license}.html`,
      );
    }
    return [`${path.replace(/^.*node_modules\//, '')} ${version} (${license})`, ...text].join('\n\n');
  });
  return `${[`atlas-live-migration ${version} (MIT)\n\n${own}`, ...texts].join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

if (!readFileSync(join(root, 'CHANGELOG.md'), 'utf8').includes(`\n## [${version}] - `)) {
  console.error(`CHANGELOG.md has no section for version ${version}, which package.json names.`);
  process.exit(1);
}
const openApi = await bundleOpenApi();
if (openApi.info.version !== version) {
  console.error(`contract/openapi.yaml names version ${openApi.info.version}, and package.json ${version}.`);
  process.exit(1);
}
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
const write = (name: string, content: string | Buffer) => writeFileSync(join(dist, name), content);
write('function.zip', (await packageService()).zip);
await makeContractPackage(dist);
write('openapi.json', json(openApi));
write('sbom.cdx.json', json(await sbom()));
write('LICENSES.txt', licenses(await bundledPackages()));
const sums = readdirSync(dist)
  .sort()
  .map(
    (name) =>
      `${createHash('sha256')
        .update(readFileSync(join(dist, name)))
        .digest('hex')}  ${name}\n`,
  )
  .join('');
write('SHA256SUMS', sums);
if (/^## \[Unreleased\]\s+(?!## )\S/m.test(readFileSync(join(root, 'CHANGELOG.md'), 'utf8')))
  console.error(`CHANGELOG.md has entries under Unreleased, which are in this ${version} as well.`);
console.log(`dist/ holds version ${version}:\n${sums}`);
