/** What the layers of the pipeline know of an invocation. */

import type { Context } from 'aws-lambda';
import type { LiveMigration } from '#contract';
import type { Call, Usage } from '../core/call.ts';
import type { Question } from '../core/question.ts';

export type DoorName = 'http-api' | 'rest-api' | 'direct';

/** How an invocation came in and went out: each part as soon as it is known. */
export type Invocation = {
  /** Whether it is the first one of its execution environment. */
  cold: boolean;
  /** As `performance.now()` tells it. */
  beganAtMonotonicMs: number;
  usage: Usage;
  call?: Call;
  door?: DoorName;
  question?: Question;
  answer?: LiveMigration;
};

const invocations = new WeakMap<Context, Invocation>();

export const beginInvocation = (context: Context, invocation: Invocation): void => {
  invocations.set(context, invocation);
};

/** @throws TypeError where the invocation has not begun */
export function invocationOf(context: Context): Invocation {
  const invocation = invocations.get(context);
  if (!invocation) throw new TypeError('this invocation has not begun');
  return invocation;
}

/** @throws TypeError where the event source told no remaining time */
export function callOf(context: Context): Call {
  const { call } = invocationOf(context);
  if (!call) throw new TypeError('this invocation has no call');
  return call;
}
