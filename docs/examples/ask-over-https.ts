import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { isProblem, type LiveMigration } from 'atlas-live-migration-contract';
import { AwsClient } from 'aws4fetch';

/** Returns the status of a live migration. Signs with the AWS identity of the process. */
export async function getLiveMigration(apiUrl: string, region: string, groupId: string, liveMigrationId: string) {
  const identity = await fromNodeProviderChain()();
  // The function itself has tried again already. By default, aws4fetch repeats a failed request ten times.
  const aws = new AwsClient({ ...identity, service: 'execute-api', region, retries: 0 });
  const signal = AbortSignal.timeout(25_000);
  const response = await aws.fetch(`${apiUrl}/groups/${groupId}/liveMigrations/${liveMigrationId}`, { signal });
  const answer: unknown = await response.json();
  if (response.ok) return answer as LiveMigration;
  if (isProblem(answer)) throw Object.assign(new Error(answer.detail), { name: answer.code });
  // From the API Gateway itself, which refuses callers, comes a message without a code.
  throw new Error(`HTTP ${response.status}: ${JSON.stringify(answer)}`);
}
