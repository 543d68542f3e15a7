/** What the programs refuse on their command line: exit code 2, the usage, and last the sentence that says what is wrong. */

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { root } from '../support/npm-start.ts';

const groupId = '5f1b2c3d4e5f6a7b8c9d0e1f';

test.each([
  ['smoke', [], 'Two ids are needed.'],
  ['smoke', [groupId], 'Two ids are needed.'],
  ['smoke', ['--nonsense'], "Unknown option '--nonsense'."],
  ['start', ['--freshness', '61'], '--freshness must be a whole number from 0 to 60.'],
  ['start', ['--challenge', 'none'], 'Unknown challenge "none".'],
  ['start', ['4000'], 'Unknown argument "4000".'],
  ['start', ['--port', '3100', '--lambda-port', '3100'], '--port and --lambda-port must be two ports.'],
  ['start', ['--nonsense'], "Unknown option '--nonsense'."],
])('npm run %s -- %j', (program, args, sentence) => {
  const { status, stderr } = spawnSync(process.execPath, [`scripts/${program}.ts`, ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(status).toBe(2);
  expect(stderr).toMatch(new RegExp(`^Usage: npm (run )?${program} `));
  expect(stderr.trimEnd().split('\n').at(-1)).toBe(sentence);
});
