/**
 * Runs the state machine `awaitLiveMigration` on this machine: the very ASL file that is deployed, under
 * aws-local-stepfunctions, with the three services that it calls given as functions.
 */

import { readFileSync } from 'node:fs';
import { StateMachine } from 'aws-local-stepfunctions';
import type { LiveMigration, StatusChanged } from '#contract';

export type Definition = ConstructorParameters<typeof StateMachine>[0];
type JsonInput = Parameters<StateMachine['run']>[0];

export const definition = JSON.parse(
  readFileSync(new URL('../deploy/await-live-migration.asl.json', import.meta.url), 'utf8'),
) as Definition;

/** What an error is in a state machine: Step Functions takes a Lambda's `errorType` for the name. */
export class TaskError extends Error {
  constructor(name: string, cause: string) {
    super(cause);
    this.name = name;
  }
}

export type StatusChangedEntry = { EventBusName: string; Source: string; DetailType: string; Detail: StatusChanged };

export type Services = {
  /** Invokes the function; throws a {@link TaskError} with what it threw. */
  invoke(payload: unknown): Promise<unknown>;
  /** Puts an event on the bus. */
  putEvent(entry: StatusChangedEntry): Promise<void> | void;
  /** Is asked before an execution is started; may throw a {@link TaskError}. */
  mayStart?(): void;
};

export type Options = {
  /** Milliseconds to wait instead of what the file says, by state. */
  waits?: Record<string, number>;
  /** Milliseconds between retries instead of what the file says, by state. */
  retries?: Record<string, number>;
  /** Is told each step of each execution, as aws-local-stepfunctions logs it. */
  observe?: (step: EventLog) => void;
};

type EventLog = { type: string; state?: { name: string; input: unknown } };

/** The parts of the tasks' parameters that are of use here; the interpreter knows them as JSON only. */
type TaskParameters = { Payload: unknown; Entries: StatusChangedEntry[]; Input: unknown };

/** The longest time-out of Node: a longer one would be over at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Starts an execution.
 *
 * @returns the result, which rejects with an error whose `cause` has Step Functions' error name and cause, and a
 *   function that aborts the execution and all that it started
 */
export function startExecution(
  input: unknown,
  services: Services,
  { waits = {}, retries = {}, observe }: Options = {},
) {
  const children = new Set<() => void>();
  const watched: Promise<void>[] = [];
  const abortChildren = () => {
    for (const abort of children) abort();
  };

  const handlers: Record<string, (parameters: TaskParameters) => Promise<unknown>> = {
    Ask: async ({ Payload }) => ({ Payload: await services.invoke(Payload) }),
    Report: async ({ Entries }) => {
      for (const entry of Entries) await services.putEvent(entry);
      return { FailedEntryCount: 0 };
    },
    Round: async ({ Input }) => {
      services.mayStart?.();
      const child = start(Input);
      children.add(child.abort);
      try {
        return { Output: await child.result };
      } finally {
        children.delete(child.abort);
      }
    },
  };

  const start = (executionInput: unknown) => {
    const { giveUpAfterSeconds = Number.POSITIVE_INFINITY } = Object(executionInput) as { giveUpAfterSeconds?: number };
    const cut = giveUpAfterSeconds * 1000 > LONGEST_TIMEOUT_MS ? { UntilGivenUp: LONGEST_TIMEOUT_MS } : {};
    const machine = new StateMachine(definition, { validationOptions: { checkArn: false } });
    const execution = machine.run(executionInput as JsonInput, {
      context: { StateMachine: { Id: 'local' }, Execution: { Id: 'local' } },
      overrides: {
        waitTimeOverrides: { ...cut, ...waits },
        retryIntervalOverrides: retries,
        taskResourceLocalHandlers: handlers as never,
      },
    });
    if (observe) {
      const watch = async () => {
        for await (const step of execution.eventLogs) observe(step);
      };
      watched.push(watch());
    }
    return execution;
  };

  const execution = start(input);
  const result: Promise<unknown> = execution.result.finally(() => {
    abortChildren();
    return Promise.all(watched);
  });
  return {
    result: result as Promise<LiveMigration>,
    abort() {
      execution.abort();
      abortChildren();
    },
  };
}
