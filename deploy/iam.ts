/** Statements and roles, as every part of the deployment writes them. */

import type { Condition, Resource, Statement, Text } from './cloudformation.ts';

/** A statement that allows some actions on a resource, under a condition where there is one. */
export const allow = (actions: string | string[], resource: Text | Text[], condition?: Condition): Statement => ({
  Effect: 'Allow',
  Action: actions,
  Resource: resource,
  ...(condition ? { Condition: condition } : {}),
});

/**
 * A statement that lets a service decrypt with a key on behalf of the role, and the role never by itself.
 *
 * @see https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
 */
export const decryptBy = (service: string, key: string, context: Record<string, Text> = {}): Statement =>
  allow('kms:Decrypt', key, {
    StringEquals: { 'kms:ViaService': { 'Fn::Sub': `${service}.\${AWS::Region}.\${AWS::URLSuffix}` }, ...context },
  });

/**
 * @param principal the service that takes the role
 * @param condition under which it does; none: always
 * @param policyName the name of its one policy, which has the statements
 * @param permissionsBoundaryArn the deployment's parameter: empty for none
 */
export const role = ({
  principal,
  condition,
  policyName,
  statements,
  permissionsBoundaryArn,
}: {
  principal: string;
  condition?: Condition;
  policyName: string;
  statements: Statement[];
  permissionsBoundaryArn: string;
}): Resource => ({
  Type: 'AWS::IAM::Role',
  Properties: {
    AssumeRolePolicyDocument: {
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: { Service: principal },
          Action: 'sts:AssumeRole',
          ...(condition ? { Condition: condition } : {}),
        },
      ],
    },
    ...(permissionsBoundaryArn ? { PermissionsBoundary: permissionsBoundaryArn } : {}),
    Policies: [{ PolicyName: policyName, PolicyDocument: { Version: '2012-10-17', Statement: statements } }],
  },
});
