/**
 * `npm run wait`: follows live migrations, of a running `npm start` or deployed ones, by the very state machine that is
 * deployed. The progress goes to standard error, the documents at the end to standard output.
 */

import contract from '../contract/contract.schema.json' with { type: 'json' };
import { anotherDemoId, demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { mustHaveUsableProxy, readCommandLine } from './command-line.ts';
import type { Following } from './follow.ts';
import { createDisplay } from './wait-display.ts';

/** What the contract lets a wait have. */
const { pollSeconds, giveUpAfterSeconds } = contract.$defs.WaitInput.properties;

const usage = `Usage: npm run wait -- [ID ...] [options]
  Follows live migrations until each has ended. Without an ID, a demo migration of npm start begins and is followed.
  --group-id GROUP_ID        the project of the live migrations (default: the demo project of npm start)
  --until WHAT               TERMINAL or READY_FOR_CUTOVER (default TERMINAL)
  --poll-seconds N           seconds between polls, 1 to ${pollSeconds.maximum} (default 2; with --stage ${pollSeconds.default})
  --give-up-after-seconds N  seconds until it gives up, 1 to ${giveUpAfterSeconds.maximum} (default 86400; with --stage ${giveUpAfterSeconds.default})
  --endpoint URL             Lambda invoke endpoint of npm start (default http://127.0.0.1:3002)
  --stage STAGE              use the deployed function, by direct invocation with your AWS identity
  --region REGION            where the stack was deployed (default AWS_REGION, or else us-east-1)
Exit codes: 0 succeeded, 1 a failure of the adapter, 2 wrong usage, 3 failed, 4 expired, 5 given up, 130 interrupted;
with several live migrations, their highest code.`;

const text = { type: 'string' } as const;
const { isDemo, ...options } = readCommandLine(
  usage,
  {
    'group-id': text,
    until: { type: 'string', default: 'TERMINAL' },
    'poll-seconds': text,
    'give-up-after-seconds': text,
    endpoint: text,
    stage: text,
    region: { type: 'string', default: process.env['AWS_REGION'] || 'us-east-1' },
  },
  ({ until, endpoint: given, stage, region, ...options }, positionals) => {
    const endpoint = given ?? 'http://127.0.0.1:3002';
    const id = (field: string, value: string) => {
      if (/^[0-9a-f]{24}$/.test(value)) return value;
      throw new Error(`${field} must be 24 hexadecimal digits in lower case.`);
    };
    const whole = (option: 'poll-seconds' | 'give-up-after-seconds', most: number, usual: number) => {
      const number = Number(options[option] ?? usual);
      if (Number.isInteger(number) && number >= 1 && number <= most) return number;
      throw new Error(`--${option} must be a whole number from 1 to ${most}.`);
    };
    if (stage === undefined) {
      if (!/^https?:/.test(endpoint) || !URL.canParse(endpoint)) throw new Error('--endpoint must be a URL.');
    } else {
      if (!/^[\w-]+$/.test(stage)) throw new Error('--stage must be the name of a stage.');
      if (given !== undefined) throw new Error('--endpoint is for npm start: leave it out with --stage.');
      if (!options['group-id']) throw new Error('--group-id is needed with --stage.');
      mustHaveUsableProxy();
    }
    if (until !== 'TERMINAL' && until !== 'READY_FOR_CUTOVER')
      throw new Error('--until must be TERMINAL or READY_FOR_CUTOVER.');
    const groupId = id('--group-id', options['group-id'] ?? demoGroupId);
    // The project may stand before them, as npm run smoke wants it.
    const named = new Set(positionals.map((value) => id(`ID "${value}"`, value)));
    named.delete(groupId);
    if (stage && named.size === 0) throw new Error('An ID is needed with --stage.');
    const isDemo = named.size === 0;
    const input: Following['input'] = {
      groupId,
      until,
      pollSeconds: whole('poll-seconds', pollSeconds.maximum, stage ? pollSeconds.default : 2),
      giveUpAfterSeconds: whole(
        'give-up-after-seconds',
        giveUpAfterSeconds.maximum,
        stage ? giveUpAfterSeconds.default : 86_400,
      ),
    };
    return { ids: isDemo ? [anotherDemoId(demoIds.completes)] : [...named], isDemo, input, endpoint, stage, region };
  },
);

// Loaded when the command line is right, since the SDK is large.
const { createFollower, NotReached } = await import('./follow.ts');
const { ids } = options;
const display = createDisplay(ids);
const network = options.stage ? (await import('./network.ts')).connectNetwork() : undefined;
const announce = () => display.say(`A demo migration begins: ${ids[0]}. It lasts two minutes.`);
const follower = createFollower({ ...options, network, onReached: isDemo ? announce : undefined }, display);

process.on('SIGINT', () => {
  display.end(`interrupted; ${ids.length > 1 ? 'the migrations themselves go' : 'the migration itself goes'} on`);
  process.stdout.write(follower.documents());
  process.exit(130);
});

try {
  process.exitCode = await follower.run();
  process.stdout.write(follower.documents());
} catch (error) {
  if (!(error instanceof NotReached)) throw error;
  display.say(error.message);
  process.exit(1);
}
