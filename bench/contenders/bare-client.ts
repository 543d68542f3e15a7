/** The least that a function with a secret has to load: the Secrets Manager client. */

import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

const secretsManager = new SecretsManagerClient({});

export const handler = (SecretId: string) => secretsManager.send(new GetSecretValueCommand({ SecretId }));
