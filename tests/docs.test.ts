/** The documents: every command in them is run by a test, or needs an account and says so. */

import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { parse } from 'yaml';
import { parameterNames, parameters } from '../deploy/parameters.ts';
import { demoGroupId, demoIds, demoProjects } from '../embedded/demo-migrations.ts';
import { failureNames } from '../lib/core/failure.ts';
import { renderDashboard } from '../scripts/draw-dashboard.ts';
import { allIsWell, ask, atlas, coldStart, doors } from './support/harness.ts';
import { partsOf } from './support/template.ts';

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const documents = globSync(['*.md', 'docs/*.md', 'contract/*.md'], { cwd: root });

/** The commands, the test (or the script of the pipeline) that runs each, and what shows in it that it does. */
const runBy: Record<string, [file: string, shows: string]> = {
  'npm ci && npm start': ['tests/start.test.ts', 'support/npm-start.ts'],
  'npm ci': ['.ci/run', '\nnpm ci '],
  'npm ci && npm test': ['.ci/run', '\nnpm run test:all '],
  'npm test': ['.ci/run', '\nnpm run test:all '],
  'npm run test:all': ['.ci/run', '\nnpm run test:all '],
  'npm run build:ric': ['.ci/run', 'npm run build:ric'],
  'npm run wait': ['tests/wait.test.ts', 'scripts/wait.ts'],
  'npm run -s wait': ['tests/wait.test.ts', 'scripts/wait.ts'],
  'npm run template': ['tests/long/template.test.ts', "'-s', 'template', '--'"],
  'npx vitest run': ['.ci/run', '\nnpm run test:all '],
  'curl --silent': ['tests/callers.test.ts', 'ask-over-https.sh'],
  'curl --max-time 25 --aws-sigv4': ['tests/callers.test.ts', 'ask-over-https.sh'],
  'export AWS_': ['tests/long/aws-cli.test.ts', 'callers.md'],
  'aws lambda invoke': ['tests/long/aws-cli.test.ts', 'callers.md'],
  'npm run bench': ['.ci/run', 'npm run bench'],
  'npm run soak': ['.ci/run', 'npm run soak'],
  'npm run crowd': ['.ci/run', 'npm run crowd'],
};
const packaging = 'npx serverless package';

/** The commands of the documents that need no account, each with its document. */
const commands = documents.flatMap((document) =>
  [...read(document).matchAll(/```sh\n(.*?)```/gs)]
    .map(([, block = '']) => block)
    .filter((block) => !block.startsWith('# needs an account\n'))
    .flatMap((block) =>
      block
        .replace(/\\\n */g, '')
        .trim()
        .split('\n'),
    )
    .map((command) => ({ document, command })),
);

test('every command is run by a test, or says that it needs an account', () => {
  expect(commands.length).toBeGreaterThan(20);
  for (const { document, command } of commands.filter(({ command }) => !command.startsWith(packaging))) {
    const known = Object.entries(runBy).find(([start]) => command.startsWith(start));
    expect(known?.[0], `${document}: ${command}`).toBeDefined();
    const [file = '', shows = ''] = known?.[1] ?? [];
    expect(read(file), `${document}: ${command}`).toContain(shows);
  }
});

test('every command that packages the service does so with the parameters that it names', async () => {
  const named = commands.filter(({ command }) => command.startsWith(packaging)).map(({ command }) => command);
  expect(named.length).toBeGreaterThan(5);
  for (const command of named) {
    const parameters = [...command.matchAll(/--param "(\w+)=([^"]*)"/g)].map(([, name = '', value = '']) => [
      name,
      value,
    ]);
    const { Resources } = await partsOf(Object.fromEntries(parameters));
    expect(Object.keys(Resources), command).toContain('FunctionRole');
  }
});

