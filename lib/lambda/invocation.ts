/** What the layers of the pipeline leave for each other on Lambda's context. */

import type { Context } from 'aws-lambda';
import type { LiveMigration } from '#contract';
import type { Call } from '../core/call.ts';
import type { Question } from '../core/question.ts';

export type DoorName = 'http-api' | 'rest-api' | 'direct';

/** How an invocation came in and went out: each part as soon as it is known. */
export type Invocation = {
  /** Whether it is the first one of its execution environment. */
  cold: boolean;
  door?: DoorName;
  question?: Question;
  answer?: LiveMigration;
};

export type InvocationContext = Context & { invocation: Invocation; call: Call };

/** Writes about an invocation; a writer that throws must not turn an answer into a failure. */
export function tryToWrite(write: () => void): void {
  try {
    write();
  } catch (error) {
    console.error(
      `The log or metrics of an invocation could not be written (${error instanceof Error ? error.name : typeof error}).`,
    );
  }
}
