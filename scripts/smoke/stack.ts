/** Checks of the stack: whose it is, whether it is complete, and what it was deployed with. */

import { DescribeStacksCommand, ListStackResourcesCommand } from '@aws-sdk/client-cloudformation';
import { GetFunctionConfigurationCommand } from '@aws-sdk/client-lambda';
import { sdkError, textOf } from './aws.ts';
import type { Check, Context, Deployment } from './context.ts';
import { Trouble } from './question.ts';

const outputsOf = (api: boolean) => [
  ...(api ? ['ApiUrl'] : []),
  'GetLiveMigrationArn',
  'AwaitLiveMigrationArn',
  'RemindOfCutoverArn',
];

/** Reads what the other checks look at. */
async function read({ aws, service }: Context): Promise<{ status: string; deployment: Omit<Deployment, 'accountId'> }> {
  const { Stacks } = await aws.cloudFormation.send(new DescribeStacksCommand({ StackName: service })).catch((error) => {
    if (/does not exist/.test(error.message))
      throw new Trouble(
        `There is no stack ${service} in this region.`,
        'Deploy it first, or name another --stage or --region.',
      );
    return sdkError('cloudformation:DescribeStacks')(error);
  });
  const [stack] = Stacks ?? [];
  const outputs = Object.fromEntries(
    (stack?.Outputs ?? []).map(({ OutputKey, OutputValue }) => [OutputKey, OutputValue]),
  );
  const resources: Deployment['resources'] = [];
  for (let NextToken: string | undefined, isFirst = true; isFirst || NextToken; isFirst = false) {
    const page = await aws.cloudFormation
      .send(new ListStackResourcesCommand({ StackName: service, NextToken }))
      .catch(sdkError('cloudformation:ListStackResources'));
    NextToken = page.NextToken;
    for (const { ResourceType = '', LogicalResourceId = '', PhysicalResourceId = '' } of page.StackResourceSummaries ??
      [])
      resources.push({ type: ResourceType, logicalId: LogicalResourceId, physicalId: PhysicalResourceId });
  }
  const functionName = `${service}-getLiveMigration`;
  const configuration = await aws.lambda
    .send(new GetFunctionConfigurationCommand({ FunctionName: functionName }))
    .catch((error) => {
      if (error.name === 'ResourceNotFoundException')
        throw new Trouble(
          `There is no function ${functionName}, although the stack is there.`,
          'Deploy the stack again.',
        );
      return sdkError('lambda:GetFunctionConfiguration')(error);
    });
  return {
    status: String(stack?.StackStatus),
    deployment: {
      partition: String(configuration.FunctionArn).split(':')[1] ?? 'aws',
      outputs,
      resources,
      functionName,
      variables: configuration.Environment?.Variables ?? {},
      isTraced: configuration.TracingConfig?.Mode === 'Active',
    },
  };
}

export const stack: Check = {
  name: 'stack',
  seconds: 30,
  actions: [
    'sts:GetCallerIdentity',
    'cloudformation:DescribeStacks',
    'cloudformation:ListStackResources',
    'lambda:GetFunctionConfiguration',
  ],
  async run(context) {
    const { aws, region, service } = context;
    const identity = await aws.query('sts', { Action: 'GetCallerIdentity', Version: '2011-06-15' });
    const { status, deployment } = await read(context);
    context.deployment = { ...deployment, accountId: textOf(identity, 'Account') };
    const { outputs, resources } = context.deployment;
    if (!/^(CREATE|UPDATE|IMPORT)_COMPLETE$/.test(status))
      throw new Trouble(
        `The stack ${service} is ${status}.`,
        /_IN_PROGRESS$/.test(status)
          ? 'Wait until the deployment has ended, and ask again.'
          : 'The last deployment did not succeed: read its events in CloudFormation, and deploy again.',
      );
    const hasApi = resources.some(({ type }) => ['AWS::ApiGatewayV2::Api', 'AWS::ApiGateway::RestApi'].includes(type));
    const missing = outputsOf(hasApi).filter((name) => !outputs[name]);
    if (missing.length > 0)
      throw new Trouble(
        `The stack has no output ${missing.join(', ')}.`,
        'It was deployed with another serverless.yml: deploy it again with this one.',
      );
    return {
      ok: `${service} in ${region}, account ${context.deployment.accountId}, as ${textOf(identity, 'Arn')}: ${status}`,
    };
  },
};
