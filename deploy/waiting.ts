/** The state machines of the wait, made of their definitions: what each may do, and where its errors are logged. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { namespace } from '../lib/lambda/invocation-line.ts';
import { arn, type Part, type Resource, type Statement, type Text } from './cloudformation.ts';
import { allow, role } from './iam.ts';
import { logEncryption } from './log-groups.ts';
import type { Settings } from './parameters.ts';

const getLiveMigrationArn: Text = { 'Fn::GetAtt': ['GetLiveMigrationLambdaFunction', 'Arn'] };

/** A bus by its name, or by its ARN where it is in another account. */
const busArn = (bus: string): Text => (bus.startsWith('arn:') ? bus : arn('events', `event-bus/${bus}`));

/** Log deliveries and traces of Step Functions: these actions support no resource. */
const deliverLogs = allow(
  [
    ...['logs:CreateLogDelivery', 'logs:GetLogDelivery', 'logs:UpdateLogDelivery', 'logs:DeleteLogDelivery'],
    ...['logs:ListLogDeliveries', 'logs:PutResourcePolicy', 'logs:DescribeResourcePolicies', 'logs:DescribeLogGroups'],
  ],
  '*',
);
const trace = allow(
  ['xray:PutTraceSegments', 'xray:PutTelemetryRecords', 'xray:GetSamplingRules', 'xray:GetSamplingTargets'],
  '*',
);
const mayCount = allow('cloudwatch:PutMetricData', '*', {
  StringEquals: { 'cloudwatch:namespace': namespace },
});

type Machine = { file: string; statements: Statement[]; open: Record<string, Text> };

/** For each state machine: its file, what its tasks may do, and what its definition leaves open. */
const machines = ({ service, eventBusName, alarmTopicArn }: Settings): Record<string, Machine> => ({
  awaitLiveMigration: {
    file: 'await-live-migration',
    statements: [
      allow('states:StartExecution', arn('states', `stateMachine:${service}-pollLiveMigration`)),
      allow(
        ['states:DescribeExecution', 'states:StopExecution'],
        arn('states', `execution:${service}-pollLiveMigration:*`),
      ),
      // How Step Functions learns that an execution started with .sync has ended: a rule of its own.
      allow(
        ['events:PutTargets', 'events:PutRule', 'events:DescribeRule'],
        arn('events', 'rule/StepFunctionsGetEventsForStepFunctionsExecutionRule'),
      ),
      mayCount,
    ],
    open: { PollLiveMigrationArn: { Ref: 'PollLiveMigration' } },
  },
  pollLiveMigration: {
    file: 'poll-live-migration',
    statements: [
      allow('lambda:InvokeFunction', getLiveMigrationArn),
      allow('events:PutEvents', busArn(eventBusName)),
      allow('states:StartExecution', arn('states', `stateMachine:${service}-remindOfCutover`)),
      mayCount,
    ],
    open: {
      GetLiveMigrationArn: getLiveMigrationArn,
      EventBusName: eventBusName,
      RemindOfCutoverArn: { Ref: 'RemindOfCutover' },
    },
  },
  remindOfCutover: {
    file: 'remind-of-cutover',
    statements: [
      allow('lambda:InvokeFunction', getLiveMigrationArn),
      allow('events:PutEvents', busArn(eventBusName)),
      ...(alarmTopicArn ? [allow('sns:Publish', alarmTopicArn)] : []),
      mayCount,
    ],
    open: { GetLiveMigrationArn: getLiveMigrationArn, EventBusName: eventBusName, AlarmTopicArn: alarmTopicArn },
  },
});

const logicalIdOf = (machine: string) => machine.charAt(0).toUpperCase() + machine.slice(1);

const definitionOf = (file: string) => parse(readFileSync(join(import.meta.dirname, `${file}.asl.yml`), 'utf8'));

export function waiting(settings: Settings): Part {
  const { service, logRetentionDays, permissionsBoundaryArn } = settings;
  const isTraced = settings.tracing === 'true';
  const resources: Record<string, Resource> = {
    WaitingLogGroup: {
      Type: 'AWS::Logs::LogGroup',
      Properties: {
        // The prefix keeps the account's resource policy for log deliveries short, as in api.ts.
        LogGroupName: `/aws/vendedlogs/states/${service}`,
        RetentionInDays: Number(logRetentionDays),
        ...logEncryption(settings),
      },
    },
  };
  for (const [machine, { file, statements, open }] of Object.entries(machines(settings))) {
    const id = logicalIdOf(machine);
    resources[id] = {
      Type: 'AWS::StepFunctions::StateMachine',
      Properties: {
        StateMachineName: `${service}-${machine}`,
        RoleArn: { 'Fn::GetAtt': [`${id}Role`, 'Arn'] },
        DefinitionString: { 'Fn::Sub': [JSON.stringify(definitionOf(file)), { ...open, Service: service }] },
        LoggingConfiguration: {
          Level: 'ERROR',
          IncludeExecutionData: false,
          Destinations: [{ CloudWatchLogsLogGroup: { LogGroupArn: { 'Fn::GetAtt': ['WaitingLogGroup', 'Arn'] } } }],
        },
        TracingConfiguration: { Enabled: isTraced },
      },
    };
    resources[`${id}Role`] = role({
      principal: 'states.amazonaws.com',
      condition: {
        StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } },
        ArnLike: { 'aws:SourceArn': arn('states', `stateMachine:${service}-${machine}`) },
      },
      policyName: machine,
      statements: [...statements, deliverLogs, ...(isTraced ? [trace] : [])],
      permissionsBoundaryArn,
    });
  }
  return {
    Resources: resources,
    Outputs: {
      AwaitLiveMigrationArn: {
        Description: 'The state machine that waits for a live migration',
        Value: { Ref: 'AwaitLiveMigration' },
      },
      RemindOfCutoverArn: {
        Description: 'The state machine that reminds of a cutover that is due',
        Value: { Ref: 'RemindOfCutover' },
      },
    },
  };
}
