/** `npm run wait`: what it shows, and what its exit codes tell a script. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { atlasError } from '../embedded/atlas.ts';
import { type Served, serve } from '../embedded/http-server.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { createFollower, type Following, NotReached } from '../scripts/follow.ts';
import { connectNetwork } from '../scripts/network.ts';
import { createDisplay } from '../scripts/wait-display.ts';
import { allIsWell, atlas, coldStart, groupId, liveMigrationId } from './support/harness.ts';
import { virtualClock } from './support/virtual-clock.ts';

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

/** The lines without their times. */
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\d+:\d\d /, ''));

describe('the program', () => {
  async function wait(...args: string[]) {
    const child = spawn(process.execPath, ['scripts/wait.ts', '--endpoint', endpoint.origin, ...args], {
      cwd: join(import.meta.dirname, '..'),
    });
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, out, err };
  }

  test('success is 0: in a pipe a line for each change, and the document alone on standard output', async () => {
    atlasSays({ status: 'WORKING', lagTimeSeconds: 7, readyForCutover: true }, { status: 'COMPLETE' });
    const { code, out, err } = await wait(liveMigrationId, '--poll-seconds', '1');
    expect(code).toBe(0);
    expect(out.endsWith('}\n')).toBe(true);
    expect(JSON.parse(out)).toMatchObject({ id: liveMigrationId, status: 'COMPLETE' });
    expect(linesOf(err)).toEqual([
      `${liveMigrationId} WORKING, lag 7 s, ready: 120 h left`,
      `${liveMigrationId} COMPLETE, lag -, ready: -`,
      '1 live migration: 1 COMPLETE',
    ]);
  });

  test('several are followed at once, after their project: the documents in the order asked, one a line, and the highest of the exit codes', async () => {
    const [first, second, third] = ['1', '2', '3'].map((digit) => digit.repeat(24)) as [string, string, string];
    const says: Record<string, string> = { [first]: 'EXPIRED', [second]: 'COMPLETE', [third]: 'FAILED' };
    atlas.projects = {
      [groupId]: (id) => {
        const status = says[id];
        return status ? () => ({ _id: id, status }) : undefined;
      },
    };
    const { code, out, err } = await wait(groupId, first, second, third, first);
    expect(code).toBe(4);
    const documents = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(documents.map(({ id, status }) => [id, status])).toEqual(Object.entries(says));
    expect(linesOf(err).at(-1)).toBe('3 live migrations: 1 EXPIRED, 1 COMPLETE, 1 FAILED');
  });

  test.each([[[liveMigrationId]], [[]]])(
    'no server is 1, and says what to do before anything else: %j',
    async (ids) => {
      expect(await wait(...ids, '--endpoint', 'http://127.0.0.1:1')).toEqual({
        code: 1,
        out: '',
        err: '0:00 Nothing answers at http://127.0.0.1:1. Is npm start running?\n',
      });
    },
  );

  test('wrong usage is 2, and the last line names the field', async () => {
    const { code, err } = await wait('x');
    expect(code).toBe(2);
    expect(err).toContain('Usage: npm run wait');
    expect(linesOf(err).at(-1)).toBe('ID "x" must be 24 hexadecimal digits in lower case.');
  });
});

/** As the program, but in the process of the tests, and in virtual time. */
async function wait({
  input,
  ...options
}: Partial<Omit<Following, 'input'>> & { input?: Partial<Following['input']> } = {}) {
  let err = '';
  const display = createDisplay([liveMigrationId], {
    write(text: string) {
      err += text;
    },
  } as never);
  const { run, documents } = createFollower(
    {
      ids: [liveMigrationId],
      input: { groupId, until: 'TERMINAL', pollSeconds: 2, giveUpAfterSeconds: 86_400, ...input },
      endpoint: endpoint.origin,
      stage: undefined,
      region: 'us-east-1',
      network: options.stage ? connectNetwork() : undefined,
      ...options,
    },
    display,
    virtualClock(),
  );
  return { code: await run(), out: documents(), lines: linesOf(err) };
}

