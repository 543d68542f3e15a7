/**
 * `npm run wait`: watches a live migration beside a running `npm start`, by the very state machine that is deployed.
 * The progress goes to standard error, the document at the end to standard output.
 */

import type { LiveMigration } from '#contract';
import { anotherDemoId, demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { TaskError } from '../embedded/step-functions.ts';
import { createWaiting, type Entry } from '../embedded/waiting.ts';
import { readCommandLine, twoIds } from './command-line.ts';

const usage = `Usage: npm run wait -- [GROUP_ID LIVE_MIGRATION_ID] [options]
  Without ids, a demo migration of npm start begins and is followed.
  --until WHAT                TERMINAL or READY_FOR_CUTOVER (TERMINAL)
  --poll-seconds N            seconds between polls (2)
  --give-up-after-seconds N   seconds until the wait is given up (86400)
  --endpoint URL              Lambda invoke endpoint (http://127.0.0.1:3002)
Exit codes: 0 succeeded, 1 a failure of the adapter, 2 wrong usage, 3 failed, 4 expired, 5 given up, 130 interrupted.`;

const exitCodes: Record<string, number> = {
  LiveMigrationFailed: 3,
  LiveMigrationExpired: 4,
  LiveMigrationWaitTimedOut: 5,
};

const { endpoint, isDemo, input } = readCommandLine(
  usage,
  {
    until: { type: 'string', default: 'TERMINAL' },
    'poll-seconds': { type: 'string', default: '2' },
    'give-up-after-seconds': { type: 'string', default: '86400' },
    endpoint: { type: 'string', default: 'http://127.0.0.1:3002' },
  },
  ({ until, endpoint, ...seconds }, positionals) => {
    if (!['TERMINAL', 'READY_FOR_CUTOVER'].includes(until))
      throw new Error(`There is nothing to wait for named "${until}".`);
    if (!URL.canParse(endpoint)) throw new Error('--endpoint must be a URL.');
    const whole = (name: keyof typeof seconds) => {
      const number = Number(seconds[name]);
      if (Number.isInteger(number) && number >= 1) return number;
      throw new Error(`--${name} must be a whole number from 1.`);
    };
    const [pollSeconds, giveUpAfterSeconds] = [whole('poll-seconds'), whole('give-up-after-seconds')];
    const isDemo = positionals.length === 0;
    const ids = isDemo
      ? { groupId: demoGroupId, liveMigrationId: anotherDemoId(demoIds.completes) }
      : twoIds(positionals);
    return { endpoint, isDemo, input: { ...ids, until, pollSeconds, giveUpAfterSeconds } };
  },
);
const startedAt = Date.now();
const inPlace = process.stderr.isTTY;

const clock = () => {
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
};

const told = (value: unknown, unit = '') => (value === null ? 'not known' : `${value}${unit}`);

/** Writes over the line before on a terminal; in a pipe, each line stays. */
function progress(text: string, end = inPlace ? '' : '\n') {
  process.stderr.write(`${inPlace ? '\r\u001b[K' : ''}${text}${end}`);
}

/** A line that stays. */
const line = (text: string) => progress(text, '\n');

const readiness = (ready: boolean | null) => (ready === null ? 'not known' : ready ? 'yes' : 'no');

let wasReached = false;
/** Ends at once where there was nobody from the beginning; npm start may also be started again meanwhile. */
function notReached(why: string): never {
  if (wasReached) throw new TaskError('Unreachable', why);
  line(`${clock()}  ${why}`);
  process.exit(1);
}

async function invoke(payload: unknown) {
  const url = new URL('/2015-03-31/functions/getLiveMigration/invocations', endpoint);
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(payload) }).catch(() =>
    notReached(`Nothing answers at ${endpoint}. Is npm start running?`),
  );
  if (response.status !== 200) notReached(`There is no Lambda invoke endpoint at ${endpoint}.`);
  wasReached = true;
  const answer = (await response.json()) as LiveMigration & { errorType: string; errorMessage: string };
  if (response.headers.has('x-amz-function-error')) {
    progress(`${clock()}  ${answer.errorType}: ${answer.errorMessage}`);
    throw new TaskError(answer.errorType, JSON.stringify(answer));
  }
  const { status, lagTimeSeconds, readyForCutover } = answer;
  progress(
    `${clock()}  ${status}  lag ${told(lagTimeSeconds, ' s')}  ready for cutover: ${readiness(readyForCutover)}`,
  );
  return answer;
}

function putEvent({ Detail }: Entry) {
  if (!('previousStatus' in Detail)) return;
  const { previousStatus, status, readyForCutover } = Detail;
  line(`${clock()}  event: ${previousStatus ?? 'start'} → ${status}, ready for cutover: ${readiness(readyForCutover)}`);
}

if (isDemo) line(`A demo migration begins: ${input.liveMigrationId}. It lasts two minutes.`);
const { startWait, stop } = createWaiting({ invoke, putEvent });

process.on('SIGINT', () => {
  line(`${clock()}  interrupted; the migration itself goes on`);
  process.exit(130);
});

try {
  const document = await startWait(input).result;
  line(`${clock()}  done`);
  console.log(JSON.stringify(document, null, 2));
} catch (error) {
  const { name, message } = error as Error;
  const cause = message.startsWith('{') ? JSON.parse(message) : { errorMessage: message };
  // The cause is the document where the migration is over, and else what went wrong.
  line(`${clock()}  ${cause.errorMessage ? `${name}: ${cause.errorMessage}` : name}`);
  if (!cause.errorMessage) console.log(JSON.stringify(cause, null, 2));
  process.exitCode = exitCodes[name] ?? 1;
}
// A reminder would wait for days.
stop();
