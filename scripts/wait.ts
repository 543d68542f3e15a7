/**
 * `npm run wait`: follows live migrations, of a running `npm start` or deployed ones, by the very state machine that is
 * deployed. The progress goes to standard error, the documents at the end to standard output.
 */

import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import type { LiveMigration, WaitInput } from '#contract';
import { anotherDemoId, demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { functionName } from '../embedded/lambda-invoke.ts';
import { TaskError } from '../embedded/step-functions.ts';
import { createWaiting, type Entry } from '../embedded/waiting.ts';
import { readCommandLine } from './command-line.ts';
import { createDisplay } from './wait-display.ts';

const usage = `Usage: npm run wait -- [ID ...] [options]
  Follows live migrations until each has ended. Without an ID, a demo migration of npm start begins and is followed.
  --group-id GROUP_ID        the project of the live migrations (default: the demo project of npm start)
  --until WHAT               TERMINAL or READY_FOR_CUTOVER (default TERMINAL)
  --poll-seconds N           seconds between polls, 1 to 3600 (default 2; with --stage 60)
  --give-up-after-seconds N  seconds until it gives up, 1 to 7776000 (default 86400; with --stage 5184000)
  --endpoint URL             Lambda invoke endpoint of npm start (default http://127.0.0.1:3002)
  --stage STAGE              use the deployed function, by direct invocation with your AWS identity
  --region REGION            where the stack was deployed (default AWS_REGION, or else us-east-1)
Exit codes: 0 succeeded, 1 a failure of the adapter, 2 wrong usage, 3 failed, 4 expired, 5 given up, 130 interrupted;
with several live migrations, their highest code.`;

const exitCodes: Record<string, number> = {
  LiveMigrationFailed: 3,
  LiveMigrationExpired: 4,
  LiveMigrationWaitTimedOut: 5,
};

const text = { type: 'string' } as const;
const { ids, isDemo, input, endpoint, stage, region } = readCommandLine(
  usage,
  {
    'group-id': text,
    until: { type: 'string', default: 'TERMINAL' },
    'poll-seconds': text,
    'give-up-after-seconds': text,
    endpoint: text,
    stage: text,
    region: { type: 'string', default: process.env['AWS_REGION'] || 'us-east-1' },
  },
  ({ until, endpoint: given, stage, region, ...options }, positionals) => {
    const endpoint = given ?? 'http://127.0.0.1:3002';
    const id = (field: string, value: string) => {
      if (/^[0-9a-f]{24}$/.test(value)) return value;
      throw new Error(`${field} must be 24 hexadecimal digits in lower case.`);
    };
    const whole = (option: 'poll-seconds' | 'give-up-after-seconds', most: number, usual: number) => {
      const number = Number(options[option] ?? usual);
      if (Number.isInteger(number) && number >= 1 && number <= most) return number;
      throw new Error(`--${option} must be a whole number from 1 to ${most}.`);
    };
    if (stage === undefined) {
      if (!/^https?:/.test(endpoint) || !URL.canParse(endpoint)) throw new Error('--endpoint must be a URL.');
    } else {
      if (!/^[\w-]+$/.test(stage)) throw new Error('--stage must be the name of a stage.');
      if (given !== undefined) throw new Error('--endpoint is for npm start: leave it out with --stage.');
      if (!options['group-id']) throw new Error('--group-id is needed with --stage.');
    }
    if (until !== 'TERMINAL' && until !== 'READY_FOR_CUTOVER')
      throw new Error('--until must be TERMINAL or READY_FOR_CUTOVER.');
    const groupId = id('--group-id', options['group-id'] ?? demoGroupId);
    // The project may stand before them, as npm run smoke wants it.
    const named = new Set(positionals.map((value) => id(`ID "${value}"`, value)));
    named.delete(groupId);
    if (stage && named.size === 0) throw new Error('An ID is needed with --stage.');
    const isDemo = named.size === 0;
    const input = {
      groupId,
      until,
      pollSeconds: whole('poll-seconds', 3600, stage ? 60 : 2),
      giveUpAfterSeconds: whole('give-up-after-seconds', 7_776_000, stage ? 5_184_000 : 86_400),
    } satisfies Omit<WaitInput, 'liveMigrationId'>;
    return { ids: isDemo ? [anotherDemoId(demoIds.completes)] : [...named], isDemo, input, endpoint, stage, region };
  },
);

const deployedName = stage ? `atlas-live-migration-${stage}-${functionName}` : functionName;
const lambda = new LambdaClient(
  stage
    ? { region }
    : {
        endpoint,
        region: 'us-east-1',
        credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
        maxAttempts: 1,
        // What AWS settings of this machine would else ask for.
        useFipsEndpoint: false,
        useDualstackEndpoint: false,
      },
);

type LambdaError = Error & { code?: string; $metadata?: { httpStatusCode?: number } };

/** Explains why an invocation did not reach the function, and what to do. */
function whyNot({ name, code, $metadata }: LambdaError): string {
  const status = $metadata?.httpStatusCode;
  if (!stage) {
    return status
      ? `There is no Lambda invoke endpoint at ${endpoint}.`
      : `Nothing answers at ${endpoint}. Is npm start running?`;
  }
  if (name === 'ResourceNotFoundException')
    return `There is no function ${deployedName} in ${region}. Deploy it first, or name another --stage or --region.`;
  if (name === 'AccessDeniedException')
    return `AWS refuses the invocation. Your identity needs lambda:InvokeFunction on ${deployedName}.`;
  if (name === 'CredentialsProviderError')
    return 'No AWS credentials were found. Sign in (aws sso login, aws configure), or set AWS_PROFILE.';
  if (status === 403) return `AWS does not accept your credentials (${name}). Sign in again.`;
  if (status === 429) return `Lambda throttles ${deployedName}. The command tries again.`;
  if (status) return `Lambda does not invoke ${deployedName} (${status} ${name}). The command tries again.`;
  return `Lambda can't be reached in ${region} (${code ?? name}). Check the network and the region.`;
}

const display = createDisplay(ids);
const documents = new Map<string, unknown>();

function printDocuments() {
  for (const id of ids) if (documents.has(id)) console.log(JSON.stringify(documents.get(id)));
}

function parse(text: string) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

let wasReached = false;
/** @throws TaskError, as Step Functions sees what went wrong */
async function invoke(payload: unknown): Promise<LiveMigration | null> {
  const command = new InvokeCommand({ FunctionName: deployedName, Payload: JSON.stringify(payload) });
  const { FunctionError, Payload } = await lambda.send(command).catch((error: LambdaError) => {
    const status = error.$metadata?.httpStatusCode ?? 0;
    const isPassing = stage && (status === 429 || status >= 500);
    // If the first invocation fails, there is nothing to wait for. A later failure may be temporary.
    if (!wasReached && !isPassing) {
      display.say(whyNot(error));
      process.exit(1);
    }
    // As Step Functions names them.
    const name = status ? error.name : 'SdkClientException';
    throw new TaskError(`Lambda.${name}`, JSON.stringify({ errorMessage: whyNot(error) }));
  });
  wasReached = true;
  const answer = parse(Buffer.from(Payload ?? []).toString());
  if (!FunctionError) return answer;
  const { errorType = 'Lambda.Unknown', errorMessage = 'The function failed without an error message.' } = answer ?? {};
  throw new TaskError(errorType, JSON.stringify({ ...answer, errorMessage }));
}

type Outcome = { label: string; exitCode: number };

async function follow(liveMigrationId: string): Promise<Outcome> {
  const { startWait, stop } = createWaiting({
    async invoke(payload) {
      const document = await invoke(payload).catch((error: TaskError) => {
        display.failed(liveMigrationId, error.name, JSON.parse(error.message).errorMessage);
        throw error;
      });
      // The state machine asks again where it is no document.
      if (typeof document?.status === 'string') display.answered(liveMigrationId, document);
      else display.failed(liveMigrationId, 'NoDocument', 'The answer of the function is not a live migration.');
      return document;
    },
    putEvent({ Detail }: Entry) {
      if ('previousStatus' in Detail) display.changed(liveMigrationId, Detail);
      else display.say(`ready for cutover: ${Detail.hoursLeft} hours left at most`, liveMigrationId);
    },
  });
  try {
    const document = await startWait({ ...input, liveMigrationId }).result;
    documents.set(liveMigrationId, document);
    return { label: document.terminal ? document.status : 'ready for cutover', exitCode: 0 };
  } catch (error) {
    const { name, message } = error as Error;
    // The cause is the document where the migration is over, and else what went wrong.
    const cause = message.startsWith('{') ? JSON.parse(message) : { errorMessage: message };
    if (cause.errorMessage === undefined) {
      documents.set(liveMigrationId, cause);
      return { label: cause.status, exitCode: exitCodes[name] ?? 1 };
    }
    display.failed(liveMigrationId, name, cause.errorMessage);
    return { label: name, exitCode: exitCodes[name] ?? 1 };
  } finally {
    // A reminder would wait for days.
    stop();
  }
}

process.on('SIGINT', () => {
  display.end(`interrupted; ${ids.length > 1 ? 'the migrations themselves go' : 'the migration itself goes'} on`);
  printDocuments();
  process.exit(130);
});

if (isDemo) display.say(`A demo migration begins: ${ids[0]}. It lasts two minutes.`);
const outcomes = await Promise.all(ids.map(follow));
const labels = outcomes.map(({ label }) => label);
const counts = [...new Set(labels)].map((label) => `${labels.filter((other) => other === label).length} ${label}`);
display.end(`${ids.length === 1 ? '1 live migration' : `${ids.length} live migrations`}: ${counts.join(', ')}`);
printDocuments();
process.exitCode = Math.max(...outcomes.map(({ exitCode }) => exitCode));
