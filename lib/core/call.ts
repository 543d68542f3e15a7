/** An invocation as everything below the doors sees it: how much time it has, and what it used upstream. */

import type { FailureName } from '#contract';
import { type Deadline, startDeadline } from './deadline.ts';
import { type Failure, nameOf } from './failure.ts';

/** What one invocation used and met upstream: counted where it happens, written out in its log line. */
export type Usage = {
  /** When the invocation began, as `performance.now()` tells it. */
  startedAt: number;
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
  /** When the answered request was sent to Atlas, by this or another invocation, in milliseconds since the epoch. */
  askedAt: number;
  /** Where the answer came from; null where answers are not shared, or there is none. */
  answerFrom: 'atlas' | 'memory' | 'table' | null;
  /** Whether the table of shared answers was used, the milliseconds that it was late by, and the last of its failures. */
  tableUsed: boolean;
  tableDelayMs: number;
  tableFailure: string | null;
  /** Reads of the secret that this invocation waited for. */
  secretReads: number;
  secretMs: number;
  /** Why an expired secret was still used; null if none was. */
  staleSecret: FailureName | null;
  /** Whether `ProjectNotFound` comes from a denied secret, which may also be a broken policy. */
  secretDenied: boolean;
};

export type Call = {
  /** In milliseconds since the epoch. */
  beganAt: number;
  deadline: Deadline;
  usage: Usage;
  /** The attempts at Atlas that failed so far, with whatever key. */
  failures: Failure[];
};

/** @param remainingMs milliseconds until the function is ended */
export const startCall = (remainingMs: number): Call => ({
  beganAt: Date.now(),
  deadline: startDeadline(remainingMs),
  failures: [],
  usage: {
    startedAt: performance.now(),
    attempts: 0,
    atlasRequests: 0,
    challengeRequests: 0,
    tokenRequests: 0,
    atlasMs: 0,
    atlasStatus: null,
    atlasErrorCode: null,
    askedAt: 0,
    answerFrom: null,
    tableUsed: false,
    tableDelayMs: 0,
    tableFailure: null,
    secretReads: 0,
    secretMs: 0,
    staleSecret: null,
    secretDenied: false,
  },
});

/** @returns milliseconds since the question was sent to Atlas; undefined where answers are not shared, or there is none */
export const answerAgeMs = ({ answerFrom, askedAt }: Usage): number | undefined =>
  answerFrom === null ? undefined : Math.max(0, Date.now() - askedAt);

/** How work that is shared through the table reports to an invocation, and learns how much the table has delayed it. */
export const tableUseOf = (usage: Usage) => ({
  delayedMs: () => usage.tableDelayMs,
  onStore(delayMs: number, failure?: unknown): void {
    usage.tableUsed = true;
    usage.tableDelayMs += delayMs;
    if (failure !== undefined) usage.tableFailure = nameOf(failure);
  },
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
