/** The HTTP API before the function: who may call (IAM or a JWT), from which pages (CORS), and how often. */

import { type Api, accessLogFormat, accessLogGroup } from './api.ts';
import { logEncryption } from './log-groups.ts';
import type { Settings } from './parameters.ts';

export const httpApi = ({
  corsOrigins,
  jwtIssuer,
  jwtAudience,
  jwtScopes,
  throttlingRate,
  throttlingBurst,
  service,
  tagList,
  logsKmsKeyArn,
}: Settings): Api => ({
  gateway: {
    accessLog: 'HttpApiLogGroup',
    serverErrors: {
      Namespace: 'AWS/ApiGateway',
      MetricName: '5xx',
      Dimensions: [{ Name: 'ApiId', Value: { Ref: 'HttpApi' } }],
    },
  },

  // osls makes the API of these.
  events: [
    {
      httpApi: {
        method: 'GET',
        path: '/groups/{groupId}/liveMigrations/{liveMigrationId}',
        authorizer: jwtIssuer
          ? { name: 'jwt', ...(jwtScopes.length > 0 ? { scopes: jwtScopes } : {}) }
          : { type: 'aws_iam' },
      },
    },
  ],
  httpApi: {
    ...(corsOrigins.length > 0
      ? {
          cors: {
            allowedOrigins: corsOrigins,
            allowedMethods: ['GET'],
            // What the common signers send.
            allowedHeaders: [
              ...['authorization', 'x-amz-date', 'x-amz-security-token'],
              ...['x-amz-content-sha256', 'x-amz-user-agent'],
            ],
            exposedResponseHeaders: ['retry-after', 'age'],
          },
        }
      : {}),
    ...(jwtIssuer
      ? {
          authorizers: {
            jwt: {
              type: 'jwt',
              identitySource: '$request.header.Authorization',
              issuerUrl: jwtIssuer,
              audience: jwtAudience,
            },
          },
        }
      : {}),
  },
  logs: { httpApi: { format: accessLogFormat } },

  part: {
    extensions: {
      HttpApiStage: {
        Properties: {
          DefaultRouteSettings: {
            ThrottlingRateLimit: Number(throttlingRate),
            ThrottlingBurstLimit: Number(throttlingBurst),
          },
        },
      },
      HttpApiLogGroup: {
        Properties: {
          LogGroupName: accessLogGroup('http-api', service),
          Tags: tagList,
          ...logEncryption({ logsKmsKeyArn }),
        },
      },
    },
    Outputs: {
      ApiUrl: {
        Description: 'The base of the API, to which /groups/… is added',
        Value: { 'Fn::Sub': 'https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}' },
      },
    },
  },
});
