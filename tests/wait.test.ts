/** `npm run wait`: what it shows, and what its exit codes tell a script. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { demoProjects } from '../embedded/demo-migrations.ts';
import { type Served, serve } from '../embedded/http-server.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { createDisplay } from '../scripts/wait-display.ts';
import { allIsWell, atlas, coldStart, groupId, liveMigrationId } from './support/harness.ts';

let endpoint: Served;
beforeAll(async () => {
  allIsWell();
  endpoint = await startInvokeEndpoint(await coldStart());
});
beforeEach(allIsWell);
afterAll(() => endpoint.close());

/** Atlas says one thing after the other, the last one for ever. */
const atlasSays = (...answers: object[]) => {
  atlas.reply = (_request, count) => ({
    status: 200,
    body: { _id: liveMigrationId, ...answers[Math.min(count, answers.length) - 1] },
  });
};

function start(
  args: string[],
  environment: Record<string, string> = {},
): ChildProcess & { text: { out: string; err: string } } {
  const child = spawn(process.execPath, ['scripts/wait.ts', ...args], {
    cwd: join(import.meta.dirname, '..'),
    env: { PATH: process.env['PATH'], ...environment },
  });
  const text = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    text.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    text.err += chunk;
  });
  return Object.assign(child, { text });
}

async function wait(...args: string[]) {
  const child = start([liveMigrationId, '--poll-seconds', '1', '--endpoint', endpoint.origin, ...args]);
  const [code] = await once(child, 'close');
  return { code, ...child.text };
}

/** The lines without their times. */
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\d+:\d\d /, ''));

test('success is 0: in a pipe a line for each change, and the document alone on standard output', async () => {
  atlasSays(
    { status: 'NEW' },
    { status: 'NEW' },
    { status: 'WORKING', lagTimeSeconds: 7, readyForCutover: true },
    { status: 'COMPLETE' },
  );
  const { code, out, err } = await wait();
  expect(code).toBe(0);
  expect(out.endsWith('}\n')).toBe(true);
  expect(JSON.parse(out)).toMatchObject({ id: liveMigrationId, status: 'COMPLETE' });
  expect(linesOf(err)).toEqual([
    `${liveMigrationId} NEW, lag -, ready: -`,
    `${liveMigrationId} WORKING, lag 7 s, ready: 120 h left`,
    `${liveMigrationId} COMPLETE, lag -, ready: -`,
    '1 live migration: 1 COMPLETE',
  ]);
});

test('several are followed at once: the documents in the order asked, one a line, and the highest of the exit codes', async () => {
  const [first, second, third] = ['1', '2', '3'].map((digit) => digit.repeat(24)) as [string, string, string];
  const says: Record<string, string> = { [first]: 'EXPIRED', [second]: 'COMPLETE', [third]: 'FAILED' };
  atlas.projects = {
    [groupId]: (id) => {
      const status = says[id];
      return status ? () => ({ _id: id, status }) : undefined;
    },
  };
  const child = start([first, second, third, first, '--endpoint', endpoint.origin]);
  const [code] = await once(child, 'close');
  expect(code).toBe(4);
  const documents = child.text.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(documents.map(({ id, status }) => [id, status])).toEqual(Object.entries(says));
  expect(linesOf(child.text.err).at(-1)).toBe('3 live migrations: 1 EXPIRED, 1 COMPLETE, 1 FAILED');
});

test('a failure is said once, and again only after an answer or another failure', async () => {
  const working = { status: 200, body: { _id: liveMigrationId, status: 'WORKING' } };
  const failing = atlasError(403, 'ORG_DISABLED');
  const complete = { status: 200, body: { _id: liveMigrationId, status: 'COMPLETE' } };
  const another = atlasError(501, null);
  const replies = [working, failing, failing, another, another, working, failing, complete];
  atlas.reply = (_request, count) => replies[Math.min(count, replies.length) - 1];
  const { code, err } = await wait();
  expect(code).toBe(0);
  expect(linesOf(err).map((line) => line.replace(`${liveMigrationId} `, '').split(/[,:]/)[0])).toEqual([
    'WORKING',
    'AtlasAccessDenied',
    'AtlasUnavailable',
    'answers again',
    'AtlasAccessDenied',
    'answers again',
    'COMPLETE',
    '1 live migration',
  ]);
});

test('without ids, a demo migration of npm start begins; and another one, when it is run again', async () => {
  atlas.projects = demoProjects;
  const follow = async () => {
    const child = start(['--poll-seconds', '1', '--give-up-after-seconds', '1', '--endpoint', endpoint.origin]);
    const [code] = await once(child, 'close');
    expect(code).toBe(5);
    const [first, second] = linesOf(child.text.err);
    expect(second).toMatch(/^\w{24} NEW, /);
    return /^A demo migration begins: (\w{24})\. It lasts two minutes\.$/.exec(first ?? '')?.[1];
  };
  const [one, other] = [await follow(), await follow()];
  expect(one).toMatch(/^[0-9a-f]{24}$/);
  expect(other).toMatch(/^[0-9a-f]{24}$/);
  expect(other).not.toBe(one);
});

