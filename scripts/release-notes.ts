/** `npm run release:notes -- v1.2.3`: prints what CHANGELOG.md says of the version, where the tag is the one of this version. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };
const [tag] = process.argv.slice(2);

/** @returns the text of a version's section, without its heading; undefined where there is none */
function sectionOf(version: string): string | undefined {
  const changelog = readFileSync(join(import.meta.dirname, '../CHANGELOG.md'), 'utf8');
  const sections = changelog.split(/^## /m);
  return sections
    .find((section) => section.startsWith(`[${version}] - `))
    ?.replace(/^.*\n/, '')
    .trim();
}

const notes = sectionOf(version);
if (tag !== `v${version}` || !notes) {
  console.error(
    tag === `v${version}`
      ? `CHANGELOG.md says nothing of version ${version}.`
      : `The tag is ${tag ?? 'missing'}, and package.json names version ${version}: the tag must be v${version}.`,
  );
  process.exit(1);
}
console.log(notes);
