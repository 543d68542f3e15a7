/** How often a property is tried: each run tries other values. */

import { expect } from 'vitest';

/** @param short times in the short set; in the long one, five times as many */
export const runs = (short: number) => ({
  numRuns: expect.getState().testPath?.includes('/tests/long/') ? 5 * short : short,
});
