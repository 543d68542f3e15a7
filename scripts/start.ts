/** `npm start`: the whole product on this machine, with an embedded Atlas and Secrets Manager unless told otherwise. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { devNull } from 'node:os';
import { StringDecoder } from 'node:string_decoder';
import { parameters } from '../deploy/parameters.ts';
import { startEmbeddedAtlas } from '../embedded/atlas.ts';
import { demoGroupId, demoProjects } from '../embedded/demo-migrations.ts';
import { type ChallengeName, challengeForms } from '../embedded/digest-verifier.ts';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { failOnDemand } from '../embedded/failures-on-demand.ts';
import { startInvokeEndpoint } from '../embedded/lambda-invoke.ts';
import { startLocalApi } from '../embedded/local-api.ts';
import { startEmbeddedSecretsManager } from '../embedded/secrets-manager.ts';
import { readConfiguration } from '../lib/lambda/configuration.ts';
import { proxyOf } from '../lib/proxy.ts';
import { readCommandLine } from './command-line.ts';
import { allCommands } from './commands.ts';
import { startOffline } from './offline.ts';
import { printableLines } from './printable.ts';
import { createScreen } from './start-screen.ts';

const usage = `Usage: npm start -- [options]
  --port N         port of the HTTP API (default 3000; 0 for a free one)
  --lambda-port N  port of the Lambda invoke endpoint (default 3002; 0 for a free one)
  --challenge NAME how the embedded Atlas challenges: ${Object.keys(challengeForms).join(' | ')}
  --freshness N    share answers for N seconds (0 to 60), in an embedded DynamoDB
  --cors-origins O origins whose web pages may ask the HTTP API, comma-separated, such as http://localhost:5173
  --log FORM       each request as a short line, or as the function's own line: short | json
                   (default short on a terminal, json elsewhere)
  --commands       print all commands to try it, one for each failure among them, and start nothing
If ATLAS_SECRET_ID is set, the function uses the real Secrets Manager and the real Atlas, and needs AWS credentials.`;

const options = {
  port: { type: 'string', default: '3000' },
  'lambda-port': { type: 'string', default: '3002' },
  challenge: { type: 'string', default: 'atlas' },
  freshness: { type: 'string', default: '0' },
  'cors-origins': { type: 'string', default: '' },
  log: { type: 'string', default: process.stdout.isTTY ? 'short' : 'json' },
  commands: { type: 'boolean' },
} as const;

function stop(message: string): never {
  console.error(message);
  process.exit(1);
}

function portOf(option: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0 && number < 65536) return number;
  throw new Error(`--${option} must be a port number from 0 to 65535.`);
}

/** @returns why the port cannot be listened on, as the end of a sentence; undefined where it can */
async function obstacle(port: number): Promise<string | undefined> {
  const probe = createServer().listen(port, '127.0.0.1');
  try {
    await once(probe, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${code})`;
  }
  probe.close();
  return undefined;
}

/** Tells now, and not in the middle of the start, which ports are taken, and the command that would work. */
async function mustBeFree(ports: Record<'port' | 'lambda-port', number>, otherArguments: string[]) {
  const problems: string[] = [];
  const command = ['npm start --', ...otherArguments];
  const used = new Set(Object.values(ports));
  for (const [option, port] of Object.entries(ports)) {
    const why = await obstacle(port);
    let free = port;
    if (why) {
      problems.push(`Port ${port} ${why}.`);
      while (used.has(free) || (await obstacle(free))) free = free < 60_000 ? free + 1000 : 1024 + (free % 1000);
      used.add(free);
    }
    if (free !== Number(options[option as keyof typeof ports].default)) command.push(`--${option} ${free}`);
  }
  if (problems.length > 0) stop(`${problems.join(' ')} This command would work: ${command.join(' ')}`);
}

/**
 * What only this run knows, in the endpoints that the function asks and in its Atlas key. AWS credentials would not do: with a
 * real secret, they are the user's.
 */
const secret = randomBytes(16).toString('hex');

/** Nothing of the machine's AWS set-up may reach the function: no variable, no configuration file, no proxy. */
function forgetAwsSetUp() {
  for (const name of Object.keys(process.env)) {
    if (/^AWS_|_PROXY$/i.test(name)) delete process.env[name];
  }
  Object.assign(process.env, { AWS_CONFIG_FILE: devNull, AWS_SHARED_CREDENTIALS_FILE: devNull });
}

/** Starts the table of shared answers and points the function's environment at it. */
async function embedTable(freshness: number): Promise<[name: string, address: string]> {
  const { origin, url, table } = await startEmbeddedDynamoDB({ secret });
  Object.assign(process.env, {
    ANSWER_FRESHNESS_SECONDS: String(freshness),
    ANSWER_TABLE: table,
    AWS_ENDPOINT_URL_DYNAMODB: url,
  });
  return ['embedded DynamoDB', `${origin} (answers are shared for ${freshness} s)`];
}

/** Starts the embedded services and points the function's environment at them. */
async function embedServices(challenge: ChallengeName): Promise<[name: string, address: string][]> {
  const atlas = await startEmbeddedAtlas({ projects: demoProjects });
  const secretsManager = await startEmbeddedSecretsManager({ secret });
  atlas.challenge = challenge;
  atlas.keys['embedded'] = secret;
  failOnDemand(atlas, secretsManager, 'embedded');
  secretsManager.secrets[`atlas/${demoGroupId}`] = JSON.stringify({
    publicKey: 'embedded',
    privateKey: secret,
    baseUrl: atlas.baseUrl,
  });
  forgetAwsSetUp();
  Object.assign(process.env, {
    ATLAS_SECRET_ID: 'atlas/{groupId}',
    // A proxy prevents the early connection, which would go to the real Atlas; embedded services bypass it.
    HTTPS_PROXY: 'http://127.0.0.1:9',
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.url,
    AWS_ACCESS_KEY_ID: 'embedded',
    AWS_SECRET_ACCESS_KEY: 'embedded',
    AWS_REGION: 'us-east-1',
  });
  delete process.env['ATLAS_BASE_URL'];
  return [
    ['embedded Atlas', `${atlas.origin} (challenge: ${challenge})`],
    ['embedded Secrets Manager', secretsManager.origin],
  ];
}

const { ports, challenge, freshness, corsOrigins, log } = readCommandLine(
  usage,
  options,
  ({ challenge, freshness, 'cors-origins': corsOrigins, log, commands, ...texts }, [stray]) => {
    if (stray) throw new Error(`Unknown argument "${stray}".`);
    if (!Object.hasOwn(challengeForms, challenge)) throw new Error(`Unknown challenge "${challenge}".`);
    const ports = { port: portOf('port', texts.port), 'lambda-port': portOf('lambda-port', texts['lambda-port']) };
    if (ports.port !== 0 && ports.port === ports['lambda-port'])
      throw new Error('--port and --lambda-port must be two ports.');
    if (!/^\d+$/.test(freshness) || Number(freshness) > 60)
      throw new Error('--freshness must be a whole number from 0 to 60.');
    if (log !== 'short' && log !== 'json') throw new Error('--log must be short or json.');
    if (commands) {
      if (Object.values(ports).includes(0)) throw new Error('--commands needs the ports: 0 names none.');
      const [http, invoke] = Object.values(ports).map((port) => `http://127.0.0.1:${port}`) as [string, string];
      console.log(allCommands(http, invoke));
      process.exit(0);
    }
    return { ports, challenge: challenge as ChallengeName, freshness: Number(freshness), corsOrigins, log };
  },
);
const { port, 'lambda-port': lambdaPort } = ports;