test('the project may stand before them', async () => {
  atlasSays({ status: 'COMPLETE' });
  const child = start([groupId, liveMigrationId, '--endpoint', endpoint.origin]);
  expect((await once(child, 'close'))[0]).toBe(0);
  expect(linesOf(child.text.err).at(-1)).toBe('1 live migration: 1 COMPLETE');
});

test('ready for cutover is 0 where that was waited for', async () => {
  atlasSays({ status: 'WORKING', readyForCutover: true });
  const { code, err } = await wait('--until', 'READY_FOR_CUTOVER');
  expect(code).toBe(0);
  expect(linesOf(err).at(-1)).toBe('1 live migration: 1 ready for cutover');
});

test.each([
  ['FAILED', 3],
  ['EXPIRED', 4],
])('%s ends with exit code %i and the document', async (status, expected) => {
  atlasSays({ status });
  const { code, out, err } = await wait();
  expect(code).toBe(expected);
  expect(JSON.parse(out)).toMatchObject({ status });
  expect(linesOf(err).at(-1)).toBe(`1 live migration: 1 ${status}`);
});

test('giving up is 5', async () => {
  atlasSays({ status: 'WORKING' });
  expect(await wait('--give-up-after-seconds', '1')).toMatchObject({
    code: 5,
    out: '',
    err: expect.stringContaining('LiveMigrationWaitTimedOut'),
  });
});

test('a failure of the adapter is 1, under its own name', async () => {
  atlas.projects = {};
  expect(await wait()).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('ProjectNotFound: Atlas does not know project'),
  });
});

test('no server is 1, and says what to do', async () => {
  expect(await wait('--endpoint', 'http://127.0.0.1:1')).toMatchObject({
    code: 1,
    err: expect.stringContaining('Is npm start running?'),
  });
});

test('npm start may end and begin again meanwhile', async () => {
  atlasSays({ status: 'WORKING' });
  const handler = await coldStart();
  const first = await startInvokeEndpoint(handler);
  const child = start([liveMigrationId, '--poll-seconds', '1', '--endpoint', first.origin]);
  const says = (words: string) => expect.poll(() => child.text.err, { timeout: 20_000 }).toContain(words);
  await says('WORKING');
  await first.close();
  await says('Lambda.SdkClientException: Nothing answers at');
  const again = await startInvokeEndpoint(handler, Number(new URL(first.origin).port));
  await says('answers again');
  atlas.reply = () => ({ status: 200, body: { _id: liveMigrationId, status: 'COMPLETE' } });
  const [code] = await once(child, 'close');
  await again.close();
  expect(code).toBe(0);
});

test.each(['', 'null', '<h1>', '[]'])('an answer that is no document leads to the next poll: "%s"', async (odd) => {
  let count = 0;
  const server = await serve((_, response) => {
    count += 1;
    response.end(count === 2 ? odd : JSON.stringify({ id: liveMigrationId, status: count < 4 ? 'NEW' : 'COMPLETE' }));
  });
  const { code, err } = await wait('--endpoint', server.origin);
  await server.close();
  expect(code).toBe(0);
  expect(err).toContain('NoDocument');
});

test('Ctrl-C is 130', async () => {
  atlasSays({ status: 'WORKING' });
  const child = start([liveMigrationId, '--endpoint', endpoint.origin]);
  await once(child.stderr ?? child, 'data');
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect(code).toBe(130);
  expect(child.text.err).toContain('interrupted; the migration itself goes on');
});

test('another server is 1, and says so', async () => {
  expect(await wait('--endpoint', atlas.origin)).toMatchObject({
    code: 1,
    err: expect.stringContaining('no Lambda invoke endpoint'),
  });
});

