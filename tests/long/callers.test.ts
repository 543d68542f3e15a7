/** The examples of the docs in Python; skipped where boto3 is not there. To import it takes a second. */

import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { deploy, problemOf, retryable } from '../support/callers.ts';
import { startGateway } from '../support/gateway.ts';
import { allIsWell, coldStart, document, groupId, liveMigrationId } from '../support/harness.ts';
import { bringAbout } from '../support/scenarios.ts';

const hasBoto3 = spawnSync('python3', ['-c', 'import boto3']).status === 0;
beforeEach(allIsWell);

/** Calls the example's function. @returns what it returns, or what it raises */
async function call(name: string, text: string, ...args: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, name);
  writeFileSync(file, text);
  const program = `
import json, runpy, sys
try:
    print(json.dumps(runpy.run_path(sys.argv[1])["get_live_migration"](*sys.argv[2:])))
except Exception as error:
    print(json.dumps({"raised": type(error).__name__, "args": error.args}, default=str))
`;
  const { stdout } = await promisify(execFile)('python3', ['-c', program, file, ...args], {
    env: { ...process.env, AWS_DEFAULT_REGION: 'us-east-1', AWS_PROFILE: undefined },
  });
  return JSON.parse(stdout);
}
const read = (name: string) => readFileSync(new URL(`../../docs/examples/${name}`, import.meta.url), 'utf8');

describe.skipIf(!hasBoto3)('another Lambda in Python', () => {
  const example = read('ask-from-a-lambda.py');
  const ask = (text = example) => call('ask-from-a-lambda.py', text, groupId, liveMigrationId);

  test('gets the document', async () => {
    await deploy(await coldStart());
    expect(await ask()).toEqual(document);
  });

  test.each(retryable)('invokes once after %s', async (name) => {
    bringAbout(name);
    const { invocations } = await deploy(await coldStart());
    expect(await ask()).toEqual({ raised: 'RuntimeError', args: [name, expect.any(String)] });
    expect(invocations).toHaveLength(1);
  });

  test('invokes a function that hangs once, for 25 seconds', async () => {
    const { invocations, asked } = await deploy(() => new Promise(() => undefined));
    expect(example).toContain('connect_timeout=5, read_timeout=25, ');
    expect(await ask(example.replace('read_timeout=25', 'read_timeout=0.5'))).toMatchObject({
      raised: 'ReadTimeoutError',
    });
    await asked;
    expect(invocations).toHaveLength(1);
  });
});

describe.skipIf(!hasBoto3)('an internal app in Python', () => {
  const example = read('ask-over-https.py');
  const ask = (url: string, text = example) =>
    call('ask-over-https.py', text, url, 'us-east-1', groupId, liveMigrationId);

  test('signs, and gets the document', async () => {
    const { url, signatures } = await startGateway({ status: 200, body: document });
    expect(await ask(url)).toEqual(document);
    expect(signatures).toHaveLength(1);
    expect(signatures[0]?.[0]).toBe(signatures[0]?.[1]);
  });

  test("tells API Gateway's message", async () => {
    const { url } = await startGateway({ status: 403, body: { message: 'Forbidden' } });
    expect(await ask(url)).toEqual({ raised: 'RuntimeError', args: ['HTTP 403', "{'message': 'Forbidden'}"] });
  });

  test.each(retryable)('asks once after %s', async (name) => {
    const { url, signatures } = await startGateway(await problemOf(name));
    expect(await ask(url)).toEqual({ raised: 'RuntimeError', args: [name, expect.any(String)] });
    expect(signatures).toHaveLength(1);
  });

  test('asks once where no answer comes, for 25 seconds', async () => {
    const { url, signatures, asked } = await startGateway();
    expect(example).toContain('timeout=25)');
    expect(await ask(url, example.replace('timeout=25', 'timeout=0.5'))).toMatchObject({ raised: 'TimeoutError' });
    await asked;
    expect(signatures).toHaveLength(1);
  });
});
