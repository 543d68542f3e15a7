/** An invocation as everything below the doors sees it: how much time it has, and what it used upstream. */

import type { FailureName } from '#contract';
import { type Deadline, startDeadline } from './deadline.ts';
import type { Failure } from './failure.ts';

/** What one invocation used and met upstream: counted where it happens, written out in its log line. */
export type Usage = {
  /** Attempts at an answer from Atlas. */
  attempts: number;
  /** Requests to Atlas that these attempts took, all of them. */
  atlasRequests: number;
  /** … of which asked for a challenge. */
  challengeRequests: number;
  /** … of which asked for an access token. */
  tokenRequests: number;
  atlasMs: number;
  atlasStatus: number | null;
  atlasErrorCode: string | null;
  /** What the sharing of answers used; missing where each question asks Atlas. */
  sharing?: SharingUsage;
  /** Reads of the secret that this invocation waited for. */
  secretReads: number;
  secretMs: number;
  /** Why an expired secret was still used; null if none was. */
  staleSecret: FailureName | null;
  /** Whether `ProjectNotFound` comes from a denied secret, which may also be a broken policy. */
  secretDenied: boolean;
};

export type SharingUsage = {
  /** Where the answer came from, and when its question was sent to Atlas, in milliseconds since the epoch. */
  answer?: { from: 'atlas' | 'memory' | 'table'; askedAt: number };
  /** Whether the table was used, the milliseconds that it was late by, and the last of its failures. */
  tableUsed: boolean;
  tableDelayMs: number;
  tableFailure?: string;
};

export type Call = {
  /** In milliseconds since the epoch, on which other processes agree. */
  beganAtEpochMs: number;
  deadline: Deadline;
  usage: Usage;
  /** The attempts at Atlas that failed so far, with whatever key. Only the loop that makes them changes it. */
  failures: Failure[];
};

export const startUsage = (): Usage => ({
  attempts: 0,
  atlasRequests: 0,
  challengeRequests: 0,
  tokenRequests: 0,
  atlasMs: 0,
  atlasStatus: null,
  atlasErrorCode: null,
  secretReads: 0,
  secretMs: 0,
  staleSecret: null,
  secretDenied: false,
});

/**
 * @param remainingMs milliseconds until the function is ended
 * @throws TypeError where it is no number
 */
export const startCall = (remainingMs: number, usage: Usage): Call => ({
  beganAtEpochMs: Date.now(),
  deadline: startDeadline(remainingMs),
  failures: [],
  usage,
});

/** Runs `work` and adds its milliseconds, failed or not, to one figure of the usage. */
export async function timed<T>(usage: Usage, figure: 'atlasMs' | 'secretMs', work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await work();
  } finally {
    usage[figure] += performance.now() - start;
  }
}
