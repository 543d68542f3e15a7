/** Follows live migrations by the very state machine that is deployed, and tells a display how they go. */

import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import type { LiveMigration, WaitInput } from '#contract';
import { functionName } from '../embedded/lambda-invoke.ts';
import { type Clock, TaskError, wallClock } from '../embedded/step-functions.ts';
import { createWaiting, type Entry } from '../embedded/waiting.ts';
import type { Network } from './network.ts';
import { printable } from './printable.ts';
import type { createDisplay } from './wait-display.ts';

export type Following = {
  ids: string[];
  input: Omit<WaitInput, 'liveMigrationId'>;
  /** The Lambda invoke endpoint of `npm start`, where there is no stage. */
  endpoint: string;
  stage: string | undefined;
  region: string;
  /** Where there is a stage. */
  network?: Network | undefined;
  /** Called before the first answer is shown. */
  onReached?: (() => void) | undefined;
};

/** The function was not reached at the first question. The message says why, and what to do. */
export class NotReached extends Error {}

const exitCodes: Record<string, number> = {
  LiveMigrationFailed: 3,
  LiveMigrationExpired: 4,
  LiveMigrationWaitTimedOut: 5,
};

function parse(text: string) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

type LambdaError = Error & { $metadata?: { httpStatusCode?: number } };

type Outcome = { label: string; exitCode: number };

export function createFollower(
  { ids, input, endpoint, stage, region, network, onReached }: Following,
  display: ReturnType<typeof createDisplay>,
  clock: Clock = wallClock,
) {
  const deployedName = stage ? `atlas-live-migration-${stage}-${functionName}` : functionName;
  const lambda = new LambdaClient(
    network
      ? { region, ...network.client }
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

  /** Explains why an invocation did not reach the function, and what to do. */
  function whyNot(error: LambdaError): string {
    const { name, $metadata } = error;
    const status = $metadata?.httpStatusCode;
    if (!network) {
      return status
        ? `There is no Lambda invoke endpoint at ${endpoint}.`
        : `Nothing answers at ${endpoint}. Is npm start running?`;
    }
    if (name === 'ResourceNotFoundException')
      return `There is no function ${deployedName} in ${region}. Deploy it first, or name another --stage or --region.`;
    if (name === 'AccessDeniedException')
      return `AWS refuses the invocation. Your identity needs lambda:InvokeFunction on ${deployedName}.`;
    if (status === 403) return `AWS does not accept your credentials (${name}). Sign in again.`;
    if (status === 429) return `Lambda throttles ${deployedName}. The command tries again.`;
    if (status) return `Lambda does not invoke ${deployedName} (${status} ${name}). The command tries again.`;
    const isCredentials = /^(AWS credentials|No AWS credentials)/.test(error.message);
    const why = isCredentials
      ? error.message
      : `${network.whyUnreached(`Lambda in ${region}`, error)} Check the network and the region.`;
    return [why, ...network.notes].join(' ');
  }

  const documents = new Map<string, unknown>();
  let wasReached = false;
  /** @throws TaskError, as Step Functions sees what went wrong, and NotReached */
  async function invoke(payload: unknown): Promise<LiveMigration | null> {
    const command = new InvokeCommand({ FunctionName: deployedName, Payload: JSON.stringify(payload) });
    const { FunctionError, Payload } = await lambda.send(command).catch((error: LambdaError) => {
      const status = error.$metadata?.httpStatusCode ?? 0;
      const isPassing = stage && (status === 429 || status >= 500);
      // If the first invocation fails, there is nothing to wait for. A later failure may be temporary.
      if (!wasReached && !isPassing) throw new NotReached(whyNot(error));
      // As Step Functions names them.
      const name = status ? error.name : 'SdkClientException';
      throw new TaskError(`Lambda.${name}`, JSON.stringify({ errorMessage: whyNot(error) }));
    });
    if (!wasReached) onReached?.();
    wasReached = true;
    const answer = parse(Buffer.from(Payload ?? []).toString());
    if (!FunctionError) return answer;
    const { errorType = 'Lambda.Unknown', errorMessage = 'The function failed without an error message.' } =
      answer ?? {};
    throw new TaskError(errorType, JSON.stringify({ ...answer, errorMessage }));
  }

  async function follow(liveMigrationId: string): Promise<Outcome> {
    const { startWait, stop } = createWaiting(
      {
        async invoke(payload) {
          const document = await invoke(payload).catch((error: TaskError | NotReached) => {
            if (error instanceof TaskError)
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
          else if (Detail.hoursLeft !== null)
            display.say(`ready for cutover: ${Detail.hoursLeft} hours left at most`, liveMigrationId);
          else display.say('ready for cutover: the 120 hours may be over, or were extended', liveMigrationId);
        },
      },
      { clock },
    );
    try {
      const document = await startWait({ ...input, liveMigrationId }).result;
      documents.set(liveMigrationId, document);
      return { label: document.terminal ? document.status : 'ready for cutover', exitCode: 0 };
    } catch (error) {
      if (error instanceof NotReached) throw error;
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

  return {
    /** The last document of each that has one: JSON, one a line, in the order asked. */
    documents: () =>
      ids
        .filter((id) => documents.has(id))
        .map((id) => `${printable(JSON.stringify(documents.get(id)))}\n`)
        .join(''),

    /**
     * @returns the exit code
     * @throws NotReached
     */
    async run(): Promise<number> {
      const outcomes = await Promise.all(ids.map(follow));
      const labels = outcomes.map(({ label }) => label);
      const counts = [...new Set(labels)].map(
        (label) => `${labels.filter((other) => other === label).length} ${label}`,
      );
      display.end(`${ids.length === 1 ? '1 live migration' : `${ids.length} live migrations`}: ${counts.join(', ')}`);
      return Math.max(...outcomes.map(({ exitCode }) => exitCode));
    },
  };
}
