/** All checks of `npm run smoke` against AWS as it stands in for tests. */

import { vi } from 'vitest';
import { connectNetwork } from '../../scripts/network.ts';
import { type Result, runChecks } from '../../scripts/smoke/run.ts';
import { type Answers, startAws } from './aws.ts';
import { groupId, liveMigrationId } from './harness.ts';

const ids = { groupId, liveMigrationId };

export type World = Awaited<ReturnType<typeof startAws>>;

/** Runs all checks. */
export async function smoke(
  change?: (answers: Answers, world: World) => void,
  more: object = {},
  emulator?: Parameters<typeof startAws>[1],
) {
  vi.stubEnv('AWS_SESSION_TOKEN', '');
  const world = await startAws(change as never, emulator);
  const results = await runChecks(
    { stage: 'prod', region: 'us-east-1', ids, notify: false, pace: 1 / 100, ...more },
    connectNetwork(),
    { began: () => undefined, ended: () => undefined },
    new AbortController().signal,
  );
  return { results, world, of: (name: string) => results.find(({ check }) => check === name) as Result };
}
