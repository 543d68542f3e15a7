/** What people would write instead: for each call the secret is read, and a new digest-fetch client asks Atlas. */

import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { DigestClient } from 'digest-fetch';

const { ATLAS_SECRET_ID, ATLAS_BASE_URL } = process.env;
const secretsManager = new SecretsManagerClient({});

export async function handler({ groupId, liveMigrationId }: { groupId: string; liveMigrationId: string }) {
  const { SecretString } = await secretsManager.send(new GetSecretValueCommand({ SecretId: ATLAS_SECRET_ID }));
  const { publicKey, privateKey } = JSON.parse(SecretString ?? '');
  const client = new DigestClient(publicKey, privateKey);
  const answer = await client.fetch(`${ATLAS_BASE_URL}/groups/${groupId}/liveMigrations/${liveMigrationId}`);
  return answer.json();
}
