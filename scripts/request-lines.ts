/**
 * The requests that the function of `npm start` gets, each on one short line. On a terminal, an answer that comes again is
 * counted on its line; elsewhere it is not shown again.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { styleText } from 'node:util';
import type { LiveMigration, Problem } from '#contract';
import { printable } from './printable.ts';
import { lagOf } from './wait-display.ts';

type Colour = 'red' | 'yellow' | undefined;
/** One answer: the same key is the same answer. */
type Answered = { key: string; start: string; ms: number; colour: Colour };
type Row = Answered & { time: string; count: number };

/** As far back as a line can still be counted on. */
const MOST_ROWS = 8;

type Body = Partial<LiveMigration & Omit<Problem, 'status'>> & { errorType?: string; liveMigrationId?: unknown };

function parse(text: string): Body {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function wordsOf({ status, lagTimeSeconds, readyForCutover }: Body) {
  const lag = typeof lagTimeSeconds === 'number' ? `, lag ${lagOf(lagTimeSeconds)}` : '';
  return `${status}${readyForCutover ? ', ready for cutover' : lag}`;
}

/**
 * @param server whose answers are to be seen
 * @param tell is told each answer of the function, when it has been sent
 */
export function watchAnswers(server: Server, tell: (answered: Answered) => void) {
  // Before the one that answers.
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { method, url = '' } = request;
    const path = url.split('?')[0] ?? '';
    const isInvocation = method === 'POST' && path.endsWith('/invocations');
    const [, idOfPath = ''] = /^\/groups\/[^/]*\/liveMigrations\/([^/]*)/.exec(path) ?? [];
    if (!isInvocation && !idOfPath) return;
    const startedAt = performance.now();
    const sent: Buffer[] = [];
    const received: Buffer[] = [];
    if (isInvocation) request.on('data', (chunk: Buffer) => received.push(chunk));
    for (const name of ['write', 'end'] as const) {
      const send = response[name].bind(response) as (...args: unknown[]) => never;
      response[name] = (...args: unknown[]) => {
        if (typeof args[0] === 'string' || args[0] instanceof Uint8Array) sent.push(Buffer.from(args[0] as string));
        return send(...args);
      };
    }
    response.once('close', () => {
      if (!response.writableFinished) return;
      const body = parse(Buffer.concat(sent).toString());
      const { statusCode } = response;
      const failure = body.errorType ?? body.code;
      const id = idOfPath || String(parse(Buffer.concat(received).toString()).liveMigrationId ?? '');
      const words = failure ?? (body.id ? wordsOf(body) : '');
      const door = isInvocation ? 'lambda' : 'http  ';
      const start = printable(
        `${door} …${id.slice(-8).padEnd(8)} ${isInvocation && failure ? 'err' : statusCode} ${words}`,
      );
      const colour = body.errorType || statusCode >= 500 ? 'red' : statusCode >= 400 ? 'yellow' : undefined;
      tell({ key: `${start.replace(/, lag .*/, '')} ${id}`, start, ms: performance.now() - startedAt, colour });
    });
  });
}

/**
 * @param write writes as it is
 * @param isColoured whether it may have colours
 */
export function createRequestLines(
  write: (text: string) => void,
  { isTerminal, isColoured, columns }: { isTerminal: boolean; isColoured: boolean; columns: () => number },
) {
  /** The last ones, with nothing printed below. */
  let rows: Row[] = [];
  const lastOf = new Map<string, string>();

  const lineOf = ({ time, start, ms, count, colour }: Row) => {
    const end = `${Math.round(ms)} ms${count > 1 ? `  ×${count}` : ''}`;
    const line = `${time} ${start}  ${end}`.slice(0, Math.max(20, columns() - 1));
    return isColoured && colour ? styleText(colour, line, { validateStream: false }) : line;
  };

  return {
    /** What else is printed stands below: no line above it can be written over. */
    interrupt() {
      rows = [];
    },

    add(answered: Answered) {
      const time = new Date().toTimeString().slice(0, 8);
      if (!isTerminal) {
        const asked = answered.start.slice(0, 16);
        if (lastOf.get(asked) !== answered.key) write(`${lineOf({ ...answered, time, count: 1 })}\n`);
        lastOf.set(asked, answered.key);
        return;
      }
      const at = rows.findIndex(({ key }) => key === answered.key);
      if (at < 0) {
        rows.push({ ...answered, time, count: 1 });
        write(`${lineOf(rows.at(-1) as Row)}\n`);
        rows = rows.slice(-MOST_ROWS);
        return;
      }
      const row = Object.assign(rows[at] as Row, answered, { time, count: (rows[at]?.count ?? 0) + 1 });
      const up = rows.length - at;
      write(`\u001b[${up}A\r\u001b[K${lineOf(row)}\u001b[${up}B\r`);
    },
  };
}
