/**
 * Ids whose questions always end in the same failure, so that an app's developer can try how it handles each. They end in
 * the HTTP status of the failure, or of what causes it.
 */

import type { FailureName } from '#contract';
import { atlasError, type EmbeddedAtlas, type Reply } from './atlas.ts';
import { demoGroupId, demoIds } from './demo-migrations.ts';
import type { EmbeddedSecretsManager } from './secrets-manager.ts';

type Question = { groupId: string; liveMigrationId: string };

const ending = (digits: string) => `fa11ed00000000000000${digits}`;
const migration = (digits: string) => ({ groupId: demoGroupId, liveMigrationId: ending(digits) });
/** A project has a secret of its own, and so failures of its own. */
const project = (digits: string) => ({ groupId: ending(digits), liveMigrationId: demoIds.completes });

/** What to ask for each failure. `InternalError` can't be brought about: openapi.yaml has an example of it. */
export const failuresOnDemand = {
  InvalidRequest: { groupId: demoGroupId, liveMigrationId: 'not-an-id' },
  ProjectNotFound: project('0404'),
  LiveMigrationNotFound: migration('0404'),
  AtlasAccessDenied: migration('0403'),
  AtlasCredentialsRejected: project('0401'),
  AtlasRateLimited: migration('0429'),
  AtlasUnavailable: migration('0503'),
  AtlasTimedOut: migration('0504'),
  AtlasUnexpectedAnswer: migration('0502'),
  SecretUnavailable: project('0503'),
  SecretInvalid: project('0500'),
} satisfies Record<Exclude<FailureName, 'InternalError'>, Question>;

/** What Atlas answers, by the id of the live migration. */
const replies: Record<string, Reply> = {
  [failuresOnDemand.AtlasAccessDenied.liveMigrationId]: atlasError(403, 'IP_ADDRESS_NOT_ON_ACCESS_LIST', [
    '203.0.113.7',
  ]),
  [failuresOnDemand.AtlasRateLimited.liveMigrationId]: {
    ...atlasError(429, 'RATE_LIMITED'),
    headers: { 'retry-after': '30' },
  },
  [failuresOnDemand.AtlasUnavailable.liveMigrationId]: atlasError(503, 'SERVICE_UNAVAILABLE'),
  [failuresOnDemand.AtlasUnexpectedAnswer.liveMigrationId]: {
    status: 200,
    headers: { 'content-type': 'text/html' },
    body: '<h1>Maintenance</h1>',
  },
};

/** Makes the embedded services fail for these ids. The function reads a secret for each project: `atlas/{groupId}`. */
export function failOnDemand(atlas: EmbeddedAtlas, { secrets }: EmbeddedSecretsManager, publicKey: string): void {
  const idOf = (url = '') => /\/liveMigrations\/(\w+)/.exec(url)?.[1] ?? '';
  atlas.reply = ({ url }) => replies[idOf(url)];
  // No answer at all.
  atlas.intercept = ({ url }) => idOf(url) === failuresOnDemand.AtlasTimedOut.liveMigrationId;
  secrets[`atlas/${failuresOnDemand.AtlasCredentialsRejected.groupId}`] = JSON.stringify({
    publicKey,
    privateKey: 'a-wrong-private-key',
    baseUrl: atlas.baseUrl,
  });
  secrets[`atlas/${failuresOnDemand.SecretInvalid.groupId}`] = JSON.stringify({ publicKey });
  secrets[`atlas/${failuresOnDemand.SecretUnavailable.groupId}`] = { status: 500, name: 'InternalServiceError' };
}
