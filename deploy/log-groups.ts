/** What all log groups of the stack have, also those that osls makes. */

import type { Settings } from './parameters.ts';

/**
 * @param settings the parameters of the deployment
 * @returns the properties of a log group that the key of the logs adds, where there is one
 */
export const logEncryption = ({ logsKmsKeyArn }: Pick<Settings, 'logsKmsKeyArn'>) =>
  logsKmsKeyArn ? { KmsKeyId: logsKmsKeyArn } : {};