const end = () => process.exit(0);
process.on('SIGINT', end);
process.on('SIGTERM', end);
const screen = createScreen(log === 'json', end);
for (const stream of [process.stdout, process.stderr]) {
  // The reader of a pipe (`npm start | head -1`) has gone.
  stream.on('error', end);
  // Also what serverless prints, and the function's lines, which quote what Atlas answered.
  const write = stream.write.bind(stream) as (text: string, ...rest: unknown[]) => boolean;
  const decoder = new StringDecoder();
  stream.write = (chunk: string | Uint8Array, ...rest: unknown[]) => {
    const text = printableLines(typeof chunk === 'string' ? chunk : decoder.write(Buffer.from(chunk)));
    return screen.passes(text) ? write(text, ...rest) : true;
  };
}
// Colours would be made visible as well.
delete process.env['FORCE_COLOR'];
process.env['NO_COLOR'] = '1';
// `kill` with the process id of `npm start &` ends npm and its shell, and the shell does not forward the signal.
if (process.env['npm_lifecycle_event']) {
  const shell = process.ppid;
  setInterval(() => process.ppid !== shell && end(), 250).unref();
}

/** The region that the SDK takes: of the environment, or of the profile. */
async function regionOfSecret(): Promise<string> {
  const { SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
  const { region } = new SecretsManagerClient().config;
  return region().catch(() => stop('Name the region of the secret: set AWS_REGION.'));
}

/** The SDK's own clients that get credentials from SSO know of no proxy: the function gets the credentials instead. */
async function credentialsThroughProxy() {
  const { connectNetwork } = await import('./network.ts');
  const { client, notes } = connectNetwork();
  const identity = await client.credentials().catch(({ message }: Error) => stop([message, ...notes].join(' ')));
  const { accessKeyId, secretAccessKey, sessionToken } = identity;
  for (const name of ['AWS_PROFILE', 'AWS_SESSION_TOKEN']) delete process.env[name];
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey });
  if (sessionToken) process.env['AWS_SESSION_TOKEN'] = sessionToken;
}

