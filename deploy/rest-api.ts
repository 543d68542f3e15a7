/**
 * The REST API before the function, in CloudFormation: regional, or private, where only some VPC endpoints reach it.
 * osls would change its stage with calls of its own, outside of the template.
 */

import { createHash } from 'node:crypto';
import { type Api, accessLogFormat, accessLogGroup } from './api.ts';
import { arn, type Resource } from './cloudformation.ts';
import { logEncryption } from './log-groups.ts';
import type { Settings } from './parameters.ts';

const anything = 'execute-api:/*';

/**
 * The resource policy. It allows nothing to the API's own account: there, an Allow would let in every signed identity,
 * with or without execute-api:Invoke of its own.
 *
 * @returns undefined where none is needed
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-authorization-flow.html
 */
function resourcePolicy({ vpcEndpointIds, callerAccountIds }: Settings) {
  const statements = [
    ...(vpcEndpointIds.length > 0
      ? [
          {
            Effect: 'Deny',
            Principal: '*',
            Action: 'execute-api:Invoke',
            Resource: anything,
            Condition: { StringNotEquals: { 'aws:SourceVpce': vpcEndpointIds } },
          },
        ]
      : []),
    ...(callerAccountIds.length > 0
      ? [
          {
            Effect: 'Allow',
            Principal: {
              AWS: callerAccountIds.map((id) => arn('iam', 'root', `:${id}`)),
            },
            Action: 'execute-api:Invoke',
            Resource: anything,
            Condition: { StringNotEquals: { 'aws:PrincipalAccount': { Ref: 'AWS::AccountId' } } },
          },
        ]
      : []),
  ];
  return statements.length > 0 ? { Version: '2012-10-17', Statement: statements } : undefined;
}

/** The path, one resource for each part of it. */
const parts = ['groups', '{groupId}', 'liveMigrations', '{liveMigrationId}'];
const idOf = (index: number) => `RestApi${['Groups', 'Group', 'LiveMigrations', 'LiveMigration'][index]}`;

const path: Record<string, Resource> = Object.fromEntries(
  parts.map((part, index) => [
    idOf(index),
    {
      Type: 'AWS::ApiGateway::Resource',
      Properties: {
        RestApiId: { Ref: 'RestApi' },
        ParentId: index === 0 ? { 'Fn::GetAtt': ['RestApi', 'RootResourceId'] } : { Ref: idOf(index - 1) },
        PathPart: part,
      },
    },
  ]),
);

const method: Resource = {
  Type: 'AWS::ApiGateway::Method',
  Properties: {
    RestApiId: { Ref: 'RestApi' },
    ResourceId: { Ref: idOf(3) },
    HttpMethod: 'GET',
    AuthorizationType: 'AWS_IAM',
    RequestParameters: { 'method.request.path.groupId': true, 'method.request.path.liveMigrationId': true },
    Integration: {
      Type: 'AWS_PROXY',
      IntegrationHttpMethod: 'POST',
      Uri: {
        'Fn::Sub':
          'arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${GetLiveMigrationLambdaFunction.Arn}/invocations',
      },
    },
  },
};

export const restApi = (settings: Settings): Api => {
  const { service, stage, vpcEndpointIds, throttlingRate, throttlingBurst, logRetentionDays, tracing } = settings;
  const isPrivate = vpcEndpointIds.length > 0;
  const policy = resourcePolicy(settings);
  // A stage shows what was deployed last, so a change of the API needs another deployment resource.
  const version = createHash('sha256')
    .update(JSON.stringify([path, method, policy]))
    .digest('hex')
    .slice(0, 8);
  const deployment = `RestApiDeployment${version}`;

  return {
    gateway: {
      accessLog: 'RestApiLogGroup',
      serverErrors: {
        Namespace: 'AWS/ApiGateway',
        MetricName: '5XXError',
        Dimensions: [
          { Name: 'ApiName', Value: service },
          { Name: 'Stage', Value: stage },
        ],
      },
    },
    events: [],

    part: {
      Resources: {
        RestApi: {
          Type: 'AWS::ApiGateway::RestApi',
          Properties: {
            Name: service,
            EndpointConfiguration: isPrivate
              ? { Types: ['PRIVATE'], VpcEndpointIds: vpcEndpointIds }
              : { Types: ['REGIONAL'] },
            ...(policy ? { Policy: policy } : {}),
          },
        },
        ...path,
        RestApiMethod: method,
        [deployment]: {
          Type: 'AWS::ApiGateway::Deployment',
          DependsOn: ['RestApiMethod'],
          Properties: { RestApiId: { Ref: 'RestApi' } },
        },
        RestApiStage: {
          Type: 'AWS::ApiGateway::Stage',
          Properties: {
            RestApiId: { Ref: 'RestApi' },
            DeploymentId: { Ref: deployment },
            StageName: stage,
            TracingEnabled: tracing === 'true',
            AccessLogSetting: { DestinationArn: { 'Fn::GetAtt': ['RestApiLogGroup', 'Arn'] }, Format: accessLogFormat },
            MethodSettings: [
              {
                HttpMethod: '*',
                ResourcePath: '/*',
                ThrottlingRateLimit: Number(throttlingRate),
                ThrottlingBurstLimit: Number(throttlingBurst),
              },
            ],
          },
        },
        RestApiLogGroup: {
          Type: 'AWS::Logs::LogGroup',
          Properties: {
            LogGroupName: accessLogGroup('rest-api', service),
            RetentionInDays: Number(logRetentionDays),
            ...logEncryption(settings),
          },
        },
        RestApiPermission: {
          Type: 'AWS::Lambda::Permission',
          Properties: {
            FunctionName: { 'Fn::GetAtt': ['GetLiveMigrationLambdaFunction', 'Arn'] },
            Action: 'lambda:InvokeFunction',
            Principal: 'apigateway.amazonaws.com',
            SourceArn: arn('execute-api', ['${RestApi}', stage, 'GET/groups/*/liveMigrations/*'].join('/')),
          },
        },
      },
      Outputs: {
        ApiUrl: {
          Description: 'The base of the API, to which /groups/… is added',
          Value: { 'Fn::Sub': ['https://${RestApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}', stage].join('/') },
        },
      },
    },
  };
};
