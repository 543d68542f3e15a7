/** What `npm start` shows: at first what runs and what to try, and then a line for each request; and the keys that it obeys. */

import { spawn } from 'node:child_process';
import { demoIds } from '../embedded/demo-migrations.ts';
import { failuresOnDemand } from '../embedded/failures-on-demand.ts';
import type { Served } from '../embedded/http-server.ts';
import { allCommands, baseOf, waitCommand } from './commands.ts';
import { isInForeground, obeyKeys } from './keys.ts';
import { createRequestLines, watchAnswers } from './request-lines.ts';

type Running = {
  http: Served;
  invoke: Served;
  /** The embedded services and their addresses. */
  embedded: [name: string, address: string][];
  /** Whether the real Atlas is asked. */
  isReal: boolean;
};

const table = (rows: [name: string, value: string][]) =>
  rows.map(([name, value]) => `  ${name.padEnd(24)}  ${value}`).join('\n');

const toTry = ({ http, invoke, isReal }: Running) => {
  const base = baseOf(http.origin, isReal ? 'GROUP_ID' : undefined);
  if (isReal) return `Ask for a live migration of your own:\n  curl ${base}/LIVE_MIGRATION_ID`;
  return `In another terminal, follow a demo migration to its end, for two minutes:
  ${waitCommand(invoke.origin)}

Or ask for one, several times; and for one that ends in a failure:
  BASE=${base}
  curl $BASE/${demoIds.completes}
  curl $BASE/${failuresOnDemand.AtlasRateLimited.liveMigrationId}`;
};

/** Where there is no browser, nothing happens. */
function openPage(address: string) {
  const [command = '', ...args] = { darwin: ['open'], win32: ['cmd', '/c', 'start'] }[process.platform as string] ?? [
    'xdg-open',
  ];
  spawn(command, [...args, address], { stdio: 'ignore', detached: true })
    .on('error', () => undefined)
    .unref();
}

/**
 * @param isJson whether the function's own lines are shown at first, instead of short ones
 * @param end ends the program
 */
export function createScreen(isJson: boolean, end: () => void) {
  const { stdout } = process;
  /** Before others change it: escape sequences of our own. */
  const write = stdout.write.bind(stdout) as (text: string) => void;
  const isTerminal = stdout.isTTY === true && process.env['TERM'] !== 'dumb';
  // In the background, the lines above are the user's. To begin there and to change between both brings this signal.
  let isAlone = isTerminal && isInForeground();
  process.on('SIGCONT', () => {
    isAlone = isTerminal && isInForeground();
  });
  const lines = createRequestLines(write, {
    canWriteOver: () => isAlone,
    isColoured: isTerminal && !process.env['NO_COLOR'],
    columns: () => (isTerminal ? stdout.columns || 80 : 1000),
    rows: () => stdout.rows || 24,
  });
  const say = (text: string) => {
    lines.interrupt();
    write(`${text}\n`);
  };

  return {
    /** @returns whether a text that somebody else writes is shown: the function's lines only where they are wanted */
    passes(text: string): boolean {
      if (!isJson && text.startsWith('{"level":')) return false;
      lines.interrupt();
      return true;
    },

    show(running: Running) {
      const { http, invoke, embedded } = running;
      for (const { server } of [http, invoke]) watchAnswers(server, (answered) => !isJson && lines.add(answered));
      const hasKeys = obeyKeys({
        h: () => say(`\n${allCommands(http.origin, invoke.origin)}`),
        l() {
          isJson = !isJson;
          say(isJson ? "The function's log lines follow." : 'A short line for each request follows.');
        },
        o: () => openPage(http.origin),
        q: end,
      });
      const addresses: [string, string][] = [
        ['Page, to try it', `${http.origin}/`],
        ['HTTP API', http.origin],
        ['Lambda invoke endpoint', invoke.origin],
        ...embedded,
      ];
      const keys = hasKeys
        ? 'Keys: h all commands, l full log lines, o open the page, q or Ctrl-C quit.'
        : `npm start -- --commands prints all commands.${isInForeground() ? ' Ctrl-C stops everything.' : ''}\n${isJson ? "The function's log lines follow." : 'A short line for each request follows.'}`;
      say(`\n${table(addresses)}\n\n${toTry(running)}\n\n${keys}`);
    },
  };
}
