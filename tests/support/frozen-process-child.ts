/** The child of `frozen-process.ts`: makes that many calls at once, and sends their outcomes. */

import { demoGroupId, demoIds } from '../../embedded/demo-migrations.ts';
import { lambdaContext } from '../../embedded/lambda-invoke.ts';
import { handler } from '../../functions/get-live-migration.ts';

const event = { groupId: demoGroupId, liveMigrationId: demoIds.completes };

process.on('message', async (burst: number) => {
  const asked = Array.from({ length: burst }, () => handler(event, lambdaContext()));
  const outcomes = await Promise.allSettled(asked);
  process.send?.(
    outcomes.map((outcome) =>
      outcome.status === 'fulfilled' ? { document: outcome.value } : { failure: String(outcome.reason) },
    ),
  );
});
process.send?.('ready');
