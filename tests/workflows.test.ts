/** The workflows of GitHub, which can't be run here: what they may do, whose code they run, and that what they name is there. */

import { execFile, execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '..');
const { scripts, version } = createRequire(import.meta.url)('../package.json') as {
  scripts: Record<string, string>;
  version: string;
};

type Step = { uses?: string; run?: string; with?: Record<string, unknown>; env?: Record<string, string> };
type Job = { permissions?: Record<string, string>; 'timeout-minutes'?: number; 'runs-on': string; steps: Step[] };
type Workflow = { on: Record<string, unknown>; permissions: object; jobs: Record<string, Job> };

const folder = join(root, '.github/workflows');
const texts = Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
const workflows = Object.fromEntries(
  Object.entries(texts).map(([file, text]) => [file, parse(text, { strict: true }) as Workflow]),
);
const jobs = Object.values(workflows).flatMap((workflow) => Object.values(workflow.jobs));
const steps = jobs.flatMap((job) => job.steps);

/** When each runs, and what each of its jobs may do. */
const expected: Record<string, { on: object; jobs: Record<string, Record<string, string>> }> = {
  'ci.yml': { on: { push: { branches: ['main'] }, pull_request: null }, jobs: { ci: { contents: 'read' } } },
  'release.yml': {
    on: { push: { tags: ['v*'] } },
    jobs: {
      make: { contents: 'read' },
      publish: { contents: 'write', 'id-token': 'write', attestations: 'write' },
    },
  },
  'weekly.yml': {
    on: { schedule: [{ cron: '23 4 * * 1' }], workflow_dispatch: null },
    jobs: {
      code: { contents: 'read', 'security-events': 'write', actions: 'read' },
      packages: { contents: 'read' },
    },
  },
};

test('each runs when it should, and may do what it needs', () => {
  const found = Object.entries(workflows).map(([file, { on, jobs }]) => [
    file,
    { on, jobs: Object.fromEntries(Object.entries(jobs).map(([name, { permissions }]) => [name, permissions])) },
  ]);
  expect(Object.fromEntries(found)).toEqual(expected);
  for (const { permissions } of Object.values(workflows)) expect(permissions).toEqual({});
  for (const job of jobs) {
    expect(job['runs-on']).toBe('ubuntu-latest');
    expect(job['timeout-minutes']).toBeLessThanOrEqual(45);
  }
});

test('each action is pinned by its commit, with its version behind it, and is the same everywhere', () => {
  const pins = Object.values(texts).flatMap((text) => [...text.matchAll(/^ *(?:- )?uses: *(.*)$/gm)]);
  expect(pins).toHaveLength(steps.filter(({ uses }) => uses).length);
  const commits = new Map<string, string>();
  for (const [, pin = ''] of pins) {
    expect(pin).toMatch(/^(actions|github)\/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    const [action = '', commit = ''] = pin.split('@');
    const [owner, repository] = action.split('/');
    const name = `${owner}/${repository}`;
    expect(commits.get(name) ?? commit).toBe(commit);
    commits.set(name, commit);
  }
});

describe('a step', () => {
  test('that runs a command puts nothing from outside into its text', () => {
    for (const { run = '' } of steps) expect(run).not.toContain('${{');
  });

  test('that checks the code out leaves no token behind', () => {
    const checkouts = steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'));
    expect(checkouts.length).toBeGreaterThan(3);
    for (const step of checkouts) expect(step.with?.['persist-credentials']).toBe(false);
  });

  test('names scripts and programs that are there', () => {
    const commands = steps.flatMap(({ run }) => run ?? []);
    expect(commands.length).toBeGreaterThan(7);
    for (const command of commands) {
      const [, script] = /^npm run (?:--silent )?([\w:]+)/.exec(command) ?? [];
      if (script) expect(Object.keys(scripts)).toContain(script);
      else if (command.startsWith('.')) accessSync(join(root, command), constants.X_OK);
      else expect(command).toMatch(/^(npm ci|npm audit|gh release create|cd dist && sha256sum|git merge-base)\b/);
    }
  });

  test('runs code of packages only in a job that may write nothing', () => {
    for (const { permissions, steps } of jobs) {
      const runsPackages = steps.some(({ run = '' }) => /npm|\.ci/.test(run));
      if (runsPackages) expect(permissions).toEqual({ contents: 'read' });
    }
  });
});

test('what is attested is what `npm run release` makes', () => {
  const [attest] = steps.filter(({ uses }) => uses?.startsWith('actions/attest-build-provenance@'));
  const name = `dist/atlas-live-migration-contract-${version}.tgz`;
  const paths = String(attest?.with?.['subject-path']).trim().split('\n');
  expect(paths.map((path) => path.replace('*', version))).toEqual(['dist/function.zip', name]);
  // tests/long/release.test.ts looks at what is made.
  const made = readFileSync(join(root, 'tests/long/release.test.ts'), 'utf8');
  for (const file of ['function.zip', 'atlas-live-migration-contract-${version}.tgz']) expect(made).toContain(file);
});

describe('the text of a release', () => {
  const notes = (tag: string) =>
    promisify(execFile)('npm', ['run', '--silent', 'release:notes', '--', tag], { cwd: root });

  test('is the section of its version in CHANGELOG.md', async () => {
    const { stdout } = await notes(`v${version}`);
    const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
    const [, section = ''] = new RegExp(`^## \\[${version}\\] - .*\\n([^]*?)(?=^## )`, 'm').exec(changelog) ?? [];
    expect(stdout.trim()).toBe(section.trim());
    expect(stdout).toContain('### ');
  });

  test('is refused for the tag of another version', async () => {
    await expect(notes('v9.9.9')).rejects.toMatchObject({
      stderr: `The tag is v9.9.9, and package.json names version ${version}: the tag must be v${version}.\n`,
    });
  });
});

test('git ignores files with settings of the environment', () => {
  const ignored = execFileSync('git', ['check-ignore', '.env', '.env.prod'], { cwd: root, encoding: 'utf8' });
  expect(ignored.trim().split('\n')).toEqual(['.env', '.env.prod']);
});
