/** Makes what the processes run: the function as it is packaged, bare bundles of its parts, and this folder's scripts. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { unzipSync } from 'fflate';
import { packageService } from '../deploy/package-service.ts';

const root = join(import.meta.dirname, '..');
const outdir = join(root, '.build/bench');

/** Unpacks the zip where Lambda would: with no package.json above it. */
async function packageFunction() {
  const { zip } = await packageService();
  const taskRoot = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  for (const [name, content] of Object.entries(unzipSync(zip))) {
    mkdirSync(join(taskRoot, dirname(name)), { recursive: true });
    writeFileSync(join(taskRoot, name), content);
  }
  return { zipBytes: zip.length, taskRoot };
}

const scripts = (...names: string[]): BuildOptions => ({
  absWorkingDir: root,
  entryPoints: names.map((name) => `bench/${name}.ts`),
  outdir,
  outbase: 'bench',
  outExtension: { '.js': '.cjs' },
});

export async function makeBuilds() {
  const { bundling } = (await import('../deploy/bundle.js' as string)) as { bundling: BuildOptions };
  const { zipBytes, taskRoot } = await packageFunction();
  // As they are written: the SDK and digest-fetch come from node_modules.
  await build({
    ...scripts('child', 'contenders/floor', 'contenders/usual'),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'cjs',
  });
  // As anybody would bundle them: without what our plugins take out or replace.
  await build({ ...bundling, ...scripts('contenders/bare-client', 'contenders/bare-middy'), plugins: [] });
  return {
    zipBytes,
    taskRoot,
    product: join(taskRoot, 'functions/get-live-migration.js'),
    outdir,
    module: (name: 'floor' | 'usual' | 'bare-client' | 'bare-middy') => join(outdir, `contenders/${name}.cjs`),
    remove: () => rmSync(taskRoot, { recursive: true }),
  };
}
