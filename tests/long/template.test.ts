/** `npm run template`: the stack that osls deploys, as a plain CloudFormation template, with everything on. */

import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../embedded/tls.ts';
import { unpack } from '../../scripts/package-service.ts';
import { checkout } from '../support/checkout.ts';
import { readSpecification } from '../support/resource-specification.ts';
import { everything, fullForms, ofType, only } from '../support/template.ts';

const read = (folder: string, name: string) => readFileSync(join(folder, name));

function makeTemplate(folder: string, parameters: Record<string, string>, environment = {}) {
  const args = Object.entries(parameters).flatMap(([name, value]) => ['--param', `${name}=${value}`]);
  return promisify(execFile)('npm', ['run', '-s', 'template', '--', '--stage', 'prod', ...args], {
    cwd: folder,
    env: { ...process.env, ...environment },
  });
}

/** The paths under which two values differ. */
function differences(one: unknown, other: unknown, path: string[] = []): string[] {
  if (JSON.stringify(one) === JSON.stringify(other)) return [];
  const [mine, others] = [one, other].map((value) => (typeof value === 'object' ? { ...value } : undefined));
  if (!mine || !others) return [path.join('.')];
  return [...new Set([...Object.keys(mine), ...Object.keys(others)])].flatMap((key) =>
    differences(mine[key as never], others[key as never], [...path, key]),
  );
}

// Where there is no openssl, without.
const certificate = await makeCertificate(['DNS:localhost']);
const settings = [
  { TZ: 'UTC', LANG: 'C' },
  { TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8' },
];

const folders: Record<string, string> = {};
let another: string;
let specification: Awaited<ReturnType<typeof readSpecification>>;
beforeAll(async () => {
  specification = await readSpecification();
  for (const form of Object.keys(fullForms)) folders[form] = checkout(form);
  another = checkout('another place ü');
  await Promise.all(
    [...Object.entries(folders), ['http', another] as const].map(([form, folder]) => {
      const parameters: Record<string, string> = { ...fullForms[form as keyof typeof fullForms] };
      if (certificate && form === 'http') {
        writeFileSync(join(folder, 'company.pem'), certificate.cert);
        parameters['caFile'] = 'company.pem';
      }
      return makeTemplate(folder, parameters, settings[folder === another ? 1 : 0]);
    }),
  );
});

describe.each(Object.keys(fullForms))('of the form %s', (form) => {
  let folder: string;
  let text: string;
  beforeAll(() => {
    folder = folders[form] ?? '';
    text = read(folder, 'dist/template.json').toString();
  });
  const parsed = () => JSON.parse(text);

  test('it differs from what osls deploys in the five things that docs/other-tools.md lists', () => {
    const osls = JSON.parse(read(folder, '.serverless/cloudformation-template-update-stack.json').toString());
    expect(differences(osls, parsed()).toSorted()).toEqual([
      'Outputs.ServerlessDeploymentBucketName',
      'Parameters',
      'Resources.GetLiveMigrationLambdaFunction.Properties.Code.S3Bucket.Ref',
      'Resources.GetLiveMigrationLambdaFunction.Properties.Code.S3Key',
      'Resources.ServerlessDeploymentBucket',
      'Resources.ServerlessDeploymentBucketPolicy',
    ]);
    expect(text).not.toContain('ServerlessDeployment');
    expect(Object.keys(parsed().Parameters)).toEqual(['CodeBucket', 'CodeKey']);
    expect(only(parsed(), 'AWS::Lambda::Function')['Code']).toEqual({
      S3Bucket: { Ref: 'CodeBucket' },
      S3Key: { Ref: 'CodeKey' },
    });
  });

  test("it fits CloudFormation's specification, and has at most 60,000 bytes, none of them a blank", () => {
    expect(specification.problemsOf(parsed())).toEqual([]);
    expect(text).toBe(JSON.stringify(parsed()));
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(60_000);
  });

  test('its version of the function is made of the zip beside it, and of no other', () => {
    const sum = createHash('sha256').update(read(folder, 'dist/function.zip')).digest('base64');
    expect(only(parsed(), 'AWS::Lambda::Version')['CodeSha256']).toBe(sum);
  });

  test('it has what a function in a VPC needs, and denies that to the code of the function', () => {
    expect(only(parsed(), 'AWS::Lambda::Function')['VpcConfig']).toEqual({
      SubnetIds: everything.subnetIds.split(','),
      SecurityGroupIds: [everything.securityGroupIds],
    });
    const [{ PolicyDocument }] = parsed().Resources.FunctionRole.Properties.Policies;
    const mayUse = PolicyDocument.Statement.filter((one: object) => JSON.stringify(one).includes('ec2:'));
    expect(mayUse.map(({ Effect }: { Effect: string }) => Effect)).toEqual(['Allow', 'Deny']);
    expect(mayUse[1].Action).toEqual(mayUse[0].Action);
    expect(JSON.stringify(mayUse[1].Condition)).toContain('function:atlas-live-migration-prod-getLiveMigration"');
    expect(ofType(parsed(), 'AWS::EC2::SecurityGroup')).toEqual([]);
  });
});

test('another checkout with other settings makes the same bytes', () => {
  for (const name of ['dist/template.json', 'dist/function.zip'])
    expect(read(another, name).equals(read(folders['http'] ?? '', name)), name).toBe(true);
});

test.skipIf(!certificate)('the file that caFile names, relative to the project, is in the zip', () => {
  const { files, remove } = unpack(read(another, 'dist/function.zip'));
  expect(files).toContain('ca.pem');
  remove();
});

test('wrong parameters are refused with the sentence of serverless package, and nothing is written; its warnings are passed on', async () => {
  const folder = checkout('refused');
  await expect(makeTemplate(folder, { nonsense: '1', api: 'soap' })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining(
      'the parameters are not valid: there is no parameter nonsense; api must be http, rest, private or none.',
    ),
  });
  expect(existsSync(join(folder, 'dist'))).toBe(false);
  const { stderr } = await makeTemplate(folder, { api: 'none', noProxy: '10.0.0.0/8' });
  expect(stderr).toContain('Warning: noProxy has the CIDR block 10.0.0.0/8');
});

const hasTerraform = spawnSync('terraform', ['-version']).status === 0;

test.skipIf(!hasTerraform)("Terraform reads the documents' example, and would not format it otherwise", () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/other-tools.md'), 'utf8');
  const [, example] = /```hcl\n(.*?)```/s.exec(document) ?? [];
  const { stdout } = spawnSync('terraform', ['fmt', '-'], { input: example, encoding: 'utf8' });
  expect(stdout).toBe(example);
});
