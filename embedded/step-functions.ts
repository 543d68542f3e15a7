/**
 * A small Step Functions: runs state machines in JSONata as the service does, as far as ours and those in the docs need
 * it, and refuses what it does not know. Services are functions, and time comes from a clock that tests can replace.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import jsonata from 'jsonata';

/** An error as Step Functions knows it: the name and the cause that a Catch or the caller sees. */
export class TaskError extends Error {
  constructor(name: string, cause: string) {
    super(cause);
    this.name = name;
  }
}

/** The wall clock, or the virtual one of a test, whose time goes on when no execution is at work. */
export type Clock = {
  now(): number;
  /** @throws the signal's reason */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Tells that an execution is at work (+1), or has ended or waits for another one (-1). */
  working(change: 1 | -1): void;
};

/** The longest time-out of Node: a longer one would be over at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export const wallClock: Clock = {
  now: Date.now,
  async sleep(ms, signal) {
    for (let left = ms; left > 0; left -= LONGEST_TIMEOUT_MS) {
      const turn = sleep(Math.min(left, LONGEST_TIMEOUT_MS), undefined, { signal });
      await turn.catch(() => signal.throwIfAborted());
    }
  },
  working: () => undefined,
};

/** The history of a standard execution holds this many events; with one more, the execution fails. */
const MOST_EVENTS = 25_000;

type Json = Record<string, unknown>;
type Transition = { Next?: string; Assign?: Json; Output?: unknown };
type Retrier = {
  ErrorEquals: string[];
  IntervalSeconds?: number;
  BackoffRate?: number;
  MaxAttempts?: number;
  MaxDelaySeconds?: number;
};
export type State = Transition & {
  Type: string;
  Resource?: string;
  Arguments?: unknown;
  TimeoutSeconds?: unknown;
  Seconds?: unknown;
  Error?: unknown;
  Cause?: unknown;
  Retry?: Retrier[];
  Catch?: (Transition & { ErrorEquals: string[] })[];
  Choices?: (Transition & { Condition: string })[];
  Default?: string;
};
export type Definition = { QueryLanguage: 'JSONata'; StartAt: string; States: Record<string, State> };

const knownFields: Record<string, string[]> = {
  Pass: ['Assign', 'Output', 'Next', 'End'],
  Task: ['Resource', 'Arguments', 'TimeoutSeconds', 'Assign', 'Output', 'Retry', 'Catch', 'Next', 'End'],
  Choice: ['Choices', 'Default'],
  Wait: ['Seconds', 'Assign', 'Next'],
  Succeed: ['Output'],
  Fail: ['Error', 'Cause'],
};

/** What a state leaves behind, and which one follows. */
type Left = { assigned: Json; output: unknown; next: string | undefined };

/** A state at work. */
type Step = {
  name: string;
  state: State;
  input: unknown;
  execution: Execution;
  signal: AbortSignal;
  pause(seconds: number): Promise<void>;
  /** Evaluates a value with what every state sees. */
  evaluateHere(value: unknown): Promise<unknown>;
  /** Assign and Output see the variables as they were before, and `states` with what the transition adds. */
  leave(transition: Transition, states: Json, output: unknown): Promise<Left>;
};

/** What a service answers to a task's arguments. It may throw a {@link TaskError}; any other error fails the run. */
export type Service = (args: never) => unknown;

/**
 * @returns a copy, as a state's output, its arguments or all that it assigns at once; JSONata's lists have marks of
 *   their own, which the copy has not
 * @throws TaskError above 256 KiB
 * @see https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
 */
function limited<T>(value: T): T {
  const text = JSON.stringify(value);
  if (Buffer.byteLength(text) > 256 * 1024) throw new TaskError('States.DataLimitExceeded', text.slice(0, 100));
  return JSON.parse(text);
}

const compiled = new Map<string, { expression: jsonata.Expression; names: Set<string> }>();

/** @returns the expression, and the names that it has after a $ */
function compile(text: string) {
  const known = compiled.get(text);
  if (known) return known;
  const made = { expression: jsonata(text), names: new Set(text.match(/(?<=\$)\p{ID_Continue}+/gu)) };
  compiled.set(text, made);
  return made;
}

/** What a Wait and a time-out take. */
function wholeSeconds(value: unknown): number {
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 99_999_999) return Number(value);
  throw new TaskError('States.Runtime', `Not a whole number of seconds: ${value}`);
}

/** The names that end an execution, whatever a state says. */
const uncatchable = ['States.DataLimitExceeded', 'States.Runtime'];

const matches = (names: string[], error: string) =>
  names.includes(error) ||
  (names.includes('States.ALL') && !uncatchable.includes(error)) ||
  (names.includes('States.TaskFailed') && error !== 'States.Timeout' && !uncatchable.includes(error));

