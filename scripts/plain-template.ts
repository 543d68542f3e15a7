/** Makes of osls's template one that any tool can deploy: without the bucket that only osls fills. */

import type { packageIn } from './package-service.ts';

type Template = Awaited<ReturnType<typeof packageIn>>['template'];

/** @returns the same stack, with the function's code from the CloudFormation parameters CodeBucket and CodeKey */
export function plainTemplate(template: Template) {
  const { Resources, Outputs, ...rest } = structuredClone(template);
  delete Resources['ServerlessDeploymentBucket'];
  delete Resources['ServerlessDeploymentBucketPolicy'];
  delete Outputs['ServerlessDeploymentBucketName'];
  // osls's key has the time in it.
  Object.assign(Resources['GetLiveMigrationLambdaFunction']?.Properties ?? {}, {
    Code: { S3Bucket: { Ref: 'CodeBucket' }, S3Key: { Ref: 'CodeKey' } },
  });
  const Parameters = {
    CodeBucket: { Type: 'String', Description: 'The bucket that holds function.zip, in the region of the stack' },
    CodeKey: { Type: 'String', Description: 'The key of function.zip, another one for each content' },
  };
  return { ...rest, Parameters, Resources, Outputs };
}
