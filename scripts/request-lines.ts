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

/** What is kept of a body: documents and problems are shorter. */
const MOST_BYTES = 64 * 1024;

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

/** Keeps the beginning of a body. */
function collect() {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    add(chunk: unknown) {
      if (length > MOST_BYTES || !(typeof chunk === 'string' || chunk instanceof Uint8Array)) return;
      chunks.push(Buffer.from(chunk as string));
      length += chunk.length;
    },
    text: () => Buffer.concat(chunks).toString(),
  };
}

/** The beginning tells demo migrations apart, and the end failures. */
const shortened = (id: string) => (id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

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
    const [sent, received] = [collect(), collect()];
    if (isInvocation) request.on('data', received.add);
    for (const name of ['write', 'end'] as const) {
      const send = response[name].bind(response) as (...args: unknown[]) => never;
      response[name] = (...args: unknown[]) => {
        sent.add(args[0]);
        return send(...args);
      };
    }
    response.once('close', () => {
      const isGone = !response.writableFinished;
      const body = isGone ? {} : parse(sent.text());
      const { liveMigrationId } = isInvocation ? parse(received.text()) : { liveMigrationId: idOfPath };
      const { statusCode } = response;
      const failure = body.errorType ?? body.code;
      const words = isGone ? 'the client went away' : String(failure ?? (body.id ? wordsOf(body) : method));
      const id = typeof liveMigrationId === 'string' ? shortened(liveMigrationId) : '';
      const door = isInvocation ? 'lambda' : 'http  ';
      const status = isGone ? '-  ' : isInvocation && failure ? 'err' : statusCode;
      const start = printable(`${door} ${id.padEnd(13)} ${status} ${words}`);
      const isOurs = body.errorType !== undefined || statusCode >= 500;
      const colour = isGone || (statusCode >= 400 && !isOurs) ? 'yellow' : isOurs ? 'red' : undefined;
      tell({ key: start.replace(/, lag .*/, ''), start, ms: performance.now() - startedAt, colour });
    });
  });
}

/** @param write writes as it is */
export function createRequestLines(
  write: (text: string) => void,
  screen: { canWriteOver: () => boolean; isColoured: boolean; columns: () => number; rows: () => number },
) {
  /** The last ones, with nothing printed below. */
  let rows: Row[] = [];
  const lastOf = new Map<string, string>();

  const lineOf = ({ time, start, ms, count, colour }: Row) => {
    const end = `  ${Math.round(ms)} ms${count > 1 ? `  ×${count}` : ''}`;
    const line = `${`${time} ${start}`.slice(0, Math.max(20, screen.columns() - 1 - end.length))}${end}`;
    return screen.isColoured && colour ? styleText(colour, line, { validateStream: false }) : line;
  };

  return {
    /** What else is printed stands below: no line above it can be written over. */
    interrupt() {
      rows = [];
    },

    add(answered: Answered) {
      const time = new Date().toTimeString().slice(0, 8);
      if (!screen.canWriteOver()) {
        rows = [];
        const asked = answered.start.slice(0, 20);
        if (lastOf.get(asked) !== answered.key) write(`${lineOf({ ...answered, time, count: 1 })}\n`);
        lastOf.set(asked, answered.key);
        return;
      }
      const at = rows.findIndex(({ key }) => key === answered.key);
      const row = rows[at];
      if (!row) {
        const added = { ...answered, time, count: 1 };
        rows = [...rows, added].slice(-Math.max(1, screen.rows() - 2));
        write(`${lineOf(added)}\n`);
        return;
      }
      Object.assign(row, answered, { time, count: row.count + 1 });
      const up = rows.length - at;
      write(`\u001b[${up}A\r\u001b[K${lineOf(row)}\u001b[${up}B\r`);
    },
  };
}
