/** Makes what the processes run: the function as it is packaged, bare bundles of its parts, and this folder's scripts. */

import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { bundling } from '../deploy/bundle.ts';
import { packageService, unpack } from '../scripts/package-service.ts';

const root = join(import.meta.dirname, '..');
const outdir = join(root, '.build/bench');

const scripts = (...names: string[]): BuildOptions => ({
  absWorkingDir: root,
  entryPoints: names.map((name) => `bench/${name}.ts`),
  outdir,
  outbase: 'bench',
  outExtension: { '.js': '.cjs' },
});

export async function makeBuilds() {
  const { zip } = await packageService();
  const { taskRoot, remove } = unpack(zip);
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
    zipBytes: zip.length,
    taskRoot,
    product: join(taskRoot, 'functions/get-live-migration.js'),
    outdir,
    module: (name: 'floor' | 'usual' | 'bare-client' | 'bare-middy') => join(outdir, `contenders/${name}.cjs`),
    remove,
  };
}
