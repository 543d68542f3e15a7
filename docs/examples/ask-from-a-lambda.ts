import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import type { LiveMigration } from 'atlas-live-migration-contract';

const lambda = new LambdaClient();

/** Returns the status of a live migration. A failure is thrown as an Error with the name of the failure. */
export async function getLiveMigration(groupId: string, liveMigrationId: string): Promise<LiveMigration> {
  const { FunctionError, Payload } = await lambda.send(
    new InvokeCommand({
      FunctionName: process.env.GET_LIVE_MIGRATION,
      Payload: JSON.stringify({ groupId, liveMigrationId }),
    }),
    // The SDK has no time limit by default. After its requestTimeout, it would invoke the function again.
    { abortSignal: AbortSignal.timeout(25_000) },
  );
  const answer = JSON.parse(Buffer.from(Payload ?? []).toString());
  if (!FunctionError) return answer;
  throw Object.assign(new Error(answer.errorMessage), { name: answer.errorType });
}
