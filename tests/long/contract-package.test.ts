/** The package that `npm run contract` makes, in projects that have nothing else. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeContractPackage } from '../../contract/make-package.ts';
import { bundleOpenApi } from '../../contract/openapi.ts';
import { failureNames, kindOf } from '../../lib/core/failure.ts';

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  mkdirSync(join(folder, 'made'));
  await makeContractPackage(join(folder, 'made'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(cwd: string, command: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

/** A project that has installed the tarball, and nothing else. */
function newProject(type: 'module' | 'commonjs', files: Record<string, string>): string {
  const project = mkdtempSync(join(folder, `${type}-`));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'app', private: true, type }));
  const tarball = join(folder, 'made', `atlas-live-migration-contract-${version}.tgz`);
  const installed = run(project, 'npm', 'install', '--offline', '--no-audit', '--no-fund', tarball);
  expect(installed).toMatchObject({ status: 0 });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text);
  return project;
}

const app = `
import { events, failures, isProblem, liveMigrationStatuses, terminalLiveMigrationStatuses, waitErrors } from 'atlas-live-migration-contract';
import type { CutoverDue, FailureName, LiveMigration, Problem, StatusChanged, WaitInput } from 'atlas-live-migration-contract';

export function wait(answer: unknown): number | undefined {
  if (isProblem(answer, 'AtlasRateLimited')) {
    const code: 'AtlasRateLimited' = answer.code;
    return answer.retryAfterSeconds ?? (code.length > 0 ? 1 : 2);
  }
  if (isProblem(answer)) {
    const problem: Problem = answer;
    const name: FailureName = problem.code;
    return failures[name].retryable ? 60 : undefined;
  }
  return undefined;
}
export const pattern: { source: ['atlas.live-migration']; 'detail-type': string[] } = { source: [events.source], 'detail-type': [events.statusChanged, events.cutoverDue] };
export const gaveUp: 'LiveMigrationWaitTimedOut' = waitErrors[2];
export const statuses: readonly LiveMigration['status'][] = [...liveMigrationStatuses, ...terminalLiveMigrationStatuses];
export const input: WaitInput = { groupId: 'a', liveMigrationId: 'b', until: 'READY_FOR_CUTOVER' };
export const left = (event: CutoverDue): 96 | 48 | 24 | 6 | null => event.hoursLeft;
export const before = (event: StatusChanged): LiveMigration['status'] | null => event.previousStatus;
`;
/** Each must be refused: types that are \`any\` would pass it. */
const mistakes = `
import { isProblem, type LiveMigration } from 'atlas-live-migration-contract';
// @ts-expect-error
export const status: LiveMigration['status'] = 'DONE';
// @ts-expect-error
export const guard = isProblem({}, 'NoSuchFailure');
`;

const [, exampleOfReadme = ''] = /```ts\n(.*?)```/s.exec(readFileSync(join(root, 'contract/README.md'), 'utf8')) ?? [];
const [imports = '', ...lines] = exampleOfReadme.split('\n');
const example = `${imports}
  declare const response: { ok: boolean; json(): Promise<unknown> };
  declare function sleep(ms: number): Promise<void>;
  export async function ask() {${lines.join('\n')} return undefined; }`;

describe.each(['module', 'commonjs'] as const)('in a project of type %s', (type) => {
  let project: string;
  beforeAll(() => {
    project = newProject(type, { 'app.ts': app, 'mistakes.ts': mistakes, 'example.ts': example });
  });

  test('it is named by the version, and depends on nothing', () => {
    const made = [`atlas-live-migration-contract-${version}.tgz`, 'openapi.json'];
    expect(readdirSync(join(folder, 'made')).sort()).toEqual(made);
    expect(readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual([
      'atlas-live-migration-contract',
    ]);
    const installed = join(project, 'node_modules/atlas-live-migration-contract');
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    expect(manifest).toMatchObject({ version, license: 'MIT' });
    expect(manifest).not.toHaveProperty('dependencies');
  });

  test.each([
    ['node16', 'node16'],
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ])(
    'an app and the example of its README compile under module %s and moduleResolution %s, without skipLibCheck',
    (module, moduleResolution) => {
      const compilerOptions = { module, moduleResolution, target: 'es2022', strict: true, noEmit: true, types: [] };
      writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
      expect(run(project, join(root, 'node_modules/.bin/tsc'), '--skipLibCheck', 'false')).toEqual({
        status: 0,
        output: '',
      });
    },
  );

  test('its code runs, and knows every failure', () => {
    const take =
      type === 'module'
        ? "import { failures, isProblem, liveMigrationStatuses } from 'atlas-live-migration-contract';"
        : "const { failures, isProblem, liveMigrationStatuses } = require('atlas-live-migration-contract');";
    const problem = (code: string) => ({ code, type: `urn:problem-type:atlas-live-migration:${code}` });
    writeFileSync(
      join(project, 'run.js'),
      `${take}
      const named = ${JSON.stringify(failureNames.map(problem))};
      console.log(JSON.stringify({
        failures,
        statuses: liveMigrationStatuses,
        each: named.every((problem) => isProblem(problem) && isProblem(problem, problem.code)),
        another: isProblem(named[0], named[1].code),
        none: [null, undefined, 'text', [], {}, { message: 'Forbidden' }, { code: 'toString', type: 'x' },
          { code: 'ProjectNotFound' }, ${JSON.stringify(problem('NoSuchFailure'))}].filter((value) => isProblem(value)),
      }));`,
    );
    const { status, output } = run(project, process.execPath, 'run.js');
    expect({ status, ...JSON.parse(output) }).toEqual({
      status: 0,
      failures: Object.fromEntries(
        failureNames.map((name) => [name, { status: kindOf(name).status, retryable: kindOf(name).retryable }]),
      ),
      statuses: ['NEW', 'WORKING', 'FAILED', 'COMPLETE', 'EXPIRED', 'UNKNOWN'],
      each: true,
      another: false,
      none: [],
    });
  });

  test('it holds the schemas and the OpenAPI document, which can be read by name', async () => {
    const names = ['contract.schema.json', 'openapi.json'].map((file) => `atlas-live-migration-contract/${file}`);
    const [schema, openApi] = names.map(createRequire(join(project, 'app.ts')));
    expect(schema).toEqual(JSON.parse(readFileSync(join(root, 'contract/contract.schema.json'), 'utf8')));
    expect(openApi).toEqual(JSON.parse(JSON.stringify(await bundleOpenApi())));
    expect(openApi.info.version).toBe(version);
    expect(JSON.parse(readFileSync(join(folder, 'made/openapi.json'), 'utf8'))).toEqual(openApi);
  });
});
