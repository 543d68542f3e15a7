/** The state machines of the wait on this machine: the very definitions that are deployed, with their services as functions. */

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { CutoverDue, LiveMigration, StatusChanged } from '#contract';
import { type Clock, createStepFunctions, type Definition, type Execution, type Service } from './step-functions.ts';

/** What the definitions leave open, as it is here. The deployment has ARNs for it. */
const here: Record<string, string> = {
  'AWS::Partition': 'aws',
  GetLiveMigrationArn: 'getLiveMigration',
  PollLiveMigrationArn: 'pollLiveMigration',
  RemindOfCutoverArn: 'remindOfCutover',
  EventBusName: 'default',
  Service: 'atlas-live-migration',
};

const files = {
  awaitLiveMigration: 'await-live-migration',
  pollLiveMigration: 'poll-live-migration',
  remindOfCutover: 'remind-of-cutover',
};

export type MachineName = keyof typeof files;

/** By their text: to parse one takes longer than a short wait. */
const parsed = new Map<string, Definition>();

/**
 * @param alarmTopicArn the deployment's parameter: empty for none
 * @param roundEvents after how many events a round is full; a test can have short ones
 */
export function readDefinition(machine: MachineName, alarmTopicArn = '', roundEvents = 24_000): Definition {
  const source = readFileSync(new URL(`../deploy/${files[machine]}.asl.yml`, import.meta.url), 'utf8');
  const values: Record<string, string> = { ...here, AlarmTopicArn: alarmTopicArn };
  const text = source
    .replace(/\$\{([\w:]+)\}/g, (hole, name: string) => values[name] ?? hole)
    .replace('$events > 24000', `$events > ${roundEvents}`);
  const definition = parsed.get(text) ?? (parse(text) as Definition);
  parsed.set(text, definition);
  // A copy: the validator of the language adds to what it reads.
  return structuredClone(definition);
}

export type Entry = {
  EventBusName: string;
  Source: string;
  DetailType: string;
  Detail: StatusChanged | CutoverDue;
};
export type Metric = { MetricName: string; Value: number };

/** Each may throw a `TaskError`. */
export type Services = {
  /** Invokes the function. */
  invoke(payload: unknown): Promise<unknown>;
  /** Puts an event on the bus. */
  putEvent?(entry: Entry): unknown;
  /** Sends a message to the topic. */
  publish?(message: { TopicArn: string; Subject: string; Message: string }): unknown;
  /** Counts for CloudWatch. */
  count?(metric: Metric): unknown;
  /** Is asked before an execution of that machine is started by another one. */
  mayStart?(machine: MachineName): void;
};

export function createWaiting(
  services: Services,
  {
    clock,
    alarmTopicArn,
    roundEvents,
  }: { clock?: Clock; alarmTopicArn?: string; roundEvents?: number | undefined } = {},
) {
  const { invoke, putEvent, publish, count, mayStart } = services;
  const beforeStart: Service = ({ StateMachineArn }: { StateMachineArn: MachineName }) => mayStart?.(StateMachineArn);
  const machines = Object.fromEntries(
    Object.keys(files).map((name) => [name, readDefinition(name as MachineName, alarmTopicArn, roundEvents)]),
  );
  const { start, executions } = createStepFunctions(
    machines,
    {
      'lambda:invoke': async ({ Payload }: { Payload: unknown }) => ({
        Payload: await invoke(Payload),
        StatusCode: 200,
      }),
      'events:putEvents': async ({ Entries }: { Entries: Entry[] }) => {
        for (const entry of Entries) await putEvent?.(entry);
        return { FailedEntryCount: 0 };
      },
      'sns:publish': async (message: never) => {
        await publish?.(message);
        return {};
      },
      'aws-sdk:cloudwatch:putMetricData': async ({ MetricData }: { MetricData: Metric[] }) => {
        for (const metric of MetricData) await count?.(metric);
        return {};
      },
      'states:startExecution': beforeStart,
      'states:startExecution.sync:2': beforeStart,
    },
    clock,
  );
  return {
    /** Every execution that was started, those that the machines started themselves included. */
    executions,
    /** Starts a wait. Its result rejects with an error that has Step Functions' error name and cause. */
    startWait: (input: unknown) => start('awaitLiveMigration', input) as Execution & { result: Promise<LiveMigration> },
    start: (machine: MachineName, input: unknown, name?: string) => start(machine, input, name),
    /** Stops everything that still runs, such as reminders. */
    stop() {
      for (const execution of executions) execution.stop();
    },
  };
}
