/** What `serverless package` makes of the forms of the API other than the HTTP API. */

import { beforeAll, expect, test } from 'vitest';
import { packageService } from '../../deploy/package-service.ts';
import { readSpecification } from '../support/resource-specification.ts';
import { callersOf, nullsIn, otherForms, partsOf, splitResources } from '../support/template.ts';

let specification: Awaited<ReturnType<typeof readSpecification>>;
beforeAll(async () => {
  specification = await readSpecification();
});

test.each(Object.entries(otherForms))(
  'CloudFormation takes the template of the form %s, in which our parts are as they are',
  async (_, parameters) => {
    const [{ template }, parts] = await Promise.all([packageService(parameters), partsOf(parameters)]);
    expect(specification.problemsOf(template)).toEqual([]);
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
      expect.arrayContaining(['GetLiveMigrationArn', 'AwaitLiveMigrationArn']),
    );
  },
);
