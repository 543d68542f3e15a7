/** `npm run smoke`: checks a whole deployment, or asks it one question, and says in plain words what is wrong and what to do. */

import { mustHaveUsableProxy, readCommandLine, twoIds } from './command-line.ts';
import { printableLines } from './printable.ts';
import type { Result } from './smoke/run.ts';

const usage = `Usage: npm run smoke -- --stage STAGE [GROUP_ID LIVE_MIGRATION_ID] [options]
  Checks the deployment of a stage: the stack, the function, its API, logs, metrics, alarms, state machines, events and
  messages. It takes up to five minutes and leaves nothing behind. Without the ids, it asks for ones that do not exist,
  and does not check events and shared answers.
  --stage STAGE    the stage that was deployed (default dev)
  --region REGION  where it was deployed (default AWS_REGION, or else us-east-1)
  --notify         send a test message to the topic of the alarms
  --json           print the results as JSON
  --quick          ask the API for the live migration, and nothing else
  --url URL        the API's address, instead of looking it up by its stage (with --quick)
  --token JWT      a JWT, where the API wants one instead of an AWS identity (with --quick)
Exit codes: 0 all is well, 1 something is wrong, 2 wrong usage, 130 interrupted.`;

const wanted = readCommandLine(
  usage,
  {
    stage: { type: 'string', default: 'dev' },
    region: { type: 'string', default: process.env['AWS_REGION'] || 'us-east-1' },
    notify: { type: 'boolean' },
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    url: { type: 'string' },
    token: { type: 'string' },
  },
  ({ url, token, quick = false, json = false, notify = false, stage, region }, positionals) => {
    if (url !== undefined && !URL.canParse(url)) throw new Error('--url must be a URL.');
    if (!/^[\w-]+$/.test(stage)) throw new Error('--stage must be the name of a stage.');
    mustHaveUsableProxy();
    // An address or a token is of the API alone.
    const isQuick = quick || url !== undefined || token !== undefined;
    const ids = isQuick || positionals.length > 0 ? twoIds(positionals) : undefined;
    for (const id of Object.values(ids ?? {}))
      if (!isQuick && !/^[0-9a-f]{24}$/.test(id)) throw new Error('An id has 24 hexadecimal digits in lower case.');
    return { stage, region, url, token, ids, isQuick, json, notify };
  },
);

// Loaded when the command line is right, since the SDK is large.
const { connectNetwork } = await import('./network.ts');
const network = connectNetwork();

async function askOnce({ ids = { groupId: '', liveMigrationId: '' }, ...question }: typeof wanted) {
  const { askDeployed, Trouble } = await import('./smoke/question.ts');
  try {
    console.log(await askDeployed({ ...question, ...ids }, network));
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    console.error([`✗ ${error.message}`, ...network.notes].join('\n  '));
    process.exitCode = 1;
  }
}

async function checkAll({ json, ...more }: typeof wanted) {
  const { lineOf, runChecks } = await import('./smoke/run.ts');
  const isLive = process.stderr.isTTY && !json;
  const running = new Map<string, number>();
  /** The checks that still run, on a line that is written over. */
  const draw = () => {
    if (!isLive) return;
    const left = [...running].map(([name, since]) => `${name} ${Math.round((Date.now() - since) / 1000)} s`);
    process.stderr.write(`\r\u001b[K${left.join(', ').slice(0, (process.stderr.columns || 80) - 1)}`);
  };
  const ticking = setInterval(draw, 1000);
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => interrupted.abort(new Error('interrupted')));
  const results = await runChecks(
    more,
    network,
    {
      began({ name }) {
        running.set(name, Date.now());
        draw();
      },
      ended(result) {
        running.delete(result.check);
        if (isLive) process.stderr.write('\r\u001b[K');
        if (!json) console.log(printableLines(lineOf(result)));
        draw();
      },
    },
    interrupted.signal,
  );
  clearInterval(ticking);
  if (isLive) process.stderr.write('\r\u001b[K');
  const count = (what: Result['result']) => results.filter(({ result }) => result === what).length;
  if (json) console.log(JSON.stringify(results, null, 2));
  else {
    const notChecked = count('skipped') > 0 ? `, ${count('skipped')} not checked` : '';
    console.log(
      `${results.length} ${results.length === 1 ? 'check' : 'checks'}: ${count('ok')} ok, ${count('wrong')} wrong${notChecked}`,
    );
    if (count('wrong') > 0) for (const note of network.notes) console.log(note);
  }
  process.exitCode = interrupted.signal.aborted ? 130 : Number(count('wrong') > 0);
}

await (wanted.isQuick ? askOnce(wanted) : checkAll(wanted));
// A connection that hangs keeps no process.
process.exit();
