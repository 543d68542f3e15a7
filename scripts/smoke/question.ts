/** Asks a deployed API for one live migration, and explains each thing that may be wrong with it. */

import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { AwsClient } from 'aws4fetch';
import type { FailureName, LiveMigration, Problem } from '#contract';
import type { Network } from '../network.ts';
import { printable, printableLines } from '../printable.ts';

export type Question = {
  stage: string;
  region: string;
  /** The API's address; without it, the stack of the stage is asked. */
  url?: string | undefined;
  /** A JWT, instead of a signature. */
  token?: string | undefined;
  groupId: string;
  liveMigrationId: string;
};

type Answer = Partial<LiveMigration> & Partial<Omit<Problem, 'status'>> & { message?: string; Message?: string };

/** What is wrong, and on the next lines what to do. */
export class Trouble extends Error {
  constructor(what: string, ...more: string[]) {
    super([what, ...more].map(printable).join('\n  '));
  }
}

/** What to do about each failure; docs/operate.md tells more. */
export const advice: Record<FailureName, string> = {
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

const identity = ({ client }: Network) =>
  client.credentials().catch(({ message }: Error) => {
    throw new Trouble(message);
  });

/** What to do about a failure, whose detail may tell more than its name. */
export const adviceOn = (name: FailureName, detail: string): string =>
  detail.includes('is not trusted')
    ? 'docs/deploy.md, "TLS that is inspected", says what to do.'
    : detail.includes('through the proxy')
      ? 'Check the way to the proxy, and what it allows: docs/deploy.md, "Closed networks".'
      : advice[name];

/** Explains an error of CloudFormation, and what to do. */
function refusal(
  error: Error & { $metadata?: { httpStatusCode?: number } },
  stack: string,
  region: string,
  { whyUnreached }: Network,
): Trouble {
  const { name, message, $metadata } = error;
  if (message.includes('does not exist')) {
    return new Trouble(
      `There is no stack ${stack} in ${region}.`,
      'Deploy it first, or name another --stage or --region.',
    );
  }
  return $metadata?.httpStatusCode
    ? new Trouble(
        `CloudFormation refuses to describe the stack ${stack} (${name}).`,
        'Your identity needs cloudformation:DescribeStacks; or give the address with --url.',
      )
    : new Trouble(
        whyUnreached('CloudFormation', error),
        'Check the network and the region; or give the address with --url.',
      );
}

async function lookUpUrl({ stage, region }: Question, network: Network): Promise<string> {
  const StackName = `atlas-live-migration-${stage}`;
  const client = new CloudFormationClient({ ...network.client, region, credentials: await identity(network) });
  const { Stacks } = await client.send(new DescribeStacksCommand({ StackName })).catch((error) => {
    throw refusal(error, StackName, region, network);
  });
  const found = Stacks?.[0]?.Outputs?.find(({ OutputKey }) => OutputKey === 'ApiUrl')?.OutputValue;
  if (found) return found;
  throw new Trouble(
    `The stack ${StackName} has no output ApiUrl.`,
    'With api=none, there is no API: invoke the function. Otherwise, deploy the stack again with this serverless.yml.',
  );
}

async function ask(apiUrl: string, question: Question, network: Network): Promise<Response> {
  const { region, token, groupId, liveMigrationId } = question;
  const target = `${apiUrl}/groups/${groupId}/liveMigrations/${liveMigrationId}`;
  if (token) return network.send(new Request(target, { headers: { authorization: `Bearer ${token}` } }));
  const aws = new AwsClient({ ...(await identity(network)), service: 'execute-api', region });
  return network.send(await aws.sign(target));
}

/**
 * @returns what to print of the answer
 * @throws Trouble
 */
export async function askDeployed(question: Question, network: Network): Promise<string> {
  const { url, token, groupId } = question;
  const apiUrl = (url ?? (await lookUpUrl(question, network))).replace(/\/+$/, '');
  const response = await ask(apiUrl, question, network).catch((error) => {
    if (error instanceof Trouble) throw error;
    throw new Trouble(
      `Nothing answers at ${apiUrl}. ${network.whyUnreached(new URL(apiUrl).host, error)}`,
      'Check the address, and the network route from this machine. A private API answers only from inside its VPCs.',
    );
  });
  const parsed = (await response.json().catch(() => ({}))) as Answer;
  // API Gateway writes it both ways.
  const answer = { message: parsed.Message, ...parsed };

  if (response.ok && answer.id) {
    const { status, lagTimeSeconds = null, readyForCutover } = answer;
    const lag = lagTimeSeconds === null ? 'not known' : `${lagTimeSeconds} s`;
    const sentence = `✓ The live migration is ${status}: lag ${lag}, ready for cutover ${readyForCutover ?? 'not known'}.`;
    return `${printable(sentence)}\n${printableLines(JSON.stringify(answer, null, 2))}`;
  }
  if (answer.code && Object.hasOwn(advice, answer.code)) {
    throw new Trouble(
      `${answer.code}: ${answer.detail}`,
      adviceOn(answer.code, String(answer.detail)),
      `request id ${answer.requestId}`,
    );
  }
  if (answer.message?.includes('explicit deny') && !answer.message.includes('identity-based')) {
    throw new Trouble(
      `The resource policy of the API refuses this request (${response.status}: ${answer.message}).`,
      'A private API answers only through the VPC endpoints in vpcEndpointIds: ask from a machine inside their VPCs.',
    );
  }
  if (token && [401, 403].includes(response.status)) {
    throw new Trouble(
      `API Gateway refuses the token (${response.status}: ${answer.message ?? 'no message'}).`,
      'It must be a JWT of the issuer, the audience and one of the scopes that this API was deployed with, and not expired.',
    );
  }
  if (response.status === 401) {
    throw new Trouble(
      'API Gateway does not accept the JWT (401).',
      'This API wants a JWT of the issuer and audience that it was deployed with: --token.',
    );
  }
  if (response.status === 404 || answer.message === 'Missing Authentication Token') {
    // A REST API says the latter.
    throw new Trouble(
      'API Gateway has no such route.',
      'Check the address: is it this API, with its stage where it has one?',
    );
  }
  if (/security token|Credential should be scoped|Signature/.test(answer.message ?? '')) {
    throw new Trouble(
      // The next lines quote the request, with the token of the session.
      `AWS does not accept the signature (${response.status}: ${answer.message?.split('\n')[0]}).`,
      'Sign in again, name the region of the API with --region, and check the clock of this machine.',
    );
  }
  if (response.status === 403) {
    throw new Trouble(
      `API Gateway refuses your AWS identity (403: ${answer.message ?? 'no message'}).`,
      `It needs execute-api:Invoke on GET /groups/${groupId}/liveMigrations/*.`,
    );
  }
  if (response.status === 429) {
    throw new Trouble(
      'API Gateway throttles (429).',
      'Ask again, or raise the parameters throttlingRate and throttlingBurst.',
    );
  }
  throw new Trouble(
    `The API answered ${response.status} without a failure code of this service.`,
    response.status < 500
      ? 'Check the address: is it this API?'
      : 'The function did not start: look at its log for an invalid environment variable.',
  );
}
