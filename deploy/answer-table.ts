/** The table of shared answers, where there is one. */

import type { Part, Statement } from './cloudformation.ts';
import { allow, decryptBy } from './iam.ts';
import type { Settings } from './parameters.ts';

/**
 * @param settings the parameters and names of the deployment
 * @returns the table, its name for the function's environment, and what the function may do with it
 */
export const answerTable = ({
  service,
  freshnessSeconds,
  tableKmsKeyArn,
}: Settings): { part: Part; name: string; rights: Statement[] } => {
  if (Number(freshnessSeconds) === 0) return { part: {}, name: '', rights: [] };
  const name = `${service}-answers`;
  return {
    name,
    rights: [
      allow(['dynamodb:GetItem', 'dynamodb:UpdateItem'], { 'Fn::GetAtt': ['AnswerTable', 'Arn'] }),
      // DynamoDB decrypts the key of the table for whoever reads or writes items. All else it does by a grant.
      // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html#dynamodb-kms-authz
      ...(tableKmsKeyArn
        ? [decryptBy('dynamodb', tableKmsKeyArn, { 'kms:EncryptionContext:aws:dynamodb:tableName': name })]
        : []),
    ],
    part: {
      Resources: {
        AnswerTable: {
          Type: 'AWS::DynamoDB::Table',
          // What is in it is of use for seconds.
          DeletionPolicy: 'Delete',
          UpdateReplacePolicy: 'Delete',
          Properties: {
            TableName: name,
            AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' }],
            KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' }],
            BillingMode: 'PAY_PER_REQUEST',
            SSESpecification: tableKmsKeyArn
              ? { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: tableKmsKeyArn }
              : { SSEEnabled: true },
            TimeToLiveSpecification: { AttributeName: 'expiresAt', Enabled: true },
          },
        },
      },
    },
  };
};
