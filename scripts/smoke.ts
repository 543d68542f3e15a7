/** `npm run smoke`: asks a deployed API for one live migration, and says in plain words what is wrong where something is. */

import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { AwsClient } from 'aws4fetch';
import type { FailureName, LiveMigration, Problem } from '#contract';
import { readCommandLine, twoIds } from './command-line.ts';

const usage = `Usage: npm run smoke -- --stage STAGE GROUP_ID LIVE_MIGRATION_ID [options]
  --stage STAGE    the stage that was deployed (default dev)
  --region REGION  where it was deployed (default AWS_REGION, or else us-east-1)
  --url URL        the API's address, instead of looking it up by its stage
  --token JWT      a JWT, where the API wants one instead of an AWS identity`;

/** What to do about each failure; docs/operate.md tells more. */
const advice: Record<FailureName, string> = {
  InvalidRequest: 'Check both ids: they are 24 hexadecimal digits in lower case.',
  ProjectNotFound: 'Check GROUP_ID: it is the id of the project, which Atlas shows in the project settings.',
  LiveMigrationNotFound: 'Everything works up to Atlas. Check LIVE_MIGRATION_ID: it must be of this project.',
  AtlasAccessDenied:
    'The key is good. Allow the address that the detail names in the API access list of the key, or give the key the role Organization Member.',
  AtlasCredentialsRejected: 'The key in the secret is wrong or was deleted: put a valid one into the secret.',
  AtlasRateLimited: 'Everything works up to Atlas. Ask again later.',
  AtlasUnavailable: 'Atlas is down, or the function cannot reach it: in a VPC, it needs a NAT gateway.',
  AtlasTimedOut: 'Atlas is slow, or the function cannot reach it: in a VPC, it needs a NAT gateway.',
  AtlasUnexpectedAnswer:
    'Check atlasBaseUrl, or baseUrl in the secret: it must be the one of the Atlas Administration API.',
  SecretUnavailable: 'The function cannot reach Secrets Manager: in a VPC, it needs a NAT gateway or an endpoint.',
  SecretInvalid: 'Check the parameters atlasSecretId and kmsKeyArn, and the JSON in the secret.',
  InternalError: 'Look at the log line of the function.',
};

function stop(what: string, ...more: string[]): never {
  console.error(['✗', what].join(' '));
  for (const line of more) console.error(`  ${line}`);
  process.exit(1);
}

const { stage, region, url, token, groupId, liveMigrationId } = readCommandLine(
  usage,
  {
    stage: { type: 'string', default: 'dev' },
    region: { type: 'string', default: process.env['AWS_REGION'] || 'us-east-1' },
    url: { type: 'string' },
    token: { type: 'string' },
  },
  (options, positionals) => {
    if (options.url !== undefined && !URL.canParse(options.url)) throw new Error('--url must be a URL.');
    return { ...options, ...twoIds(positionals) };
  },
);

const credentials = async () =>
  fromNodeProviderChain()().catch(() =>
    stop(
      'No AWS credentials were found.',
      'Sign in (aws sso login, aws configure), or set AWS_PROFILE or AWS_ACCESS_KEY_ID.',
    ),
  );

/** Explains an error of CloudFormation, and what to do. */
function refusal(
  { name, message, $metadata }: Error & { $metadata?: { httpStatusCode?: number } },
  stack: string,
): [string, string] {
  if (message.includes('does not exist')) {
    return [`There is no stack ${stack} in ${region}.`, 'Deploy it first, or name another --stage or --region.'];
  }
  return $metadata?.httpStatusCode
    ? [
        `CloudFormation refuses to describe the stack ${stack} (${name}).`,
        'Your identity needs cloudformation:DescribeStacks; or give the address with --url.',
      ]
    : [
        `CloudFormation cannot be reached (${name}).`,
        'Check the network and the region; or give the address with --url.',
      ];
}

