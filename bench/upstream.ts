/** What every contender asks: an embedded Atlas with one key and one migration, and the secret that holds the key. */

import type { Socket } from 'node:net';
import { startEmbeddedAtlas } from '../embedded/atlas.ts';
import { demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { startEmbeddedSecretsManager } from '../embedded/secrets-manager.ts';

const [groupId, liveMigrationId] = [demoGroupId, demoIds.completes];
const [publicKey, privateKey] = ['kqzjwxyv', '0a1b2c3d-PRIVATE-KEY-4e5f'];
const secretId = 'atlas/bench';

/** What the servers saw. */
export type Traffic = {
  atlasRequests: number;
  atlasConnections: number;
  secretReads: number;
  secretConnections: number;
};

export async function startUpstream() {
  const entity = {
    _id: liveMigrationId,
    status: 'WORKING',
    migrationHosts: ['vm001.example.com'],
    lagTimeSeconds: 42,
    readyForCutover: false,
  };
  const atlas = await startEmbeddedAtlas({ projects: { [groupId]: { [liveMigrationId]: () => entity } } });
  const secretsManager = await startEmbeddedSecretsManager();
  atlas.keys[publicKey] = privateKey;
  secretsManager.secrets[secretId] = JSON.stringify({ publicKey, privateKey });
  const secretSockets = new Set<Socket>();
  secretsManager.intercept = ({ socket }) => {
    secretSockets.add(socket);
    return false;
  };

  const seen = (): Traffic => ({
    atlasRequests: atlas.counters.requests,
    atlasConnections: atlas.counters.connections,
    secretReads: secretsManager.counters.reads,
    secretConnections: secretSockets.size,
  });

  return {
    atlas,
    secretsManager,
    /** The variables of a function that asks here. */
    environment: {
      ATLAS_SECRET_ID: secretId,
      ATLAS_BASE_URL: atlas.baseUrl,
      AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
      AWS_ACCESS_KEY_ID: 'AKIABENCHBENCHBENCHB',
      AWS_SECRET_ACCESS_KEY: 'AWS-SECRET-ACCESS-KEY-of-the-benchmark',
      AWS_SESSION_TOKEN: 'AWS-SESSION-TOKEN-of-the-benchmark',
      AWS_REGION: 'us-east-1',
      // What Lambda sets, and what a log line has of it.
      POWERTOOLS_SERVICE_NAME: 'atlas-live-migration-prod',
      _X_AMZN_TRACE_ID: 'Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1',
      BENCH_GROUP_ID: groupId,
      BENCH_LIVE_MIGRATION_ID: liveMigrationId,
      // The floor reads no secret.
      BENCH_PUBLIC_KEY: publicKey,
      BENCH_PRIVATE_KEY: privateKey,
    },
    /** Counts what `work` makes the servers see. */
    async trafficOf(work: () => Promise<unknown>): Promise<Traffic> {
      Object.assign(atlas.counters, { requests: 0, connections: 0 });
      secretsManager.counters.reads = 0;
      secretSockets.clear();
      await work();
      return seen();
    },
    /** Forgets the requests that the embedded Atlas keeps for tests: thousands of them would slow it down. */
    forget() {
      atlas.seen.length = 0;
      secretSockets.clear();
    },
    close: () => Promise.all([atlas.close(), secretsManager.close()]),
  };
}

export type Upstream = Awaited<ReturnType<typeof startUpstream>>;
