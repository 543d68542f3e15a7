/** The command line of the programs in this folder: --help; on an error the usage, the error and exit code 2. */

import { parseArgs } from 'node:util';
import { proxyOf } from '../lib/proxy.ts';

type Options = Record<string, { type: 'string'; default?: string } | { type: 'boolean' }>;
type Values<O extends Options> = {
  [name in keyof O]: O[name] extends { default: string }
    ? string
    : O[name] extends { type: 'boolean' }
      ? boolean | undefined
      : string | undefined;
};

/**
 * @param usage what to print for --help, and before what is wrong
 * @param options the options; each takes a text, or stands alone
 * @param validate turns the options and the positional arguments into what the program needs; throws an Error that says what is wrong
 */
export function readCommandLine<O extends Options, T>(
  usage: string,
  options: O,
  validate: (values: Values<O>, positionals: string[]) => T,
): T {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { ...options, help: { type: 'boolean' } },
    }) as {
      values: Record<string, unknown>;
      positionals: string[];
    };
    if (values['help']) {
      console.log(usage);
      process.exit(0);
    }
    return validate(values as never, positionals);
  } catch (error) {
    // The first sentence of parseArgs's message names the option. It is printed last, where people see it.
    const [sentence] = (error as Error).message.split(/\.?\s+(?:To specify|Did you forget)/);
    console.error(`${usage}\n\n${sentence?.replace(/\.?$/, '.')}`);
    return process.exit(2);
  }
}

/** @throws Error where the environment names a proxy that can't be one */
export function mustHaveUsableProxy() {
  const { problem } = proxyOf(process.env);
  if (problem) throw new Error(problem);
}

/** The two ids that a program wants in addition to its options. */
export function twoIds(positionals: string[]): { groupId: string; liveMigrationId: string } {
  const [groupId, liveMigrationId, ...rest] = positionals;
  if (!groupId || !liveMigrationId || rest.length > 0) throw new Error('Two ids are needed.');
  return { groupId, liveMigrationId };
}
