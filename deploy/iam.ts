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
