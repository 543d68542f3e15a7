/** npm's step `prepare`, after `npm ci`: makes the TypeScript types of the contract from its JSON Schema. */

import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

const generator = await import('json-schema-to-typescript').catch(() => undefined);
if (generator) {
  const types = await generator.compileFromFile(path('contract/contract.schema.json'), {
    additionalProperties: false,
    unreachableDefinitions: true,
  });
  await mkdir(path('.build'), { recursive: true });
  await writeFile(path('.build/contract.d.ts'), types);
} else {
  console.warn(
    'The development packages were left out (NODE_ENV=production or omit=dev); npm start and npm test need them: npm ci --include=dev',
  );
}
