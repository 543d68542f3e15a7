import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { AwsClient } from 'aws4fetch';

/** Asks how a live migration stands, signing with the AWS identity that the process has. */
export async function getLiveMigration(apiUrl: string, region: string, groupId: string, liveMigrationId: string) {
  const identity = await fromNodeProviderChain()();
  const aws = new AwsClient({ ...identity, service: 'execute-api', region });
  const response = await aws.fetch(`${apiUrl}/groups/${groupId}/liveMigrations/${liveMigrationId}`);
  const answer = JSON.parse(await response.text());
  if (response.ok) return answer;
  // From the gateway itself, which refuses callers, comes a message without a code.
  throw Object.assign(new Error(answer.detail ?? answer.message), { name: answer.code ?? `HTTP ${response.status}` });
}
