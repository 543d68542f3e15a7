import { isProblem, type LiveMigration } from 'atlas-live-migration-contract';

/** Returns the status of a live migration. The token is a JWT of the deployment's `jwtIssuer`. */
export async function getLiveMigration(apiUrl: string, token: string, groupId: string, liveMigrationId: string) {
  const response = await fetch(`${apiUrl}/groups/${groupId}/liveMigrations/${liveMigrationId}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(25_000),
  });
  const answer: unknown = await response.json();
  if (response.ok) return answer as LiveMigration;
  if (isProblem(answer)) throw Object.assign(new Error(answer.detail), { name: answer.code });
  // From the API Gateway itself: 401 where the token is missing or no longer valid.
  throw new Error(`HTTP ${response.status}: ${JSON.stringify(answer)}`);
}