describe('deployed ones (--stage), by direct invocation', () => {
  const follow = async (lambda: string, ...args: string[]) => {
    const child = start(['--stage', 'prod', '--group-id', groupId, liveMigrationId, ...args], {
      AWS_ENDPOINT_URL_LAMBDA: lambda,
      AWS_ACCESS_KEY_ID: 'AKIATEST',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_MAX_ATTEMPTS: '1',
    });
    const [code] = await once(child, 'close');
    return { code, ...child.text };
  };

  test('are followed as those of npm start', async () => {
    atlasSays({ status: 'COMPLETE' });
    const { code, out } = await follow(endpoint.origin);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ id: liveMigrationId, status: 'COMPLETE' });
  });

  test.each([
    [
      'AccessDeniedException',
      403,
      'Your identity needs lambda:InvokeFunction on atlas-live-migration-prod-getLiveMigration.',
    ],
    [
      'ResourceNotFoundException',
      404,
      'There is no function atlas-live-migration-prod-getLiveMigration in eu-central-1.',
    ],
    ['ExpiredTokenException', 403, 'AWS does not accept your credentials (ExpiredTokenException). Sign in again.'],
  ])('%s at the first question ends it with what to do', async (name, status, sentence) => {
    const asked: string[] = [];
    const aws = await serve((request, response) => {
      asked.push(request.url ?? '', /\/([\w-]+)\/lambda\//.exec(request.headers.authorization ?? '')?.[1] ?? '');
      response.writeHead(status, { 'x-amzn-errortype': name, 'content-type': 'application/json' }).end('{}');
    });
    const { code, out, err } = await follow(aws.origin, '--region', 'eu-central-1');
    await aws.close();
    expect({ code, out, lines: linesOf(err) }).toEqual({
      code: 1,
      out: '',
      lines: [expect.stringContaining(sentence)],
    });
    const path = '/2015-03-31/functions/atlas-live-migration-prod-getLiveMigration/invocations';
    expect(asked).toEqual([path, 'eu-central-1']);
  });

  test('no network is said, and no credentials', async () => {
    expect((await follow('http://127.0.0.1:1')).err).toContain("Lambda can't be reached in us-east-1 (");
    const child = start(['--stage', 'prod', '--group-id', groupId, liveMigrationId], {
      HOME: '/dev/null/home',
      AWS_EC2_METADATA_DISABLED: 'true',
    });
    expect((await once(child, 'close'))[0]).toBe(1);
    expect(child.text.err).toContain('No AWS credentials were found. Sign in');
  });

  test('what Lambda itself refuses for a while does not end it', async () => {
    atlasSays({ status: 'COMPLETE' });
    let count = 0;
    const busy = await serve((request, response) => {
      count += 1;
      if (count === 1) {
        response.writeHead(429, { 'x-amzn-errortype': 'TooManyRequestsException' }).end('{}');
        return;
      }
      const forwarded = httpRequest(`${endpoint.origin}${request.url}`, { method: 'POST' }, (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.rawHeaders);
        answer.pipe(response);
      });
      request.pipe(forwarded);
    });
    const { code, err } = await follow(busy.origin, '--poll-seconds', '1');
    await busy.close();
    expect(code).toBe(0);
    expect(linesOf(err)[0]).toContain('Lambda.TooManyRequestsException: Lambda throttles');
  });
});

test.each([
  [['x'], 'ID "x" must be 24 hexadecimal digits in lower case.'],
  [[liveMigrationId.toUpperCase()], `ID "${liveMigrationId.toUpperCase()}" must be`],
  [['--nonsense'], "Unknown option '--nonsense'."],
  [['--group-id', 'x'], '--group-id must be 24 hexadecimal digits in lower case.'],
  [['--poll-seconds', '1.5'], '--poll-seconds must be a whole number from 1 to 3600.'],
  [['--poll-seconds', '3601'], '--poll-seconds must be a whole number from 1 to 3600.'],
  [['--give-up-after-seconds', '0'], '--give-up-after-seconds must be a whole number from 1 to 7776000.'],
  [['--until', 'FOO'], '--until must be TERMINAL or READY_FOR_CUTOVER.'],
  [['--endpoint', 'foo'], '--endpoint must be a URL.'],
  [['--group-id', '--until', 'TERMINAL'], "Option '--group-id' argument is ambiguous."],
  [['--stage', 'prod', '--endpoint', 'http://127.0.0.1:1'], '--endpoint is for npm start'],
  [['--stage', 'a b'], '--stage must be the name of a stage.'],
  [['--stage', 'prod', liveMigrationId], '--group-id is needed with --stage.'],
  [['--stage', 'prod', '--group-id', groupId], 'An ID is needed with --stage.'],
])('%j ends with exit code 2, and the last line names the field', async (args, sentence) => {
  const child = start(args);
  const [code] = await once(child, 'close');
  expect(code).toBe(2);
  expect(child.text.err).toContain('Usage: npm run wait');
  expect(child.text.err.trimEnd().split('\n').at(-1)).toContain(sentence);
});

