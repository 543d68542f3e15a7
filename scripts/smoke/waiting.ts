/** Checks of the state machines: what they may do, and that their events reach the bus. */

import { randomBytes } from 'node:crypto';
import { type Check, type Context, madeUp, poll } from './context.ts';
import { Trouble } from './question.ts';

const shortId = () => `smoke-${randomBytes(6).toString('hex')}`;

/** Starts an execution, which is stopped at the end of the check where it still runs. @returns its ARN */
async function start(context: Context, stateMachineArn: string, input: object): Promise<string> {
  const { call } = context.aws;
  const name = shortId();
  // Known before the answer, which may be lost.
  const executionArn = `${stateMachineArn.replace(':stateMachine:', ':execution:')}:${name}`;
  context.cleanUp(executionArn, () => call('states', 'StopExecution', { executionArn }));
  await call('states', 'StartExecution', { stateMachineArn, name, input: JSON.stringify(input) });
  return executionArn;
}

type Ended = { status: string; error?: string; cause?: string };

/** What went wrong last in an execution, or in the round that it started. */
async function lastErrorOf({ aws: { call } }: Context, executionArn: string, depth = 0): Promise<string | undefined> {
  const { events } = await call('states', 'GetExecutionHistory', { executionArn, reverseOrder: true, maxResults: 100 });
  for (const event of events) {
    const { error, cause } = (Object.values(event).find((details) => (details as Ended)?.error) as Ended) ?? {};
    if (error) return `${error}: ${String(cause ?? '').slice(0, 300)}`;
    const child = /"executionArn":\s*"([^"]+)"/i.exec(event.taskSubmittedEventDetails?.output ?? '')?.[1];
    if (child && depth === 0) return lastErrorOf({ aws: { call } } as Context, child, 1);
  }
  return undefined;
}

/** @returns the last error, as far as it may be read */
const whyNot = (context: Context, executionArn: string) =>
  lastErrorOf(context, executionArn).then(
    (error) => error ?? 'without an error so far',
    () => 'its history cannot be read',
  );

/** Waits for the end of an execution. */
async function endOf(context: Context, executionArn: string, what: string): Promise<Ended> {
  const { call } = context.aws;
  return poll(
    context,
    async () => {
      const ended: Ended = await call('states', 'DescribeExecution', { executionArn });
      return ended.status === 'RUNNING' ? undefined : ended;
    },
    2000,
    async () =>
      new Trouble(
        `${what} does not end (${await whyNot(context, executionArn)}).`,
        'Its role, or the one of its rounds, may not start executions or invoke the function: deploy the stack again. A policy of the organization may deny it.',
        executionArn,
      ),
  );
}

const rights = [
  'states:StartExecution',
  'states:StopExecution',
  'states:DescribeExecution',
  'states:GetExecutionHistory',
];

export const wait: Check = {
  name: 'wait',
  seconds: 120,
  actions: rights,
  async run(context) {
    const { deployment, groupId, areReal } = context;
    const input = { groupId, liveMigrationId: madeUp.liveMigrationId, pollSeconds: 5, giveUpAfterSeconds: 600 };
    const executionArn = await start(context, deployment.outputs['AwaitLiveMigrationArn'] ?? '', input);
    const { status, error, cause } = await endOf(
      context,
      executionArn,
      'A wait for a live migration that does not exist',
    );
    const expected = areReal ? ['LiveMigrationNotFound'] : ['LiveMigrationNotFound', 'ProjectNotFound'];
    if (status === 'FAILED' && expected.includes(error ?? ''))
      return { ok: `one for a live migration that does not exist ended as ${error}` };
    throw new Trouble(
      `A wait for a live migration that does not exist ended as ${[error ?? status, String(cause ?? '').slice(0, 300)].filter(Boolean).join(': ')}.`,
      'It should end as LiveMigrationNotFound. Look at the execution in Step Functions.',
      executionArn,
    );
  },
};

export const reminder: Check = {
  name: 'reminder',
  seconds: 60,
  actions: rights,
  async run(context) {
    // It asks at once, since it became ready long ago; the function refuses the id, and the reminder ends.
    const input = { groupId: madeUp.groupId, liveMigrationId: 'smoke', readyAt: 0 };
    const executionArn = await start(context, context.deployment.outputs['RemindOfCutoverArn'] ?? '', input);
    const { status, error } = await endOf(context, executionArn, 'A reminder for an id that is not valid');
    if (status === 'SUCCEEDED') return { ok: 'one for an id that is not valid asked the function, and ended at once' };
    throw new Trouble(
      `A reminder ended as ${error ?? status}.`,
      'Look at the execution in Step Functions.',
      executionArn,
    );
  },
};

