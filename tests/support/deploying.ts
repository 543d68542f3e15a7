/** What a deployment, its rollback and its removal call: osls itself, and CloudFormation with the rights of whoever deploys. */

/** The rights of a service, whose actions are written with blanks between them. */
const all = (service: string, ...actions: string[]) =>
  actions.flatMap((some) => some.split(' ')).map((action) => `${service}:${action}`);

/** Calls of osls, as tests/long/deployment.test.ts sees them, under AWS's names of the rights to them. */
export const callsOfOsls = [
  ...all('cloudformation', 'CreateChangeSet DeleteChangeSet DescribeChangeSet ExecuteChangeSet DeleteStack'),
  ...all('cloudformation', 'DescribeStackEvents DescribeStackResource DescribeStacks ListStackResources'),
  ...['cloudformation:ValidateTemplate', 'ecr:DescribeRepositories', 'lambda:GetFunction'],
  ...all('s3', 'DeleteObject GetObject ListBucket PutObject'),
];

/** What the commands in docs/operate.md call before a removal. */
export const callsBeforeRemoval = all('states', 'ListExecutions ListStateMachines StopExecution');

const api = all('apigateway', 'DELETE GET PATCH POST PUT');
const alarmTags = all('cloudwatch', 'ListTagsForResource TagResource UntagResource');

/**
 * What CloudFormation calls for each type of resource: the rights that the handlers of its schema name (`aws cloudformation
 * describe-type --type RESOURCE --type-name …`, read in November 2026 from the schemas of August). Those that write
 * properties which the stack has nowhere are left out, and those of other services that belong to such properties.
 */
export const rightsByType: Record<string, string[]> = {
  'AWS::ApiGateway::Deployment': api,
  'AWS::ApiGateway::Method': api,
  'AWS::ApiGateway::Resource': api,
  'AWS::ApiGateway::RestApi': [...api, 'apigateway:UpdateRestApiPolicy'],
  'AWS::ApiGateway::Stage': api,
  'AWS::ApiGatewayV2::Api': api,
  'AWS::ApiGatewayV2::Authorizer': api,
  'AWS::ApiGatewayV2::Integration': api,
  'AWS::ApiGatewayV2::Route': api,
  'AWS::ApiGatewayV2::Stage': [
    ...api,
    ...all('apigateway', 'TagResource UntagResource'),
    // For its access log: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
    ...all('logs', 'CreateLogDelivery DeleteLogDelivery GetLogDelivery ListLogDeliveries UpdateLogDelivery'),
    ...all('logs', 'DescribeResourcePolicies PutResourcePolicy'),
  ],
  'AWS::CloudWatch::Alarm': [...alarmTags, ...all('cloudwatch', 'DeleteAlarms DescribeAlarms PutMetricAlarm')],
  'AWS::CloudWatch::CompositeAlarm': [
    ...alarmTags,
    ...all('cloudwatch', 'DeleteAlarms DescribeAlarms PutCompositeAlarm'),
  ],
  'AWS::CloudWatch::Dashboard': [...alarmTags, ...all('cloudwatch', 'DeleteDashboards GetDashboard PutDashboard')],
  'AWS::DynamoDB::Table': [
    ...all('dynamodb', 'CreateTable DeleteTable UpdateTable UpdateTimeToLive TagResource UntagResource'),
    ...all('dynamodb', 'DescribeTable DescribeTimeToLive DescribeContinuousBackups DescribeContributorInsights'),
    ...all('dynamodb', 'DescribeKinesisStreamingDestination GetResourcePolicy ListTagsOfResource'),
    // With a key of one's own:
    // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html#dynamodb-customer-cmk-policy
    ...all('kms', 'CreateGrant Decrypt DescribeKey Encrypt GenerateDataKey* ReEncrypt*'),
  ],
  'AWS::IAM::Role': [
    ...all('iam', 'CreateRole DeleteRole GetRole UpdateRole UpdateAssumeRolePolicy TagRole UntagRole ListRoleTags'),
    ...all('iam', 'DeleteRolePolicy GetRolePolicy ListAttachedRolePolicies ListRolePolicies PutRolePolicy'),
    ...all('iam', 'DeleteRolePermissionsBoundary PutRolePermissionsBoundary'),
  ],
  'AWS::Lambda::EventInvokeConfig': all(
    'lambda',
    'DeleteFunctionEventInvokeConfig GetFunctionEventInvokeConfig PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig',
  ),
  'AWS::Lambda::Function': [
    ...all('lambda', 'CreateFunction DeleteFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration'),
    ...all('lambda', 'DeleteFunctionConcurrency PutFunctionConcurrency ListTags TagResource UntagResource'),
    ...all('lambda', 'GetFunctionCodeSigningConfig GetFunctionRecursionConfig GetFunctionScalingConfig'),
    'lambda:GetRuntimeManagementConfig',
    ...all('ec2', 'DescribeNetworkInterfaces DescribeSecurityGroups DescribeSubnets DescribeVpcs'),
    ...['iam:PassRole', 's3:GetObject'],
  ],
  'AWS::Lambda::Permission': all('lambda', 'AddPermission GetPolicy RemovePermission'),
  'AWS::Lambda::Version': [
    ...all('lambda', 'DeleteFunction GetFunctionConfiguration ListVersionsByFunction PublishVersion'),
    ...all('lambda', 'GetFunctionScalingConfig GetProvisionedConcurrencyConfig GetRuntimeManagementConfig'),
  ],
  'AWS::Logs::LogGroup': [
    ...all('logs', 'CreateLogGroup DeleteLogGroup DescribeLogGroups PutRetentionPolicy'),
    ...all('logs', 'AssociateKmsKey DisassociateKmsKey ListTagsForResource TagResource UntagResource'),
    ...all('logs', 'DescribeIndexPolicies DescribeResourcePolicies GetDataProtectionPolicy'),
  ],
  'AWS::Logs::MetricFilter': all('logs', 'DeleteMetricFilter DescribeMetricFilters PutMetricFilter'),
  'AWS::S3::Bucket': [
    ...all('s3', 'CreateBucket DeleteBucket ListBucket PutEncryptionConfiguration'),
    ...all('s3', 'GetBucketTagging ListTagsForResource PutBucketTagging TagResource UntagResource'),
    ...all('s3', 'GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS'),
    ...all('s3', 'GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification'),
    ...all('s3', 'GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPublicAccessBlock'),
    ...all('s3', 'GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetIntelligentTieringConfiguration'),
    ...all('s3', 'GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration'),
    's3:GetReplicationConfiguration',
  ],
  'AWS::S3::BucketPolicy': all('s3', 'DeleteBucketPolicy GetBucketPolicy PutBucketPolicy'),
  'AWS::StepFunctions::StateMachine': [
    ...all('states', 'CreateStateMachine DeleteStateMachine DescribeStateMachine UpdateStateMachine'),
    ...all('states', 'ListTagsForResource TagResource UntagResource'),
    'iam:PassRole',
  ],
};
