/** Digest authentication for as long as an execution environment may live: `tests/digest.test.ts` has the rest. */

import { beforeEach, expect, test } from 'vitest';
import { allIsWell, ask, atlas, coldStart, document } from '../support/harness.ts';

beforeEach(allIsWell);

test('5,000 calls against a server that counts strictly and forgets quickly: none fails', async () => {
  atlas.nonceRules = { lifeMs: 1000, maxUses: 1024, inOrder: true };
  const handler = await coldStart();
  for (let call = 0; call < 5000; call += 1) expect(await ask(handler)).toEqual({ document });
  // Only nonces were refused, never an answer to one.
  expect(new Set(atlas.refusals.filter((reason) => !/used up|too old/.test(reason)))).toEqual(new Set());
  expect(atlas.counters.authenticated).toBe(5000);
  expect(atlas.counters.requests).toBe(5000 + atlas.counters.challenges);
});
