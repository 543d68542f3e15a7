/** All checks of `npm run smoke`, in the order of docs/deploy.md. The first three come one after the other, since the others need them. */

import type { Check } from './context.ts';
import { byApi, byName, sharedAnswers, unknownProject } from './function.ts';
import { logLine, runbookQuery } from './logs.ts';
import { alarms, dashboard, metrics, trace } from './metrics.ts';
import { topic } from './notices.ts';
import { stack } from './stack.ts';
import { events, reminder, wait } from './waiting.ts';

export const first: Check[] = [stack, byName, byApi];
export const others: Check[] = [
  ...[logLine, runbookQuery, metrics, alarms, wait, events, reminder],
  ...[unknownProject, sharedAnswers, topic, dashboard, trace],
];
export const checks: Check[] = [...first, ...others];
