/** What the layers of the pipeline leave for each other on Lambda's context. */

import type { Context } from 'aws-lambda';
import type { LiveMigration } from '#contract';
import type { Call } from '../core/call.ts';
import type { Question } from '../core/question.ts';

export type DoorName = 'http-api' | 'rest-api' | 'direct';

/** How an invocation came in and went out: the question and the answer as soon as they are there. */
export type Invocation = { door: DoorName; question?: Question; answer?: LiveMigration };

export type InvocationContext = Context & { invocation: Invocation; call: Call };
