/**
 * `npm run template`: writes the whole stack as a plain CloudFormation template, and the function's zip, to `dist/`. The same
 * commit and parameters give the same bytes on every machine.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCommandLine } from './command-line.ts';
import { packageIn } from './package-service.ts';
import { plainTemplate } from './plain-template.ts';

const usage = `Usage: npm run template -- [options]
  --stage STAGE         the stage (default dev)
  --region REGION       where the stack will be (default AWS_REGION, or else us-east-1)
  --param "NAME=VALUE"  a parameter of the deployment, as in deploy/parameters.ts; once for each`;

readCommandLine(
  usage,
  { stage: { type: 'string' }, region: { type: 'string' }, param: { type: 'string' } },
  (_, [unknown]) => {
    if (unknown !== undefined) throw new Error(`Unknown argument "${unknown}".`);
  },
);

const root = join(import.meta.dirname, '..');
// In the project itself, not in a copy: the parameter caFile is relative to it.
const { zip, template, warnings } = await packageIn(root, process.argv.slice(2)).catch((error) => {
  if (error.stderr === undefined) throw error;
  console.error(`${error.stdout}${error.stderr}`.trim());
  return process.exit(1);
});
for (const warning of warnings) console.error(warning);
const text = JSON.stringify(plainTemplate(template));
mkdirSync(join(root, 'dist'), { recursive: true });
writeFileSync(join(root, 'dist/function.zip'), zip);
writeFileSync(join(root, 'dist/template.json'), text);
console.log(`dist/ holds function.zip and template.json (${Buffer.byteLength(text)} bytes).`);
