/** What the files of the deployment share: the types of CloudFormation's template, as far as a reader needs them, and ARNs. */

/** A text, or what CloudFormation makes one of. */
export type Text =
  | string
  | { Ref: string }
  | { 'Fn::GetAtt': [resource: string, attribute: string] }
  | { 'Fn::Sub': string };

export type Resource = {
  Type: string;
  Properties: Record<string, unknown>;
  DependsOn?: string[];
  DeletionPolicy?: 'Delete';
  UpdateReplacePolicy?: 'Delete';
};

/** What a file adds to the template; `extensions` are properties of resources that osls makes. */
export type Part = {
  Resources?: Record<string, Resource>;
  Outputs?: Record<string, { Description: string; Value: Text }>;
  extensions?: Record<string, { Properties: Record<string, unknown> }>;
};

/** Of an IAM policy: operator, key, and what the key is compared with. */
export type Condition = Record<string, Record<string, Text | Text[]>>;

export type Statement = {
  Effect: 'Allow' | 'Deny';
  Action: string | string[];
  Resource: Text | Text[];
  Condition?: Condition;
};

export type Metric = {
  Namespace: string;
  MetricName: string;
  Dimensions: { Name: string; Value: string | { Ref: string } }[];
};

/** A metric of an alarm over a period, or an expression over those that came before. */
export type Query =
  | { Id: string; ReturnData: false; MetricStat: { Metric: Metric; Period: number; Stat: string } }
  | { Id: string; ReturnData: boolean; Expression: string };

/** When an alarm fires. */
export type Alarm = { Metrics: Query[]; EvaluationPeriods: number; DatapointsToAlarm?: number; Threshold: number };

export type Tag = { Key: string; Value: string };

/** The ARN of a resource; `place` is the region and the account, which are those of the stack. */
export const arn = (service: string, resource: string, place = '${AWS::Region}:${AWS::AccountId}') => ({
  'Fn::Sub': ['arn', '${AWS::Partition}', service, place, resource].join(':'),
});
