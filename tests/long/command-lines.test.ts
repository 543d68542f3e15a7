/** What the programs refuse on their command line: exit code 2, the usage, and last the sentence that says what is wrong. */

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { root } from '../support/npm-start.ts';

const id = '7e68e12770616e75e6df43d0';
const groupId = '5f1b2c3d4e5f6a7b8c9d0e1f';

test.each([
  ['smoke', ['--quick'], 'Two ids are needed.'],
  ['smoke', ['x', id], 'An id has 24 hexadecimal digits in lower case.'],
  ['smoke', ['--stage', 'a b'], '--stage must be the name of a stage.'],
  ['smoke', [groupId], 'Two ids are needed.'],
  ['smoke', ['--nonsense'], "Unknown option '--nonsense'."],
  ['start', ['--freshness', '61'], '--freshness must be a whole number from 0 to 60.'],
  ['start', ['--challenge', 'none'], 'Unknown challenge "none".'],
  ['start', ['4000'], 'Unknown argument "4000".'],
  ['start', ['--port', '3100', '--lambda-port', '3100'], '--port and --lambda-port must be two ports.'],
  ['start', ['--nonsense'], "Unknown option '--nonsense'."],
  ['template', ['prod'], 'Unknown argument "prod".'],
  ['template', ['--nonsense'], "Unknown option '--nonsense'."],
  ['wait', [id.toUpperCase()], `ID "${id.toUpperCase()}" must be 24 hexadecimal digits in lower case.`],
  ['wait', ['--nonsense'], "Unknown option '--nonsense'."],
  ['wait', ['--group-id', 'x'], '--group-id must be 24 hexadecimal digits in lower case.'],
  ['wait', ['--poll-seconds', '1.5'], '--poll-seconds must be a whole number from 1 to 3600.'],
  ['wait', ['--poll-seconds', '3601'], '--poll-seconds must be a whole number from 1 to 3600.'],
  ['wait', ['--give-up-after-seconds', '0'], '--give-up-after-seconds must be a whole number from 1 to 7776000.'],
  ['wait', ['--until', 'FOO'], '--until must be TERMINAL or READY_FOR_CUTOVER.'],
  ['wait', ['--endpoint', 'foo'], '--endpoint must be a URL.'],
  ['wait', ['--group-id', '--until', 'TERMINAL'], "Option '--group-id' argument is ambiguous."],
  [
    'wait',
    ['--stage', 'prod', '--endpoint', 'http://127.0.0.1:1'],
    '--endpoint is for npm start: leave it out with --stage.',
  ],
  ['wait', ['--stage', 'a b'], '--stage must be the name of a stage.'],
  ['wait', ['--stage', 'prod', id], '--group-id is needed with --stage.'],
  ['wait', ['--stage', 'prod', '--group-id', groupId], 'An ID is needed with --stage.'],
])('npm run %s -- %j', (program, args, sentence) => {
  const { status, stderr } = spawnSync(process.execPath, [`scripts/${program}.ts`, ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(status).toBe(2);
  expect(stderr).toMatch(new RegExp(`^Usage: npm (run )?${program} `));
  expect(stderr.trimEnd().split('\n').at(-1)).toBe(sentence);
});
