/** The local Step Functions: what it does as the service does, and that it refuses what it does not know. */

import { describe, expect, test } from 'vitest';
import { createStepFunctions, type Definition, type State, TaskError } from '../embedded/step-functions.ts';
import { virtualClock } from './support/virtual-clock.ts';

const machine = (States: Record<string, State>): Definition => ({
  QueryLanguage: 'JSONata',
  StartAt: Object.keys(States)[0] ?? '',
  States,
});

/** Runs one machine, whose task `arn:aws:states:::service` answers with its arguments or throws. */
async function run(
  States: Record<string, State>,
  { input = {} as unknown, service = (args: unknown): unknown => args } = {},
) {
  const { start } = createStepFunctions({ machine: machine(States) }, { service }, virtualClock());
  const execution = start('machine', input);
  return execution.result.catch((error: unknown) => error);
}

const task = (more: Partial<State> = {}): State => ({ Type: 'Task', Resource: 'arn:aws:states:::service', ...more });
const done: State = { Type: 'Succeed' };
const caught = [{ ErrorEquals: ['States.ALL'], Next: 'Caught' }];
const Caught: State = { Type: 'Succeed', Output: '{% $states.input.Error %}' };

test('Assign and Output see the variables as they were before the state', async () => {
  const result = await run({
    First: { Type: 'Pass', Assign: { x: 1 }, Next: 'Second' },
    Second: { Type: 'Pass', Assign: { x: '{% $x + 1 %}', y: '{% $x %}' }, Output: '{% $x %}', Next: 'Third' },
    Third: { Type: 'Succeed', Output: { x: '{% $x %}', y: '{% $y %}', before: '{% $states.input %}' } },
  });
  expect(result).toEqual({ x: 2, y: 1, before: 1 });
});

test('an execution whose history is full fails', async () => {
  const forever: State = { Type: 'Pass', Next: 'Forever' };
  expect(await run({ Forever: forever })).toMatchObject({ name: 'States.Runtime' });
});

describe('an expression', () => {
  test.each([
    ['without a result', '{% $states.input.nothing %}'],
    ['that fails', '{% "60" <= 3600 %}'],
  ])('%s is States.QueryEvaluationError, which the Catch of a task sees', async (_, expression) => {
    const error = { name: 'States.QueryEvaluationError' };
    expect(await run({ Only: { Type: 'Succeed', Output: expression } })).toMatchObject(error);
    expect(await run({ Ask: task({ Arguments: expression, Catch: caught, Next: 'Caught' }), Caught })).toBe(error.name);
    expect(await run({ Ask: task({ Assign: { x: expression }, Catch: caught, Next: 'Caught' }), Caught })).toBe(
      error.name,
    );
  });

  test.each([
    ['"yes"', 'No boolean'],
    ['$states.input.nothing', 'no result'],
  ])('of a Choice that gives %s ends the execution', async (condition, message) => {
    const which: State = {
      Type: 'Choice',
      Choices: [{ Condition: `{% ${condition} %}`, Next: 'Done' }],
      Default: 'Done',
    };
    expect(await run({ which, Done: done })).toMatchObject({ message: expect.stringContaining(message) });
  });

  test('gives lists that are lists, and one of a single element is none unless it was made as a list', async () => {
    const Output = { filtered: '{% ( $all := [{"x": 1}, {"x": 2}]; $all[x = 1].x ) %}', made: '{% [1] %}' };
    expect(await run({ Only: { Type: 'Succeed', Output } })).toEqual({ filtered: 1, made: [1] });
  });
});

describe('what no Catch of States.ALL sees', () => {
  test('more than 256 KiB', async () => {
    const States = { Ask: task({ Catch: caught, Next: 'Caught' }), Caught };
    expect(await run(States, { service: () => 'x'.repeat(257 * 1024) })).toMatchObject({
      name: 'States.DataLimitExceeded',
    });
  });

  test.each(['States.DataLimitExceeded', 'States.Runtime'])('%s', async (name) => {
    const service = () => {
      throw new TaskError(name, '');
    };
    expect(await run({ Ask: task({ Catch: caught, Next: 'Caught' }), Caught }, { service })).toMatchObject({ name });
  });

  test('a Wait that is not for whole seconds', async () => {
    expect(await run({ Pause: { Type: 'Wait', Seconds: 1.5, Next: 'Done' }, Done: done })).toMatchObject({
      name: 'States.Runtime',
    });
  });
});

test('a retry waits, grows, and is the same task', async () => {
  const clock = virtualClock();
  const begin = clock.now();
  const times: number[] = [];
  const service = () => {
    times.push((clock.now() - begin) / 1000);
    throw new TaskError('Made up', 'why');
  };
  const Retry = [{ ErrorEquals: ['Made up'], IntervalSeconds: 10, MaxAttempts: 3, MaxDelaySeconds: 25 }];
  const { start } = createStepFunctions({ machine: machine({ Ask: task({ Retry }) }) }, { service }, clock);
  const execution = start('machine', {});
  await expect(execution.result).rejects.toMatchObject({ name: 'Made up', message: 'why' });
  expect(times).toEqual([0, 10, 30, 55]);
  expect(execution.transitions).toBe(4);
});

describe('an execution that is started', () => {
  const waits = machine({ Pause: { Type: 'Wait', Seconds: 60, Next: 'Done' }, Done: done });

  test('under a name that is taken is the same one, as long as it runs with the same input', async () => {
    const { start } = createStepFunctions({ waits }, {}, virtualClock());
    const first = start('waits', { a: 1 }, 'name');
    expect(start('waits', { a: 1 }, 'name')).toBe(first);
    const refused = expect.objectContaining({ name: 'StepFunctions.ExecutionAlreadyExistsException' });
    expect(() => start('waits', { a: 2 }, 'name')).toThrow(refused);
    await first.result;
    expect(() => start('waits', { a: 1 }, 'name')).toThrow(refused);
  });

  test('with .sync ends with the one that started it', async () => {
    const parent = machine({
      Round: task({
        Resource: 'arn:aws:states:::states:startExecution.sync:2',
        Arguments: { StateMachineArn: 'waits', Input: {} },
      }),
    });
    const { start, executions } = createStepFunctions({ parent, waits }, {});
    const execution = start('parent', {});
    while (executions.length < 2) await new Promise(setImmediate);
    execution.stop();
    await expect(execution.result).rejects.toMatchObject({ name: 'States.Aborted' });
    await expect(executions[1]?.result).rejects.toMatchObject({ name: 'States.Aborted' });
  });
});

test.each<[string, Definition]>([
  ['JSONPath', { ...machine({ Done: done }), QueryLanguage: 'JSONPath' as 'JSONata' }],
  ['a state of another type', machine({ Many: { Type: 'Map' } })],
  ['a field of JSONPath', machine({ Ask: { ...task(), ResultPath: '$.x' } as State })],
  ['a Wait for a Timestamp', machine({ Pause: { Type: 'Wait', Timestamp: '{% $now() %}' } as State })],
])('%s is refused', (_, definition) => {
  expect(() => createStepFunctions({ definition }, {})).toThrow(/known here/);
});

test('a service that is not there ends the run', async () => {
  expect(
    await run({ Ask: task({ Resource: 'arn:aws:states:::sqs:sendMessage', Catch: caught, Next: 'Caught' }), Caught }),
  ).toMatchObject({
    message: 'There is no service sqs:sendMessage here.',
  });
});
