/** The child of `frozen-process.ts`: asks as often as it is told to, all at once, and sends what came of it. */

import { lambdaContext } from '../../embedded/lambda-invoke.ts';
import { handler } from '../../functions/get-live-migration.ts';

const event = { groupId: '5f1b2c3d4e5f6a7b8c9d0e1f', liveMigrationId: '7e68e12770616e75e6df43d0' };

process.on('message', async (burst: number) => {
  const asked = Array.from({ length: burst }, () => handler(event, lambdaContext('getLiveMigration', 20_000)));
  const outcomes = await Promise.allSettled(asked);
  process.send?.(
    outcomes.map((outcome) =>
      outcome.status === 'fulfilled' ? { document: outcome.value } : { failure: String(outcome.reason) },
    ),
  );
});
process.send?.('ready');
