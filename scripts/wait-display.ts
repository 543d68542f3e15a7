/**
 * What `npm run wait` shows on standard error. On a terminal: a table with a row for each live migration, written over in
 * place, at the width that the terminal has. Elsewhere: a line for each change.
 */

import type { WriteStream } from 'node:tty';
import type { LiveMigration } from '#contract';
import { printable } from './printable.ts';

type Migration = Pick<LiveMigration, 'status' | 'lagTimeSeconds' | 'readyForCutover'>;

/** From then on, Atlas gives 120 hours to start the cutover, unless people extend them; it may have been ready before. */
const CUTOVER_HOURS = 120;

/** At most six characters, and `-` where Atlas does not say. */
export function lagOf(seconds: number | null): string {
  if (seconds === null) return '-';
  if (seconds < 1000) return `${seconds} s`;
  return seconds < 60_000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** Hours, minutes and seconds; without the hours where there are none. */
function elapsed(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const clock = `${two(minutes % 60)}:${two(seconds % 60)}`;
  return minutes < 60 ? clock.replace(/^0/, '') : `${Math.floor(minutes / 60)}:${clock}`;
}

/** Ids in the place that there is: the end of each with its first digits left out, or the other way round. */
function shorten(ids: string[]): (id: string) => string {
  const ends = [(id: string) => `…${id.slice(-8)}`, (id: string) => `${id.slice(0, 8)}…`];
  return ends.find((end) => new Set(ids.map(end)).size === ids.length) ?? ((id) => id);
}

/** Breaks a text at blanks; lines after the first one are indented. */
const wrap = (text: string, columns: number) =>
  text.replace(new RegExp(`(.{1,${Math.max(10, columns - 2)}})(?: +|$)`, 'g'), '$1\n  ').trimEnd();

/** @param ids the live migrations, in the order of their rows */
export function createDisplay(ids: string[], stream: NodeJS.WriteStream & Partial<WriteStream> = process.stderr) {
  const startedAt = Date.now();
  const readySince = new Map<string, number>();
  const rows = new Map<string, string>(ids.map((id) => [id, 'asking']));
  const failing = new Map<string, string>();
  const short = shorten(ids);
  let drawn: string[] = [];

  // A table that is higher than the terminal can't be written over.
  const isInPlace = () => stream.isTTY && process.env['TERM'] !== 'dumb' && ids.length + 2 < (stream.rows ?? 24);
  const columns = () => stream.columns || 80;

  const hoursLeft = (id: string) => {
    const hours = (Date.now() - (readySince.get(id) ?? Date.now())) / 3_600_000;
    return Math.ceil(CUTOVER_HOURS - hours);
  };
  const readiness = (id: string, ready: boolean | null) => {
    if (!ready) return ready === null ? '-' : 'no';
    return hoursLeft(id) > 0 ? `${hoursLeft(id)} h left` : 'yes';
  };

  /** Goes back over the table; a terminal that has become narrower has broken its lines. */
  function erase() {
    const height = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns())), 0);
    if (height > 0) stream.write(`\u001b[${height}A\r\u001b[J`);
    drawn = [];
  }

  function draw() {
    const name = columns() < 60 ? short : (id: string) => id;
    const width = Math.max(...ids.map((id) => name(id).length));
    const line = (id: string, row: string) => printable(`${id.padEnd(width)}  ${row}`).slice(0, columns());
    erase();
    drawn = [line('ID', 'STATUS    LAG     READY'), ...ids.map((id) => line(name(id), rows.get(id) ?? ''))];
    stream.write(`${drawn.join('\n')}\n`);
  }

  function write(text: string, id?: string) {
    const name = id && `${isInPlace() && columns() < 60 ? short(id) : id} `;
    const line = printable(`${elapsed(Date.now() - startedAt)} ${name ?? ''}${text}`);
    stream.write(`${isInPlace() ? wrap(line, columns()) : line}\n`);
  }

  /** A line that stays, with the time; on a terminal above the table. */
  function say(text: string, id?: string) {
    erase();
    write(text, id);
    if (isInPlace()) draw();
  }

  return {
    say,

    /** The last line, below the table. */
    end: (text: string) => write(text),

    answered(id: string, { status, lagTimeSeconds, readyForCutover }: Migration) {
      const isBack = failing.delete(id);
      // Null: Atlas does not say.
      if (readyForCutover === false) readySince.delete(id);
      else if (readyForCutover && !readySince.has(id)) readySince.set(id, Date.now());
      rows.set(id, `${status.padEnd(8)}  ${lagOf(lagTimeSeconds).padEnd(6)}  ${readiness(id, readyForCutover)}`);
      if (isInPlace()) draw();
      else if (isBack) say('answers again', id);
    },

    /** A change of the status, or of whether it is ready: the table shows it by itself. */
    changed(id: string, { status, lagTimeSeconds, readyForCutover }: Migration) {
      if (isInPlace()) return;
      say(`${status}, lag ${lagOf(lagTimeSeconds)}, ready: ${readiness(id, readyForCutover)}`, id);
    },

    /** A failure, which is said once, however often it comes before the next answer. */
    failed(id: string, name: string, detail: string) {
      rows.set(id, name);
      if (failing.get(id) === name) {
        if (isInPlace()) draw();
        return;
      }
      failing.set(id, name);
      say(detail ? `${name}: ${detail}` : name, id);
    },
  };
}
