/** What one invocation cost and met upstream: counted where it happens, written out in its log line. */

export type Tally = {
  /** When the invocation began, as `performance.now()` tells it. */
  startedAt: number;
  /** Attempts at an answer from Atlas. */
  attempts: number;
  /** Requests to Atlas that these attempts took, challenges included. */
  atlasRequests: number;
  atlasMs: number;
  atlasStatus: number | null;
  atlasErrorCode: string | null;
  /** Reads of the secret that this invocation waited for. */
  secretReads: number;
  secretMs: number;
};

export const newTally = (): Tally => ({
  startedAt: performance.now(),
  attempts: 0,
  atlasRequests: 0,
  atlasMs: 0,
  atlasStatus: null,
  atlasErrorCode: null,
  secretReads: 0,
  secretMs: 0,
});

/** Runs `work` and adds the milliseconds that it took, well or badly, to one figure of the tally. */
export async function timed<T>(tally: Tally, figure: 'atlasMs' | 'secretMs', work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await work();
  } finally {
    tally[figure] += performance.now() - start;
  }
}
