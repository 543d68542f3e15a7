/**
 * The packaging step of `serverless package` and `serverless deploy`: bundles the function into one file, at the
 * path that its `handler` names, and zips that file alone.
 */

import { build } from 'esbuild';

const outDir = '.build';

/** digest-fetch brings four hash libraries for what Node has built in. */
const hashes = {
  md5: `module.exports = (text) => require('node:crypto').createHash('md5').update(text).digest('hex')`,
  'js-sha256': `exports.sha256 = (text) => require('node:crypto').createHash('sha256').update(text).digest('hex')`,
  'js-sha512': `exports.sha512_256 = (text) => require('node:crypto').createHash('sha512-256').update(text).digest('hex')`,
  'base-64': `exports.encode = (text) => Buffer.from(text, 'latin1').toString('base64')`,
};

const builtInHashes = {
  name: 'built-in-hashes',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(md5|js-sha256|js-sha512|base-64)$/ }, ({ path }) => ({ path, namespace: 'hashes' }));
    onLoad({ filter: /.*/, namespace: 'hashes' }, ({ path }) => ({ contents: hashes[path] }));
  },
};

/** How esbuild makes the bundle; the benchmark bundles what it compares with in the same way. */
export const bundling = {
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node24',
  // CommonJS: Node loads its own modules faster by require, and digest-fetch does not survive as ESM.
  format: 'cjs',
  // The SDK's ES modules can be shaken; its CommonJS ones cannot.
  mainFields: ['module', 'main'],
  plugins: [builtInHashes],
  // digest-fetch falls back to it where there is no global fetch.
  external: ['node-fetch'],
  legalComments: 'none',
};

export default class Bundle {
  constructor(serverless) {
    this.hooks = {
      'before:package:createDeploymentArtifacts': async () => {
        const { functions, package: packaging, service } = serverless.service;
        const files = Object.values(functions).map(({ handler }) => handler.replace(/\.\w+$/, ''));
        await build({
          entryPoints: files.map((file) => `${file}.ts`),
          outdir: outDir,
          outbase: '.',
          ...bundling,
        });
        const packager = serverless.pluginManager.plugins.find((plugin) => plugin.constructor.name === 'Package');
        packaging.artifact = await packager.zipFiles(
          files.map((file) => `${outDir}/${file}.js`),
          `${service}.zip`,
          outDir,
        );
      },
    };
  }
}
