/** The local Invoke API, as the AWS CLI uses it; skipped where there is none, and dear, since it takes a second to start. */

import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { startInvokeEndpoint } from '../../embedded/lambda-invoke.ts';
import { allIsWell, coldStart, document } from '../support/harness.ts';

const cli = spawnSync('aws', ['--version'], { encoding: 'utf8' });

test.skipIf(!cli.stdout)('the command of docs/callers.md gets the document, with the AWS CLI', async () => {
  allIsWell();
  const served = await startInvokeEndpoint(await coldStart());
  onTestFinished(served.close);
  const page = readFileSync(new URL('../../docs/callers.md', import.meta.url), 'utf8');
  const [shown = ''] = /export AWS_ENDPOINT_URL.*?answer\.json/s.exec(page) ?? [];
  const command = shown
    .replaceAll('http://127.0.0.1:3002', served.origin)
    .replace('aws lambda', `aws --endpoint-url ${served.origin} lambda`)
    .replace(cli.stdout.startsWith('aws-cli/1') ? '--cli-binary-format raw-in-base64-out' : '', '');
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { stdout } = await promisify(execFile)('sh', ['-c', command], {
    cwd: folder,
    env: { ...process.env, AWS_PROFILE: undefined, AWS_SESSION_TOKEN: undefined },
  });
  expect(JSON.parse(stdout)).toMatchObject({ StatusCode: 200, ExecutedVersion: '$LATEST' });
  expect(JSON.parse(readFileSync(join(folder, 'answer.json'), 'utf8'))).toEqual(document);
});
