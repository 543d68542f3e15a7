/** Packages the service as `serverless package` does, also in a folder of its own. */

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { unzipSync } from 'fflate';
import type { Resource } from '../deploy/cloudformation.ts';

const root = join(import.meta.dirname, '..');
const sources = ['serverless.yml', 'package.json', 'deploy', 'functions', 'lib'];

/** @returns a new folder with what serverless needs, so that several can be at work at once */
export function copyService(): string {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  for (const source of sources) cpSync(join(root, source), join(folder, source), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/**
 * @param folder the service
 * @param args the options of `serverless package`
 * @returns the zip, the CloudFormation template, and what serverless warned of
 * @throws what serverless printed, where it refuses
 */
export async function packageIn(folder: string, args: string[]) {
  const serverless = join(root, 'node_modules/.bin/serverless');
  const { stdout, stderr } = await promisify(execFile)(serverless, ['package', ...args], { cwd: folder });
  const read = (name: string) => readFileSync(join(folder, '.serverless', name));
  const template = JSON.parse(read('cloudformation-template-update-stack.json').toString()) as {
    Resources: Record<string, Resource>;
    Outputs: Record<string, { Value: unknown }>;
  };
  const warnings = `${stdout}${stderr}`.split('\n').filter((line) => line.startsWith('Warning: '));
  return { zip: read('atlas-live-migration.zip'), template, warnings };
}

/**
 * @param parameters as they would be given with `--param`
 * @returns what packageIn returns, of a copy of the service
 */
export async function packageService(parameters: Record<string, string> = {}, stage = 'dev') {
  const folder = copyService();
  try {
    const args = Object.entries(parameters).flatMap(([name, value]) => ['--param', `${name}=${value}`]);
    return await packageIn(folder, ['--stage', stage, ...args]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Unpacks the zip where Lambda would: into a new folder, with no package.json above it. */
export function unpack(zip: Buffer) {
  const taskRoot = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const files = Object.entries(unzipSync(zip));
  for (const [name, content] of files) {
    mkdirSync(join(taskRoot, dirname(name)), { recursive: true });
    writeFileSync(join(taskRoot, name), content);
  }
  return { taskRoot, files: files.map(([name]) => name), remove: () => rmSync(taskRoot, { recursive: true }) };
}
