/** The definitions of the wait, as the validator of the language reads them. */

import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { readDefinition } from '../../embedded/waiting.ts';
import { topic } from '../support/wait.ts';

/** It has no types. */
const aslValidator: (definition: object) => { isValid: boolean; errorsText?: (separator: string) => string } =
  createRequire(import.meta.url)('asl-validator');

test.each([
  ['awaitLiveMigration', ''],
  ['pollLiveMigration', ''],
  ['remindOfCutover', ''],
  ['remindOfCutover', topic],
] as const)('%s is valid, with the topic "%s"', (machine, alarmTopicArn) => {
  const { isValid, errorsText } = aslValidator(readDefinition(machine, alarmTopicArn));
  expect(isValid, errorsText?.('; ')).toBe(true);
});