test('every test that docs/reliability.md names is there', () => {
  const tests = globSync('tests/**/*.test.ts', { cwd: root }).map(read).join();
  const tables = [...read('docs/reliability.md').matchAll(/^\|[^\n]*\| test \|\n\|[-|]+\|\n((?:\|.*\n)+)/gm)];
  const rows = tables.flatMap(([, table = '']) => table.trim().split('\n'));
  expect(rows.length).toBeGreaterThan(40);
  for (const row of rows) {
    const named = row.split('|').at(-2) ?? '';
    // In backticks is the name of a file.
    const parts = named.split(/[;…]|`[^`]*`/).map((text) => text.trim());
    for (const part of parts) expect(tests.includes(part), part).toBe(true);
  }
});

test('every link leads to a file, and to a heading in it', () => {
  let count = 0;
  for (const document of documents) {
    for (const [, target = ''] of read(document).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      count += 1;
      const [path = '', heading] = target.split('#');
      const file = path ? join(document, '..', path) : document;
      expect(existsSync(join(root, file)), `${document}: ${target}`).toBe(true);
      if (!heading) continue;
      const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) =>
        text
          .toLowerCase()
          .replace(/[^\w -]/g, '')
          .replaceAll(' ', '-'),
      );
      expect(headings, `${document}: ${target}`).toContain(heading);
    }
  }
  expect(count).toBeGreaterThan(50);
});

test("the README's first answer is what a demo migration returns after about 40 seconds", async () => {
  allIsWell();
  onTestFinished(() => void vi.useRealTimers());
  vi.useFakeTimers({ toFake: ['Date'] });
  atlas.projects = demoProjects;
  const handler = await coldStart();
  const asked = { groupId: demoGroupId, liveMigrationId: demoIds.completes };
  await ask(handler, 'direct', asked);
  for (const seconds of [36, 4, 4]) {
    vi.setSystemTime(Date.now() + seconds * 1000);
    const { http } = await doors['http-api'](handler, asked);
    expect(read('README.md')).toContain(
      `About 40\nseconds after its first request, a demo migration returns:\n\n\`\`\`json\n${http.body}\n`,
    );
  }
});

test('docs/callers.md names the generators and the TypeScript that .ci/contract-tools tries, and each status of API Gateway', () => {
  const [, section = ''] = /## Generate a client\n(.*?)\n## /s.exec(read('docs/callers.md')) ?? [];
  const [, installed = ''] = /npm install [^\n]*\n(.*?)\n#/s.exec(read('.ci/contract-tools')) ?? [];
  const versions = Object.fromEntries(
    [...installed.matchAll(/(\S+)@([\d.]+)/g)].map(([, name, version]) => [name, version]),
  );
  expect(section).toContain(`TypeScript ${versions['typescript']} `);
  const generators = ['openapi-typescript', '@hey-api/openapi-ts', 'swagger-typescript-api', 'orval', 'oazapfts'];
  for (const name of [...generators, 'openapi-zod-client']) {
    expect(versions[name], name).toBeDefined();
    expect(section).toContain(name);
  }
  const { responses } =
    Object.values<{ get: { responses: object } }>(parse(read('contract/openapi.yaml')).paths)[0]?.get ?? {};
  const statuses = [...section.matchAll(/^\| (\d[\d, ]*) \|/gm)].flatMap(([, cell = '']) => cell.split(', '));
  expect(statuses.length).toBeGreaterThan(5);
  expect(Object.keys(responses ?? {})).toEqual(expect.arrayContaining(statuses));
});

test('the table of the time budget says what the code says', () => {
  const rows = [
    ...read('docs/reliability.md').matchAll(/^\| (\d+) \| .* \| `(\w+)` in `([^`]+)`(, in seconds)? \|$/gm),
  ];
  expect(rows.length).toBeGreaterThan(10);
  for (const [, ms = '', name = '', file = '', inSeconds] of rows) {
    const stated = new RegExp(`\\b${name}(?:: |', )([\\d_]+)`).exec(read(file))?.[1]?.replaceAll('_', '');
    expect(Number(stated) * (inSeconds ? 1000 : 1), `${name} in ${file}`).toBe(Number(ms));
  }
});

test('CHANGELOG.md tells of the version, and contract/openapi.yaml names it', () => {
  const { version } = JSON.parse(read('package.json'));
  expect(read('CHANGELOG.md')).toContain(`\n## [${version}] - `);
  expect(parse(read('contract/openapi.yaml')).info.version).toBe(version);
});

test.each(['README.md', 'docs/operate.md'])('%s names every failure', (document) => {
  for (const name of failureNames) expect(read(document)).toContain(`| \`${name}\` |`);
});

test('docs/parameters.md shows every parameter as the code has it', () => {
  const rows = Object.entries(parameters).map(([name, { default: usual, rule, meaning }]) => {
    const value = usual === '' ? 'empty' : `\`${usual}\``;
    return `| \`${name}\` | ${value} | ${meaning} | ${rule.replace(/^must be /, '')} |`;
  });
  expect(read('docs/parameters.md').match(/^\| `.*$/gm)).toEqual(rows);
});

test('the documents name every parameter of the deployment', () => {
  const text = documents.map(read).join('\n');
  expect(parameterNames.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
});

test('docs/operate.md has a section for every alarm, under its name', async () => {
  const { Resources } = await partsOf({ freshnessSeconds: '5' });
  const alarms = Object.keys(Resources).flatMap((id) => /^(.*)Alarm$/.exec(id)?.[1] ?? []);
  expect(alarms.length).toBeGreaterThan(5);
  const sections = [...read('docs/operate.md').matchAll(/^### (\w+)$/gm)].map(([, name]) => name);
  expect(sections).toEqual(alarms);
});

test('the picture of the dashboard is the one that is drawn', () => {
  expect(read('docs/dashboard.svg')).toBe(renderDashboard());
});