/** The bus that the deployed definition names. */
async function busOf({ aws, deployment }: Context): Promise<string> {
  const machine = deployment.resources.find(({ logicalId }) => logicalId === 'PollLiveMigration');
  const { definition } = await aws.call('states', 'DescribeStateMachine', { stateMachineArn: machine?.physicalId });
  return /"EventBusName":\s*"([^"]+)"/.exec(definition)?.[1] ?? 'default';
}

export const events: Check = {
  name: 'events',
  seconds: 180,
  actions: [
    ...rights,
    'states:DescribeStateMachine',
    'events:PutRule',
    'events:PutTargets',
    'events:PutEvents',
    'events:RemoveTargets',
    'events:DeleteRule',
    'sqs:CreateQueue',
    'sqs:ReceiveMessage',
    'sqs:DeleteQueue',
  ],
  async run(context) {
    const { aws, areReal, deployment, groupId, liveMigrationId, invoked, region } = context;
    if (!areReal) return { skipped: 'a wait has events only for a live migration that exists: give its ids' };
    if (invoked.document?.['readyForCutover'] === true)
      return { skipped: 'the live migration is ready for cutover: a wait would start its reminder' };
    const bus = await busOf(context);
    const { accountId, partition } = deployment;
    if (bus.startsWith('arn:') && bus.split(':')[4] !== accountId)
      return { skipped: `the bus is in another account (${bus})` };
    const busName = bus.replace(/^arn:.*:event-bus\//, '');
    const name = shortId();
    const onBus = { EventBusName: busName };
    const probe = 'atlas.live-migration.smoke';
    const ruleArn = `arn:${partition}:events:${region}:${accountId}:rule/${busName === 'default' ? '' : `${busName}/`}${name}`;
    const queueArn = `arn:${partition}:sqs:${region}:${accountId}:${name}`;
    const statement = {
      ...{
        Effect: 'Allow',
        Principal: { Service: 'events.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queueArn,
      },
      Condition: { ArnEquals: { 'aws:SourceArn': ruleArn } },
    };
    const QueueUrl = aws.queueUrl(accountId, name);
    context.cleanUp(`the queue ${name}`, () => aws.call('sqs', 'DeleteQueue', { QueueUrl }));
    await aws.call('sqs', 'CreateQueue', {
      QueueName: name,
      Attributes: {
        MessageRetentionPeriod: '300',
        Policy: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
      },
    });
    const pattern = { source: ['atlas.live-migration', probe], detail: { id: [liveMigrationId] } };
    context.cleanUp(`the rule ${name}`, () => aws.call('events', 'DeleteRule', { Name: name, ...onBus }));
    await aws.call('events', 'PutRule', {
      ...{ Name: name, ...onBus, EventPattern: JSON.stringify(pattern) },
      Description: 'npm run smoke: can be deleted',
    });
    context.cleanUp(`the target of the rule ${name}`, () =>
      aws.call('events', 'RemoveTargets', { Rule: name, Ids: ['queue'], ...onBus }),
    );
    await aws.call('events', 'PutTargets', { Rule: name, Targets: [{ Id: 'queue', Arn: queueArn }], ...onBus });

    const received = async (source: string) => {
      const { Messages = [] } = await aws
        .call('sqs', 'ReceiveMessage', {
          QueueUrl,
          MaxNumberOfMessages: 10,
          WaitTimeSeconds: 2,
        })
        // A new queue takes a second until it is there.
        .catch((error) => {
          if (/DoesNotExist|NonExistent/.test(error.name)) return {};
          throw error;
        });
      const all = Messages.map(({ Body }: { Body: string }) => JSON.parse(Body));
      return all.find((event: { source: string }) => event.source === source);
    };
    // A new rule takes some time until it works.
    await poll(
      context,
      async () => {
        const entry = { Source: probe, DetailType: 'probe', Detail: JSON.stringify({ id: liveMigrationId }), ...onBus };
        const { FailedEntryCount, Entries } = await aws.call('events', 'PutEvents', { Entries: [entry] });
        if (FailedEntryCount > 0)
          throw new Trouble(
            `The bus ${busName} does not take events (${Entries[0].ErrorCode}).`,
            'Check its policy, and its KMS key.',
          );
        return received(probe);
      },
      2000,
      () =>
        new Trouble(
          `A rule on the bus ${busName} gets no event.`,
          'Check that the bus exists, and its policy and KMS key.',
        ),
    );
    const wait = await start(context, deployment.outputs['AwaitLiveMigrationArn'] ?? '', {
      groupId,
      liveMigrationId,
      pollSeconds: 60,
    });
    const event = await poll(
      context,
      () => received('atlas.live-migration'),
      1000,
      async () =>
        new Trouble(
          `The wait puts no event on the bus ${busName} (${await whyNot(context, wait)}).`,
          'The role of pollLiveMigration may not put events, or the policy or the KMS key of the bus denies it.',
          wait,
        ),
    );
    return { ok: `a wait for the live migration put its first event on the bus ${busName}: ${event.detail.status}` };
  },
};
