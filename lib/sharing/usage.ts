/** What sharing reports to an invocation, and what it has of it. */

import type { Call, SharingUsage, Usage } from '../core/call.ts';
import { nameOf } from '../core/failure.ts';
import type { Caller } from './store.ts';

/** The usage of an invocation that shares; it begins with the first use. */
export function sharingOf(usage: Usage): SharingUsage {
  usage.sharing ??= { tableUsed: false, tableDelayMs: 0 };
  return usage.sharing;
}

/** An invocation as shared work sees it: its time, and how much the table has delayed it. */
export function callerOf({ deadline, usage }: Call): Caller {
  const sharing = sharingOf(usage);
  return {
    msLeft: deadline.msLeft,
    delayedMs: () => sharing.tableDelayMs,
    onStore(delayMs, failure) {
      sharing.tableUsed = true;
      sharing.tableDelayMs += delayMs;
      if (failure !== undefined) sharing.tableFailure = nameOf(failure);
    },
  };
}

/** @returns milliseconds since the question was sent to Atlas; undefined where answers are not shared, or there is none */
export const answerAgeMs = ({ sharing }: Usage): number | undefined =>
  sharing?.answer && Math.max(0, Date.now() - sharing.answer.askedAt);