/** An execution that was started. */
export type Execution = {
  name: string;
  machine: string;
  input: unknown;
  startedAt: number;
  /** Rejects with a {@link TaskError}. */
  result: Promise<unknown>;
  isRunning: boolean;
  /** State transitions, which are what AWS charges; a retry is one as well. */
  transitions: number;
  /** Events in its history. */
  events: number;
  stop(): void;
};

/**
 * @param machines definitions by the ARN under which they are started, in which nothing is left to substitute
 * @param services by the end of a task's resource, such as `lambda:invoke`
 */
export function createStepFunctions(
  machines: Record<string, Definition>,
  services: Record<string, Service>,
  clock: Clock = wallClock,
) {
  for (const { States, QueryLanguage } of Object.values(machines)) {
    if (QueryLanguage !== 'JSONata') throw new Error('Only JSONata is known here.');
    for (const [name, { Type, ...fields }] of Object.entries(States)) {
      const unknown = Object.keys(fields).filter((field) => !knownFields[Type]?.includes(field));
      if (!knownFields[Type] || unknown.length > 0)
        throw new Error(`${name}: ${Type} with ${unknown} is not known here.`);
    }
  }
  const executions: Execution[] = [];

  /** Evaluates what stands between `{%` and `%}`, wherever it is in a value. */
  async function evaluate(value: unknown, bindings: Json): Promise<unknown> {
    if (typeof value === 'string') {
      const [, text] = /^\{%(.*)%\}$/s.exec(value) ?? [];
      if (text === undefined) return value;
      let result: unknown;
      try {
        const { expression, names } = compile(text);
        // To bind a variable takes about as long as to use it.
        const used: Json = {};
        for (const name of names) if (name in bindings) used[name] = bindings[name];
        result = await expression.evaluate(null, used);
      } catch (error) {
        throw new TaskError('States.QueryEvaluationError', `${(error as Error).message}: ${text}`);
      }
      if (result === undefined)
        throw new TaskError('States.QueryEvaluationError', `The expression has no result: ${text}`);
      return result;
    }
    if (typeof value !== 'object' || value === null) return value;
    const evaluated: Json = Array.isArray(value) ? ([] as unknown as Json) : {};
    for (const [name, field] of Object.entries(value)) evaluated[name] = await evaluate(field, bindings);
    return evaluated;
  }

  /** One attempt at a task. Services end by themselves, so no time-out is needed here. */
  async function perform({ Resource = '' }: State, args: Json, signal: AbortSignal): Promise<unknown> {
    const [, resource = ''] = /:states:::(.*)$/.exec(Resource) ?? [];
    const isStart = /^states:startExecution(\.sync:2)?$/.test(resource);
    if (!services[resource] && !isStart) throw new Error(`There is no service ${resource} here.`);
    const answer = await services[resource]?.(args as never);
    if (!isStart) return answer;
    const child = start(String(args['StateMachineArn']), args['Input'], args['Name'] as string | undefined);
    if (!resource.endsWith('.sync:2')) return { ExecutionArn: child.name };
    signal.addEventListener('abort', child.stop);
    clock.working(-1);
    try {
      return { Output: await child.result, Input: args['Input'], Status: 'SUCCEEDED' };
    } catch (error) {
      if (!(error instanceof TaskError)) throw error;
      const { name, message } = error;
      throw new TaskError('States.TaskFailed', JSON.stringify({ Error: name, Cause: message, Status: 'FAILED' }));
    } finally {
      clock.working(1);
      signal.removeEventListener('abort', child.stop);
    }
  }

  /** What a state does until it is left. */
  const handlers: Record<string, (step: Step) => Promise<Left>> = {
    Pass: ({ state, input, leave }) => leave(state, {}, input),

    async Wait({ state, input, evaluateHere, pause, leave }) {
      await pause(wholeSeconds(await evaluateHere(state.Seconds)));
      return leave(state, {}, input);
    },

    async Choice({ name, state, input, evaluateHere, leave }) {
      let taken: Transition = state.Default === undefined ? {} : { Next: state.Default };
      for (const { Condition, ...rule } of state.Choices ?? []) {
        const holds = await evaluateHere(Condition);
        if (typeof holds !== 'boolean') throw new TaskError('States.QueryEvaluationError', `No boolean: ${Condition}`);
        if (!holds) continue;
        taken = rule;
        break;
      }
      if (!taken.Next) throw new TaskError('States.NoChoiceMatched', name);
      return leave(taken, {}, input);
    },

    async Succeed({ state, input, evaluateHere }) {
      const output = limited(state.Output === undefined ? input : await evaluateHere(state.Output));
      return { assigned: {}, output, next: undefined };
    },

    async Fail({ state, evaluateHere }) {
      const [error, cause] = limited((await evaluateHere([state.Error, state.Cause])) as unknown[]);
      throw new TaskError(String(error), String(cause));
    },

    async Task({ state, execution, signal, evaluateHere, pause, leave }) {
      for (let retries = 0; ; retries += 1) {
        execution.events += state.Resource?.endsWith('.sync:2') ? 4 : 3;
        try {
          const args = limited((await evaluateHere(state.Arguments ?? {})) as Json);
          wholeSeconds(await evaluateHere(state.TimeoutSeconds ?? 60));
          const result = limited((await perform(state, args, signal)) ?? {});
          return await leave(state, { result }, result);
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof TaskError)) throw error;
          const retrier = state.Retry?.find(({ ErrorEquals }) => matches(ErrorEquals, error.name));
          if (retrier && retries < (retrier.MaxAttempts ?? 3)) {
            const { IntervalSeconds = 1, BackoffRate = 2, MaxDelaySeconds = Number.POSITIVE_INFINITY } = retrier;
            execution.transitions += 1;
            await pause(Math.min(IntervalSeconds * BackoffRate ** retries, MaxDelaySeconds));
            continue;
          }
          const catcher = state.Catch?.find(({ ErrorEquals }) => matches(ErrorEquals, error.name));
          if (!catcher) throw error;
          const errorOutput = { Error: error.name, Cause: error.message };
          return await leave(catcher, { errorOutput }, errorOutput);
        }
      }
    },
  };

  async function run(execution: Execution, signal: AbortSignal): Promise<unknown> {
    const { States, StartAt } = machines[execution.machine] as Definition;
    const { name: id, input: executionInput, startedAt } = execution;
    const Execution = { Id: id, Name: id, Input: executionInput, StartTime: new Date(startedAt).toISOString() };
    const pause = (seconds: number) => {
      clock.working(-1);
      return clock.sleep(seconds * 1000, signal).finally(() => clock.working(1));
    };
    const variables: Json = {};
    let input: unknown = executionInput ?? {};
    for (let name: string | undefined = StartAt; name; ) {
      signal.throwIfAborted();
      const state: State | undefined = States[name];
      const handler = state && handlers[state.Type];
      if (!handler) throw new Error(`There is no state ${name}.`);
      execution.transitions += 1;
      execution.events += 2;
      if (execution.events > MOST_EVENTS)
        throw new TaskError('States.Runtime', 'The history of the execution is full.');
      const context = { Execution, State: { Name: name } };
      const bound = (states: Json) => ({
        ...variables,
        states: { context, input, ...states },
        millis: () => clock.now(),
        now: () => new Date(clock.now()).toISOString(),
        // Step Functions has it in place of $eval.
        parse: (text: string) => JSON.parse(text),
      });
      const plain = bound({});
      const left: Left = await handler({
        name,
        state,
        input,
        execution,
        signal,
        pause,
        evaluateHere: (value) => evaluate(value, plain),
        async leave({ Assign, Output, Next }, states, output) {
          const bindings = bound(states);
          const assigned = limited((await evaluate(Assign ?? {}, bindings)) as Json);
          return {
            assigned,
            output: limited(Output === undefined ? output : await evaluate(Output, bindings)),
            next: Next,
          };
        },
      });
      Object.assign(variables, left.assigned);
      input = left.output;
      name = left.next;
    }
    return input;
  }

  /**
   * Starts an execution.
   *
   * @param machine under which ARN its definition is known
   * @param name the same name with the same input is the same execution as long as it runs, and else refused
   * @throws TaskError as Step Functions refuses a start
   */
  function start(machine: string, input: unknown, name = crypto.randomUUID() as string): Execution {
    if (!machines[machine]) throw new TaskError('StepFunctions.StateMachineDoesNotExistException', machine);
    const taken = executions.find((other) => other.machine === machine && other.name === name);
    if (taken) {
      if (taken.isRunning && JSON.stringify(taken.input) === JSON.stringify(input)) return taken;
      throw new TaskError('StepFunctions.ExecutionAlreadyExistsException', name);
    }
    const controller = new AbortController();
    const execution: Execution = {
      name,
      machine,
      input,
      startedAt: clock.now(),
      result: Promise.resolve(),
      isRunning: true,
      transitions: 0,
      events: 2,
      stop: () => controller.abort(new TaskError('States.Aborted', 'The execution was stopped.')),
    };
    executions.push(execution);
    clock.working(1);
    execution.result = run(execution, controller.signal).finally(() => {
      execution.isRunning = false;
      clock.working(-1);
    });
    execution.result.catch(() => undefined);
    return execution;
  }

  return { start, executions };
}
