/**
 * Loaded before the programs that `npm run` starts: says in one sentence what an installation lacks, which would else
 * show as a stack trace, and keeps what Node.js compiles for the next start. Plain JavaScript, and old enough for any
 * Node.js.
 */

import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const has = (name) => existsSync(new URL(`../node_modules/${name}`, import.meta.url));

const missing = () => {
  if (!has('@middy/core')) return 'The packages are not installed; this installs them: npm ci';
  if (!has('serverless')) {
    return 'The development packages were left out (NODE_ENV=production or omit=dev); this installs them: npm ci --include=dev';
  }
  if (!process.features.typescript) {
    return `Node.js ${process.version} does not run TypeScript, and the project's own Node.js is missing, because npm ignores install scripts here (ignore-scripts); this installs it: npm ci --ignore-scripts=false`;
  }
  return undefined;
};

const sentence = missing();
if (sentence) {
  console.error(sentence);
  process.exit(1);
}

module.enableCompileCache?.(fileURLToPath(new URL('../.build/compile-cache', import.meta.url)));
