/** A wait in virtual time: the deployed definitions, and functions in place of the services that they call. */

import type { CutoverDue, LiveMigration, StatusChanged } from '#contract';
import { demoGroupId, demoIds } from '../../embedded/demo-migrations.ts';
import { type Execution, TaskError } from '../../embedded/step-functions.ts';
import { createWaiting, type Entry, type MachineName, type Services } from '../../embedded/waiting.ts';
import { virtualClock } from './virtual-clock.ts';

const groupId = demoGroupId;
const liveMigrationId = demoIds.completes;
export const ids = { groupId, liveMigrationId };
export const topic = 'arn:aws:sns:us-east-1:123456789012:alarms';

export type Ending = { document: unknown } | { error: string; cause: string };

/** What Atlas has said, as the function hands it on. */
export const says = (status: LiveMigration['status'], readyForCutover: boolean | null = null): LiveMigration => ({
  id: liveMigrationId,
  groupId,
  status,
  reportedStatus: status,
  terminal: ['FAILED', 'COMPLETE', 'EXPIRED'].includes(status),
  readyForCutover,
  lagTimeSeconds: null,
  migrationHosts: [],
});

/** An error of that name, as a service or the function ends a task. */
export const fails = (name: string) =>
  new TaskError(name, JSON.stringify({ errorType: name, errorMessage: 'Made up.' }));

export type Happening = {
  /** Hours since the wait began. */
  hours: number;
  /** Which time it is that this service is asked. */
  count: number;
  /** All that were started so far. */
  executions: Execution[];
};

/** What the services do: an error is thrown; nothing means that all is well. */
export type World = {
  atlas(happening: Happening): LiveMigration | Error | Promise<LiveMigration>;
  bus?: ((happening: Happening, entry: Entry) => Error | undefined) | undefined;
  topic?(happening: Happening): Error | undefined;
  /** Whether an execution of that machine may be started. */
  start?: ((happening: Happening, machine: MachineName) => Error | undefined) | undefined;
  metrics?(): Error | undefined;
  /** The parameter of the deployment. */
  alarmTopicArn?: string;
  /** After how many events a round is full. With 600, these are 66 quiet polls, and at 60 s no pause follows. */
  roundEvents?: number;
  /** How many waits are started at once, of which the first one's end is told. */
  waits?: number;
  /** The input of a reminder that runs already. */
  reminder?: object;
};

/** Runs a wait to its end, or for some hours, and reminders for as long as the wait takes, or longer. */
export async function wait(world: World, input: unknown = ids, { hours = Number.POSITIVE_INFINITY } = {}) {
  const clock = virtualClock();
  const begin = clock.now();
  const hoursSince = () => (clock.now() - begin) / 3_600_000;
  const counters = { atlas: 0, bus: 0, topic: 0, start: 0 };
  const happening = (service: keyof typeof counters): Happening => {
    counters[service] += 1;
    return { hours: hoursSince(), count: counters[service], executions: waiting.executions };
  };
  const polls: number[] = [];
  const payloads: unknown[] = [];
  const outcomes: { hours: number; outcome: string }[] = [];
  const counted: { hours: number; MetricName: string; Value: number }[] = [];
  const changes: StatusChanged[] = [];
  const reminders: (CutoverDue & { hours: number })[] = [];
  const entries: Omit<Entry, 'Detail'>[] = [];
  const messages: { hours: number; Subject: string; Message: string; TopicArn: string }[] = [];
  const counts: Record<string, number> = {};
  const must = (error: Error | undefined) => {
    if (error) throw error;
  };

  const services: Services = {
    async invoke(payload) {
      payloads.push(payload);
      polls.push(hoursSince());
      const hours = hoursSince();
      const answer = await world.atlas(happening('atlas'));
      outcomes.push({ hours, outcome: answer instanceof Error ? answer.name : 'Answered' });
      if (answer instanceof Error) throw answer;
      return answer;
    },
    putEvent(entry) {
      must(world.bus?.(happening('bus'), entry));
      const { Detail, ...rest } = entry;
      entries.push(rest);
      if ('hoursLeft' in Detail) reminders.push({ ...Detail, hours: hoursSince() });
      else changes.push(Detail);
    },
    publish(message) {
      must(world.topic?.(happening('topic')));
      messages.push({ hours: hoursSince(), ...message });
    },
    count({ MetricName, Value }) {
      must(world.metrics?.());
      counted.push({ hours: hoursSince(), MetricName, Value });
      counts[MetricName] = (counts[MetricName] ?? 0) + 1;
    },
    mayStart: (machine) => must(world.start?.(happening('start'), machine)),
  };
  const waiting = createWaiting(services, {
    clock,
    alarmTopicArn: world.alarmTopicArn ?? topic,
    roundEvents: world.roundEvents,
  });
  if (world.reminder) waiting.start('remindOfCutover', world.reminder, liveMigrationId);
  const execution = waiting.startWait(input);
  for (let more = 1; more < (world.waits ?? 1); more += 1) waiting.startWait(input);
  const stop = new AbortController();
  const enough = Number.isFinite(hours)
    ? clock.sleep(hours * 3_600_000, stop.signal)
    : new Promise<never>(() => undefined);
  const ending: Ending | undefined = await Promise.race([
    execution.result.then(
      (document): Ending => ({ document }),
      ({ name, message }: Error): Ending => ({ error: name, cause: message }),
    ),
    enough.then(() => undefined),
  ]);
  const endedAfterHours = hoursSince();
  if (ending && Number.isFinite(hours)) await enough;
  stop.abort();
  waiting.stop();
  return {
    ending,
    endedAfterHours,
    /** Hours since the beginning at which it was asked, by whichever machine. */
    polls,
    payloads,
    changes,
    reminders,
    entries,
    messages,
    counts,
    /** When each metric was counted, and how each poll ended. */
    counted,
    outcomes,
    executions: waiting.executions,
    started: (machine: MachineName) => waiting.executions.filter((started) => started.machine === machine),
  };
}

export const changesOf = (changes: StatusChanged[]) =>
  changes.map(({ previousStatus, status, readyForCutover }) => [previousStatus, status, readyForCutover]);