test('a failure is said once, and again only after an answer or another failure', async () => {
  const working = { status: 200, body: { _id: liveMigrationId, status: 'WORKING' } };
  const failing = atlasError(403, 'ORG_DISABLED');
  const complete = { status: 200, body: { _id: liveMigrationId, status: 'COMPLETE' } };
  const another = atlasError(501, null);
  const replies = [working, failing, failing, another, another, working, failing, complete];
  atlas.reply = (_request, count) => replies[Math.min(count, replies.length) - 1];
  const { code, lines } = await wait();
  expect(code).toBe(0);
  expect(lines.map((line) => line.replace(`${liveMigrationId} `, '').split(/[,:]/)[0])).toEqual([
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

test('ready for cutover is 0 where that was waited for', async () => {
  atlasSays({ status: 'WORKING', readyForCutover: true });
  const { code, lines } = await wait({ input: { until: 'READY_FOR_CUTOVER' } });
  expect(code).toBe(0);
  expect(lines.at(-1)).toBe('1 live migration: 1 ready for cutover');
});

test.each([
  ['FAILED', 3],
  ['EXPIRED', 4],
])('%s ends with exit code %i and the document', async (status, expected) => {
  atlasSays({ status });
  const { code, out, lines } = await wait();
  expect(code).toBe(expected);
  expect(JSON.parse(out)).toMatchObject({ status });
  expect(lines.at(-1)).toBe(`1 live migration: 1 ${status}`);
});

test('giving up is 5', async () => {
  atlasSays({ status: 'WORKING' });
  const { code, out, lines } = await wait({ input: { giveUpAfterSeconds: 60 } });
  expect({ code, out }).toEqual({ code: 5, out: '' });
  expect(lines.join('\n')).toContain('LiveMigrationWaitTimedOut');
});

test('a failure of the adapter is 1, under its own name', async () => {
  atlas.projects = {};
  const { code, out, lines } = await wait();
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(lines.join('\n')).toContain('ProjectNotFound: Atlas does not know project');
});

/** Lambda as it answers each time; where that says nothing, the function is asked. */
async function lambdaThat(answer: (count: number, ...args: Parameters<Parameters<typeof serve>[0]>) => boolean) {
  let count = 0;
  const served = await serve((request, response) => {
    count += 1;
    if (answer(count, request, response)) return;
    const forwarded = httpRequest(`${endpoint.origin}${request.url}`, { method: 'POST' }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.rawHeaders);
      answer.pipe(response);
    });
    request.pipe(forwarded);
  });
  onTestFinished(served.close);
  return served.origin;
}

test('npm start may end and begin again meanwhile', async () => {
  atlasSays({ status: 'WORKING' }, { status: 'COMPLETE' });
  const lambda = await lambdaThat((count, request) => {
    const isAway = count === 2 || count === 3;
    if (isAway) request.socket.destroy();
    return isAway;
  });
  const { code, lines } = await wait({ endpoint: lambda });
  expect(code).toBe(0);
  expect(lines.slice(1, 3)).toEqual([
    expect.stringContaining(`Lambda.SdkClientException: Nothing answers at ${lambda}`),
    `${liveMigrationId} answers again`,
  ]);
});

test.each(['', 'null', '<h1>', '[]'])('an answer that is no document leads to the next poll: "%s"', async (odd) => {
  atlasSays({ status: 'NEW' }, { status: 'COMPLETE' });
  const lambda = await lambdaThat((count, _request, response) => {
    if (count === 2) response.end(odd);
    return count === 2;
  });
  const { code, lines } = await wait({ endpoint: lambda });
  expect(code).toBe(0);
  expect(lines.join('\n')).toContain('NoDocument');
});

test('nothing that comes from outside can command the terminal', async () => {
  // Clears the screen, sets the title and the clipboard, goes on in C1, turns the direction, and begins a line.
  const hostile = '\u001b[2J\u001b]0;t\u0007\u001b]52;c;aGk=\u0007\u009b2J\u007f\u202e\r\n\u2028';
  const document = { lagTimeSeconds: hostile, readyForCutover: null, terminal: false, migrationHosts: [hostile] };
  const answers = [
    { ...document, status: hostile },
    { errorType: 'AtlasUnavailable', errorMessage: hostile },
    { errorType: hostile, errorMessage: 'x' },
    { ...document, status: 'COMPLETE', terminal: true },
  ];
  const lambda = await lambdaThat((count, _request, response) => {
    const answer = answers[Math.min(count, answers.length) - 1] ?? {};
    if ('errorType' in answer) response.setHeader('x-amz-function-error', 'Unhandled');
    response.end(JSON.stringify(answer));
    return true;
  });
  const { out, lines } = await wait({ endpoint: lambda });
  expect(JSON.parse(out)).toEqual(answers[3]);
  for (const line of [...lines, out.trimEnd()]) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
  expect(lines.join('\n')).toContain('\\u001b[2J');

  let shown = '';
  const terminal = { isTTY: true, columns: 200, rows: 24, write: (text: string) => (shown += text) };
  const display = createDisplay([liveMigrationId], terminal as never);
  display.answered(liveMigrationId, { status: hostile as never, lagTimeSeconds: 1, readyForCutover: true });
  display.failed(liveMigrationId, hostile, hostile);
  display.end(hostile);
  // It goes up and erases the table itself.
  expect(shown.replaceAll('\u001b[2A\r\u001b[J', '').replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
});

test('another server is not mistaken for Lambda', async () => {
  await expect(wait({ endpoint: atlas.origin })).rejects.toEqual(
    new NotReached(`There is no Lambda invoke endpoint at ${atlas.origin}.`),
  );
});

describe('deployed ones (--stage), by direct invocation', () => {
  const follow = (lambda: string, options: Partial<Following> = {}) => {
    vi.stubEnv('AWS_ENDPOINT_URL_LAMBDA', lambda);
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    return wait({ stage: 'prod', ...options });
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
    const lambda = await lambdaThat((_count, request, response) => {
      asked.push(request.url ?? '', /\/([\w-]+)\/lambda\//.exec(request.headers.authorization ?? '')?.[1] ?? '');
      response.writeHead(status, { 'x-amzn-errortype': name, 'content-type': 'application/json' }).end('{}');
      return true;
    });
    const error = await follow(lambda, { region: 'eu-central-1' }).catch((error) => error);
    expect(error).toBeInstanceOf(NotReached);
    expect(error.message).toContain(sentence);
    const path = '/2015-03-31/functions/atlas-live-migration-prod-getLiveMigration/invocations';
    expect(asked).toEqual([path, 'eu-central-1']);
  });

  test('no network is said, and no credentials', async () => {
    await expect(follow('http://127.0.0.1:1')).rejects.toThrow('Lambda in us-east-1 cannot be reached (ECONNREFUSED).');
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined);
    vi.stubEnv('HOME', '/dev/null/home');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    await expect(follow('http://127.0.0.1:1')).rejects.toThrow('No AWS credentials were found. Sign in');
  });

  test('what Lambda itself refuses for a while does not end it', async () => {
    atlasSays({ status: 'COMPLETE' });
    const busy = await lambdaThat((count, _request, response) => {
      if (count === 1) response.writeHead(429, { 'x-amzn-errortype': 'TooManyRequestsException' }).end('{}');
      return count === 1;
    });
    const { code, lines } = await follow(busy);
    expect(code).toBe(0);
    expect(lines[0]).toContain('Lambda.TooManyRequestsException: Lambda throttles');
  });
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

  test('the hours that are left become fewer, also while Atlas does not say, and begin anew where it was not ready for a while', () => {
    onTestFinished(() => void vi.useRealTimers());
    vi.useFakeTimers({ toFake: ['Date'] });
    const { stream, lines } = terminal(80);
    const display = createDisplay([first], stream);
    const after = (hours: number, readyForCutover: boolean | null) => {
      vi.setSystemTime(Date.now() + hours * 3_600_000);
      display.answered(first, { ...working, readyForCutover });
      return lines[1]?.slice(44);
    };
    expect(
      [0, 22.5, 1, 96, 1, 1, 1].map((hours, at) =>
        after(hours, [true, null, true, true, true, false, true][at] ?? null),
      ),
    ).toEqual(['120 h left', '-', '97 h left', '1 h left', 'yes', 'no', '120 h left']);
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
