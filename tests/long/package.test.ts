/** What `serverless package` makes of the forms of the API other than the HTTP API, and what it says where it refuses. */

import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { copyService, packageService } from '../../scripts/package-service.ts';
import { beyondLimits, boundToAPlace } from '../support/aws-limits.ts';
import { readSpecification } from '../support/resource-specification.ts';
import {
  callersOf,
  everything,
  longestStage,
  nullsIn,
  otherForms,
  partsOf,
  splitResources,
} from '../support/template.ts';

const root = join(import.meta.dirname, '../..');

let specification: Awaited<ReturnType<typeof readSpecification>>;
beforeAll(async () => {
  specification = await readSpecification();
});

test.each([
  ['rest', otherForms.rest, 'dev'],
  ['private', otherForms.private, longestStage],
  ['none', otherForms.none, 'dev'],
])(
  'CloudFormation takes the template of the form %s, in which our parts are as they are',
  async (_, parameters, stage) => {
    const [{ template }, parts] = await Promise.all([packageService(parameters, stage), partsOf(parameters, stage)]);
    expect(specification.problemsOf(template)).toEqual([]);
    expect(beyondLimits(template)).toEqual([]);
    expect(nullsIn(template)).toEqual([]);
    const { ours, added } = splitResources(template, parts);
    expect(ours).toEqual(parts.Resources);
    expect(added).toEqual([
      'AWS::Lambda::EventInvokeConfig',
      'AWS::Lambda::Function',
      'AWS::Lambda::Version',
      'AWS::Logs::LogGroup',
      'AWS::S3::Bucket',
      'AWS::S3::BucketPolicy',
    ]);
    expect(callersOf(template)).toEqual(callersOf(parts));
    expect(template.Outputs).toMatchObject(parts.Outputs);
    expect(Object.keys(template.Outputs)).toEqual(
      expect.arrayContaining(['GetLiveMigrationArn', 'AwaitLiveMigrationArn', 'RemindOfCutoverArn']),
    );
  },
);

const output = (command: Promise<unknown>) =>
  command.then(
    () => '',
    ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
  );

test('all wrong parameters are named at once, in one message', async () => {
  const wrong = { logRetentionDays: '2', corsOrigins: '*', kmsKeyArn: 'x', nonsense: '1' };
  const said = await output(packageService(wrong));
  for (const name of Object.keys(wrong)) expect(said.split(name)).toHaveLength(2);
});

test('a bundle that does not use each replacement is an error', async () => {
  const folder = copyService();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'functions/get-live-migration.ts'), "export { hash } from 'md5';");
  const serverless = join(root, 'node_modules/.bin/serverless');
  const said = await output(promisify(execFile)(serverless, ['package'], { cwd: folder }));
  expect(said).toMatch(/does not import what bundle\.ts replaces: .*\bjs-sha256, js-sha512, base-64$/m);
  expect(said).not.toMatch(/replaces: .*\bmd5/);
});

test('a deployment without a region is refused', async () => {
  const { AWS_REGION: _, ...env } = process.env;
  const serverless = join(root, 'node_modules/.bin/serverless');
  const said = await output(promisify(execFile)(serverless, ['deploy'], { cwd: root, env }));
  expect(said).toContain('Name the region: set AWS_REGION');
});

test('the limits of AWS are kept with everything, in the stage with the longest name', async () => {
  const { template } = await packageService(everything, longestStage);
  expect(beyondLimits(template)).toEqual([]);
  expect(boundToAPlace(template, Object.values(everything))).toEqual([]);
});
