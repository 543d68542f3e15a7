/** `npm run smoke`: asks a deployed API for one live migration, and says in plain words what is wrong where something is. */

import { mustHaveUsableProxy, readCommandLine, twoIds } from './command-line.ts';

const usage = `Usage: npm run smoke -- --stage STAGE GROUP_ID LIVE_MIGRATION_ID [options]
  --stage STAGE    the stage that was deployed (default dev)
  --region REGION  where it was deployed (default AWS_REGION, or else us-east-1)
  --url URL        the API's address, instead of looking it up by its stage
  --token JWT      a JWT, where the API wants one instead of an AWS identity`;

const question = readCommandLine(
  usage,
  {
    stage: { type: 'string', default: 'dev' },
    region: { type: 'string', default: process.env['AWS_REGION'] || 'us-east-1' },
    url: { type: 'string' },
    token: { type: 'string' },
  },
  (options, positionals) => {
    if (options.url !== undefined && !URL.canParse(options.url)) throw new Error('--url must be a URL.');
    mustHaveUsableProxy();
    return { ...options, ...twoIds(positionals) };
  },
);

// Loaded when the command line is right, since the SDK is large.
const { askDeployed, Trouble } = await import('./smoke/question.ts');
const { connectNetwork } = await import('./network.ts');
const network = connectNetwork();
try {
  console.log(await askDeployed(question, network));
} catch (error) {
  if (!(error instanceof Trouble)) throw error;
  console.error([`✗ ${error.message}`, ...network.notes].join('\n  '));
  process.exitCode = 1;
}
