/** How each failure of the closed list is brought about, with the knobs of the embedded servers. */

import { vi } from 'vitest';
import type { FailureName } from '#contract';
import { atlasError, type Reply } from '../../embedded/atlas.ts';
import { atlas, privateKey, publicKey, secretId, secretsManager } from './harness.ts';

const says = (reply: Reply) => () => {
  atlas.reply = () => reply;
};

const scenarios: Record<FailureName, () => void> = {
  InvalidRequest: () => undefined,
  ProjectNotFound: says(atlasError(404, 'GROUP_NOT_FOUND')),
  LiveMigrationNotFound: says(atlasError(404, 'RESOURCE_NOT_FOUND')),
  AtlasAccessDenied: says(atlasError(403, 'ACCESS_FORBIDDEN')),
  AtlasCredentialsRejected: () => {
    atlas.keys = {};
  },
  AtlasRateLimited: says({ ...atlasError(429, 'RATE_LIMITED'), headers: { 'retry-after': '60' } }),
  AtlasUnavailable: says({ status: 503, body: 'UPSTREAM-BODY' }),
  AtlasTimedOut: () => {
    vi.stubEnv('ATLAS_TIMEOUT_MS', '100');
    atlas.intercept = (request) => request.headers.authorization !== undefined;
  },
  AtlasUnexpectedAnswer: says({ status: 200, body: '{"UPSTREAM-BODY": "' }),
  SecretUnavailable: () => {
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
  },
  SecretInvalid: () => {
    secretsManager.secrets[secretId] = `{"publicKey":"${publicKey}","privateKey":"${privateKey}"`;
  },
  InternalError: () => {
    atlas.reply = () => ({ status: 503, body: 'UPSTREAM-BODY' });
    vi.spyOn(Math, 'random').mockImplementation(() => {
      throw new Error(privateKey);
    });
  },
};

/** Sets up the failure, after `allIsWell` and before the cold start; a bad request needs no set-up. */
export const bringAbout = (name: FailureName): void => scenarios[name]();