const realSecret = process.env['ATLAS_SECRET_ID'];
if (realSecret) {
  // serverless-offline takes the region from the environment only.
  process.env['AWS_REGION'] = await regionOfSecret();
  const { proxy, problem } = proxyOf(process.env);
  if (problem) stop(`${problem}.`);
  if (proxy) await credentialsThroughProxy();
}
await mustBeFree(ports, [
  ...(challenge === options.challenge.default ? [] : [`--challenge ${challenge}`]),
  ...(freshness > 0 ? [`--freshness ${freshness}`] : []),
  ...(corsOrigins ? [`--cors-origins '${corsOrigins}'`] : []),
  ...(log === options.log.default ? [] : [`--log ${log}`]),
]);
console.log(
  realSecret
    ? `REAL services: the function reads the key from the secret ${realSecret} in ${process.env['AWS_REGION']} with your AWS credentials, and asks the real Atlas.`
    : 'Everything is embedded: no account, no key and no network is needed.',
);
const embedded = realSecret ? [] : await embedServices(challenge);
if (freshness > 0) embedded.push(await embedTable(freshness));

try {
  readConfiguration(process.env);
} catch (error) {
  stop((error as Error).message);
}

const offline = await startOffline({
  atlasSecretId: process.env['ATLAS_SECRET_ID'],
  atlasBaseUrl: process.env['ATLAS_BASE_URL'],
  freshnessSeconds: process.env['ANSWER_FRESHNESS_SECONDS'],
  corsOrigins,
  // The function takes the lower-case names from this process; others mean more than the parameter takes.
  httpsProxy: proxyOf(process.env).proxy?.environment.https_proxy,
  noProxy: (process.env['NO_PROXY'] ?? '')
    .split(/[\s,;]+/)
    .filter((entry) => parameters.noProxy.isValid(entry))
    .join(','),
});
const { handler } = await import('../functions/get-live-migration.ts');
const invoke = await startInvokeEndpoint(handler, lambdaPort);
const http = await startLocalApi(port, offline, {
  isEmbedded: !realSecret,
  origins: corsOrigins.split(/[\s,]+/).filter(Boolean),
});
screen.show({ http, invoke, embedded, isReal: Boolean(realSecret) });
