/**
 * The packaging step of `serverless package` and `serverless deploy`: bundles the function into one file, at the
 * path that its `handler` names, and what it loads only where it is needed into another; and zips these files alone, and
 * the certificates of `caFile`.
 */

import { writeFileSync } from 'node:fs';
import tls from 'node:tls';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { caFileInZip, readCaFile } from './ca-file.ts';

const outDir = '.build';

/**
 * The SDK's default chain of credentials brings SSO, profiles, processes, STS and EC2's metadata, and with them a
 * third of the bundle. A Lambda has its credentials in the environment, or from a container endpoint (SnapStart).
 */
const credentials = `
  import { fromEnv } from '@aws-sdk/credential-provider-env';
  import { fromHttp } from '@aws-sdk/credential-provider-http';
  import { chain, memoize } from '@smithy/core/config';
  export const defaultProvider = (init) =>
    memoize(
      chain(fromEnv(init), async () => fromHttp(init)()),
      ({ expiration }) => expiration !== undefined && expiration.getTime() - Date.now() < 300_000,
      ({ expiration }) => expiration !== undefined,
    );
`;

const hash = (name: string) => `(text) => crypto.hash('${name}', text)`;
const withCrypto = (code: string) => `const crypto = require('node:crypto'); ${code}`;

/** Modules of which the function needs only a part, and what replaces them in the bundle. */
const replacements: Record<string, string> = {
  '@aws-sdk/credential-provider-node': credentials,
  // Only operations that stream need it; Secrets Manager has none.
  '@smithy/core/event-streams': 'export const EventStreamSerde = undefined, eventStreamSerdeProvider = undefined;',
  // digest-fetch brings four packages for what Node has built in.
  md5: withCrypto(`module.exports = ${hash('md5')}`),
  'js-sha256': withCrypto(`exports.sha256 = ${hash('sha256')}`),
  'js-sha512': withCrypto(`exports.sha512_256 = ${hash('sha512-256')}`),
  'base-64': `exports.encode = (text) => Buffer.from(text, 'latin1').toString('base64')`,
};

const replacing: Plugin = {
  name: 'replacing',
  setup({ onResolve, onLoad }) {
    for (const [name, contents] of Object.entries(replacements)) {
      const filter = new RegExp(`^${name}$`);
      onResolve({ filter }, ({ path, resolveDir }) => ({
        path,
        namespace: 'replacing',
        sideEffects: false,
        pluginData: resolveDir,
      }));
      onLoad({ filter, namespace: 'replacing' }, ({ pluginData }) => ({ contents, resolveDir: pluginData }));
    }
  },
};

/**
 * A file that is imported only where it is needed becomes a bundle of its own. Within the function's bundle, esbuild would
 * wrap all code that both use, which slows down functions that don't need it.
 */
export const apart = ['lib/sharing/table'];
const leavingApart: Plugin = {
  name: 'leaving-apart',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.\/.*\.ts$/ }, ({ kind, path }) => {
      const isApart = kind === 'dynamic-import' && apart.includes(path.replace(/^\.\.\/(.*)\.ts$/, '$1'));
      return isApart ? { path: path.replace(/ts$/, 'js'), external: true } : undefined;
    });
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
  // Only the SDK's ES modules can be tree-shaken.
  mainFields: ['module', 'main'],
  plugins: [replacing, leavingApart],
  // digest-fetch falls back to it where there is no global fetch.
  external: ['node-fetch'],
  // import('node:http') would load all that Node's HTTP module loads lazily, fetch among it: 20 ms.
  supported: { 'dynamic-import': false },
  legalComments: 'none',
} satisfies BuildOptions;

/** What this plugin needs of osls. */
type Serverless = {
  service: {
    service: string;
    functions: Record<string, { handler: string }>;
    package: { artifact?: string };
    custom: { deployment: { caFile: string; warnings: string[] } };
  };
  pluginManager: { plugins: object[] };
};
type Packager = { zipFiles(files: string[], name: string, folder: string): Promise<string> };

export default class Bundle {
  hooks: Record<string, () => Promise<void>>;

  constructor(serverless: Serverless, _options: object, { log }: { log: { warning(text: string): void } }) {
    this.hooks = {
      // Where there is no zip: the function runs in this process.
      'before:offline:start:init': async () => {
        const { caFile } = serverless.service.custom.deployment;
        if (caFile) tls.setDefaultCACertificates([...tls.getCACertificates(), readCaFile(caFile)]);
      },
      'before:package:createDeploymentArtifacts': async () => {
        const { functions, package: packaging, service, custom } = serverless.service;
        const { caFile, warnings } = custom.deployment;
        for (const warning of warnings) log.warning(warning);
        const files = [...Object.values(functions).map(({ handler }) => handler.replace(/\.\w+$/, '')), ...apart];
        const { metafile } = await build({
          metafile: true,
          entryPoints: files.map((file) => `${file}.ts`),
          outdir: outDir,
          outbase: '.',
          ...bundling,
        });
        const unused = Object.keys(replacements).filter((name) => !Object.hasOwn(metafile.inputs, `replacing:${name}`));
        if (unused.length > 0)
          throw new Error(`The function does not import what bundle.ts replaces: ${unused.join(', ')}`);
        const packager = serverless.pluginManager.plugins.find(
          (plugin): plugin is Packager => plugin.constructor.name === 'Package',
        );
        if (!packager) throw new Error('osls has no plugin named Package');
        if (caFile) writeFileSync(`${outDir}/${caFileInZip}`, readCaFile(caFile));
        packaging.artifact = await packager.zipFiles(
          [...files.map((file) => `${file}.js`), ...(caFile ? [caFileInZip] : [])].map((file) => `${outDir}/${file}`),
          `${service}.zip`,
          outDir,
        );
      },
    };
  }
}