async function lookUpUrl(): Promise<string> {
  const StackName = `atlas-live-migration-${stage}`;
  const client = new CloudFormationClient({ region, credentials: await credentials() });
  const { Stacks } = await client
    .send(new DescribeStacksCommand({ StackName }))
    .catch((error) => stop(...refusal(error, StackName)));
  const found = Stacks?.[0]?.Outputs?.find(({ OutputKey }) => OutputKey === 'ApiUrl')?.OutputValue;
  return (
    found ??
    stop(
      `The stack ${StackName} has no output ApiUrl.`,
      'With api=none, there is no API: invoke the function. Otherwise, deploy the stack again with this serverless.yml.',
    )
  );
}

async function ask(apiUrl: string): Promise<Response> {
  const target = `${apiUrl}/groups/${groupId}/liveMigrations/${liveMigrationId}`;
  if (token) return fetch(target, { headers: { authorization: `Bearer ${token}` } });
  const aws = new AwsClient({ ...(await credentials()), service: 'execute-api', region, retries: 0 });
  return aws.fetch(target);
}

const apiUrl = (url ?? (await lookUpUrl())).replace(/\/+$/, '');
const response = await ask(apiUrl).catch(() =>
  stop(
    `Nothing answers at ${apiUrl}.`,
    'Check the address, and the network route from this machine. A private API answers only from inside its VPCs.',
  ),
);
const text = await response.text();
const parse = (): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
};
const parsed = parse() as Partial<LiveMigration> & Partial<Omit<Problem, 'status'>> & { Message?: string };
// API Gateway writes it both ways.
const answer = { message: parsed.Message, ...parsed } as typeof parsed & { message?: string };

if (response.ok && answer.id) {
  const { status, lagTimeSeconds = null, readyForCutover } = answer;
  const lag = lagTimeSeconds === null ? 'not known' : `${lagTimeSeconds} s`;
  console.log(`✓ The live migration is ${status}: lag ${lag}, ready for cutover ${readyForCutover ?? 'not known'}.`);
  console.log(JSON.stringify(answer, null, 2));
} else if (answer.code) {
  stop(`${answer.code}: ${answer.detail}`, advice[answer.code], `request id ${answer.requestId}`);
} else if (answer.message?.includes('explicit deny') && !answer.message.includes('identity-based')) {
  stop(
    `The resource policy of the API refuses this request (${response.status}: ${answer.message}).`,
    'A private API answers only through the VPC endpoints in vpcEndpointIds: ask from a machine inside their VPCs.',
  );
} else if (token && [401, 403].includes(response.status)) {
  stop(
    `API Gateway refuses the token (${response.status}: ${answer.message ?? 'no message'}).`,
    'It must be a JWT of the issuer, the audience and one of the scopes that this API was deployed with, and not expired.',
  );
} else if (response.status === 401) {
  stop(
    'API Gateway does not accept the JWT (401).',
    'This API wants a JWT of the issuer and audience that it was deployed with: --token.',
  );
} else if (response.status === 404 || answer.message === 'Missing Authentication Token') {
  // A REST API says the latter.
  stop('API Gateway has no such route.', 'Check the address: is it this API, with its stage where it has one?');
} else if (/security token|Credential should be scoped|Signature/.test(answer.message ?? '')) {
  stop(
    `AWS does not accept the signature (${response.status}: ${answer.message}).`,
    'Sign in again, name the region of the API with --region, and check the clock of this machine.',
  );
} else if (response.status === 403) {
  stop(
    `API Gateway refuses your AWS identity (403: ${answer.message ?? 'no message'}).`,
    `It needs execute-api:Invoke on GET /groups/${groupId}/liveMigrations/*.`,
  );
} else if (response.status === 429) {
  stop('API Gateway throttles (429).', 'Ask again, or raise the parameters throttlingRate and throttlingBurst.');
} else {
  stop(
    `The API answered ${response.status} without a failure code of this service.`,
    response.status < 500
      ? 'Check the address: is it this API?'
      : 'The function did not start: look at its log for an invalid environment variable.',
  );
}