describe('on a terminal', () => {
  /** A terminal that knows what is written to it: what it shows, with broken lines, and nothing that has scrolled out. */
  function terminal(columns: number, rows = 24) {
    const lines: string[] = [''];
    const write = (text: string) => {
      for (const [part] of text.replaceAll('\u001b[', '⎋').matchAll(/⎋\d*[A-Z]|\r|\n|[^⎋\r\n]+/g)) {
        const up = /^⎋(\d+)A$/.exec(part);
        if (up) cursor -= Number(up[1]);
        else if (part === '⎋J') lines.splice(cursor, lines.length, '');
        else if (part === '\n') {
          cursor += 1;
          lines[cursor] ??= '';
        } else if (part !== '\r') {
          for (let at = 0; at < part.length; at += columns) {
            if (at > 0) cursor += 1;
            lines[cursor] = part.slice(at, at + columns);
          }
        }
      }
      return true;
    };
    let cursor = 0;
    moveTo = (line) => {
      cursor = line;
    };
    return { stream: { isTTY: true, columns, rows, write } as never, lines };
  }
  let moveTo: (line: number) => void;
  const ids = ['7e68e12770616e75e6df43d0', '7e68e12770616e75e6df43d1'];
  const [first = '', second = ''] = ids;
  const working = { status: 'WORKING', lagTimeSeconds: 600, readyForCutover: false } as const;

  test('a row for each is written over in place, and what it says of a failure stands above, in 40 columns', () => {
    const { stream, lines } = terminal(40);
    const display = createDisplay(ids, stream);
    display.answered(first, working);
    display.answered(second, { ...working, lagTimeSeconds: 123_456 });
    display.changed(first, working);
    for (const _ of [1, 2, 3])
      display.failed(second, 'AtlasUnavailable', 'Atlas is not available (503 SERVICE_UNAVAILABLE).');
    display.answered(first, { ...working, readyForCutover: true, lagTimeSeconds: 1 });
    display.end('2 live migrations: 1 COMPLETE, 1 AtlasUnavailable');
    expect(lines).toEqual([
      '0:00 …e6df43d1 AtlasUnavailable: Atlas',
      '  is not available (503',
      '  SERVICE_UNAVAILABLE).',
      'ID         STATUS    LAG     READY',
      '…e6df43d0  WORKING   1 s     120 h left',
      '…e6df43d1  AtlasUnavailable',
      '0:00 2 live migrations: 1 COMPLETE, 1',
      '  AtlasUnavailable',
      '',
    ]);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(40);
  });

  test('in 80 columns the ids are whole', () => {
    const { stream, lines } = terminal(80);
    const display = createDisplay(ids, stream);
    display.answered(second, { ...working, lagTimeSeconds: null, readyForCutover: null });
    expect(lines).toEqual([
      'ID                        STATUS    LAG     READY',
      `${first}  asking`,
      `${second}  WORKING   -       -`,
      '',
    ]);
  });

  test('the hours that are left become fewer, and begin anew where it was not ready for a while', () => {
    onTestFinished(() => void vi.useRealTimers());
    vi.useFakeTimers({ toFake: ['Date'] });
    const { stream, lines } = terminal(80);
    const display = createDisplay([first], stream);
    const after = (hours: number, readyForCutover: boolean) => {
      vi.setSystemTime(Date.now() + hours * 3_600_000);
      display.answered(first, { ...working, readyForCutover });
      return lines[1]?.slice(44);
    };
    expect([after(0, true), after(23.5, true), after(100, true), after(1, false), after(1, true)]).toEqual([
      '120 h left',
      '97 h left',
      '0 h left',
      'no',
      '120 h left',
    ]);
  });

  test('ids that end alike are shown by their first digits', () => {
    const { stream, lines } = terminal(40);
    createDisplay(['11111111e6df43d0e6df43d0', '22222222e6df43d0e6df43d0'], stream).answered(
      '22222222e6df43d0e6df43d0',
      working,
    );
    expect(lines.map((line) => line.slice(0, 9))).toEqual(['ID       ', '11111111…', '22222222…', '']);
  });

  test('a terminal that becomes narrower or lower shows one table', () => {
    const { stream, lines } = terminal(80);
    const display = createDisplay(ids, stream);
    display.answered(first, working);
    // It breaks the lines that were written.
    const broken = lines.flatMap((line) => line.match(/.{1,25}/g) ?? ['']);
    Object.assign(stream, { columns: 25 });
    lines.splice(0, lines.length, ...broken);
    moveTo(broken.length - 1);
    display.answered(first, { ...working, lagTimeSeconds: 5 });
    expect(lines.filter((line) => line.startsWith('ID'))).toHaveLength(1);
    Object.assign(stream, { rows: 3 });
    display.answered(first, { ...working, lagTimeSeconds: 4 });
    expect(lines.filter((line) => line.startsWith('ID'))).toHaveLength(1);
  });

  test('more of them than the terminal has lines, and a terminal that can do nothing, get plain lines', () => {
    const { stream, lines } = terminal(80, 3);
    createDisplay(ids, stream).changed(first, working);
    expect(lines).toEqual([`0:00 ${first} WORKING, lag 600 s, ready: no`, '']);
    vi.stubEnv('TERM', 'dumb');
    const dumb = terminal(80);
    createDisplay(ids, dumb.stream).changed(first, working);
    expect(dumb.lines).toEqual(lines);
  });
});
