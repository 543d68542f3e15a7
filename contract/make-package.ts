/** `npm run contract`: makes the package for apps that ask about live migrations, and openapi.json for generators. */

import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { bundleOpenApi } from './openapi.ts';

const root = join(import.meta.dirname, '..');
const run = promisify(execFile);
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** One CommonJS file serves both: Node.js and the bundlers give its names to ES modules too. */
const manifest = (version: string) => ({
  name: 'atlas-live-migration-contract',
  version,
  description: 'The types, schemas and failures of atlas-live-migration, for the apps that ask it.',
  license: 'MIT',
  main: './index.js',
  types: './index.d.ts',
  exports: {
    '.': { types: './index.d.ts', default: './index.js' },
    './contract.schema.json': './contract.schema.json',
    './openapi.json': './openapi.json',
    './package.json': './package.json',
  },
  sideEffects: false,
});

/** Writes the code and its types: `#contract` is a name that only this repository knows. */
async function compile(folder: string) {
  await build({
    entryPoints: [join(root, 'contract/index.ts')],
    outfile: join(folder, 'index.js'),
    bundle: true,
    format: 'cjs',
    // Only then does esbuild list the names for ES modules.
    platform: 'node',
    target: 'es2022',
    logLevel: 'warning',
  });
  const declarations = join(folder, 'declarations');
  const project = join(root, 'contract/tsconfig.package.json');
  await run(join(root, 'node_modules/.bin/tsc'), ['--project', project, '--outDir', declarations]);
  const types = await readFile(join(declarations, 'contract/index.d.ts'), 'utf8');
  await rm(declarations, { recursive: true });
  await writeFile(join(folder, 'index.d.ts'), types.replaceAll("'#contract'", "'./contract.js'"));
  await cp(join(root, '.build/contract.d.ts'), join(folder, 'contract.d.ts'));
}

/**
 * @param destination an existing folder
 * @returns the file name of the tarball in it: the same bytes on every machine with the same npm; its openapi.json is
 *   beside it, since generators of clients read a file
 */
export async function makeContractPackage(destination: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'atlas-live-migration-'));
  try {
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
    await compile(folder);
    await cp(join(root, 'contract/contract.schema.json'), join(folder, 'contract.schema.json'));
    await cp(join(root, 'contract/README.md'), join(folder, 'README.md'));
    await cp(join(root, 'LICENSE'), join(folder, 'LICENSE'));
    await writeFile(join(folder, 'openapi.json'), json(await bundleOpenApi()));
    await writeFile(join(folder, 'package.json'), json(manifest(version)));
    // npm takes the files' modes as they are, and they follow the machine's umask.
    for (const file of await readdir(folder)) await chmod(join(folder, file), 0o644);
    await cp(join(folder, 'openapi.json'), join(destination, 'openapi.json'));
    const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', destination], { cwd: folder });
    return stdout.trim();
  } finally {
    await rm(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const destination = join(root, 'dist');
  await mkdir(destination, { recursive: true });
  console.log(`dist/${await makeContractPackage(destination)}\ndist/openapi.json`);
}
