/** Starts serverless-offline in this process, with its ports closed. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:http';
import { join } from 'node:path';

/**
 * serverless-offline opens a port for its HTTP API, whose requests come from the local API instead, and one for an invoke
 * endpoint that isn't ours. Both are closed before the first connection: they know nothing of our door.
 *
 * @param parameters the deployment's, of which the empty ones keep their defaults
 * @returns the server of the HTTP API
 */
export async function startOffline(parameters: Record<string, string | undefined>): Promise<Server> {
  const given = Object.entries(parameters).filter(([, value]) => value);
  process.argv.splice(1, process.argv.length, 'serverless', 'offline', 'start', '--host', '127.0.0.1');
  // It hands the function serverless.yml's environment, and this process's where that has none.
  process.argv.push('--httpPort', '0', '--lambdaPort', '0', '--noSponsor', '--localEnvironment');
  process.argv.push(...given.flatMap(([name, value]) => ['--param', `${name}=${value}`]));
  process.env['SLS_LOG_LEVEL'] ??= 'warning';
  // By default, serverless keeps its compiled schema in the home folder, which may be missing or read-only.
  process.env['SLS_SCHEMA_CACHE_BASE_DIR'] ??= join(import.meta.dirname, '../.build');

  const listening = new Promise<Server>((resolve) => {
    const servers: Server[] = [];
    const channel = 'tracing:net.server.listen:asyncEnd';
    subscribe(channel, function close(message) {
      const { server } = message as { server: Server };
      servers.push(server);
      // After those who wait for it to listen.
      server.once('listening', () => server.close());
      // The first one is its own invoke endpoint.
      if (!servers[1]) return;
      unsubscribe(channel, close);
      resolve(servers[1]);
    });
  });
  // Where it can't start, it has said why and set the exit code.
  const watch = setInterval(() => process.exitCode && process.exit(), 50);
  // Its list of routes names an invoke endpoint that isn't ours; what it has to say of errors goes another way.
  const { log } = console;
  console.log = () => undefined;
  await import('serverless/bin/serverless.js' as string);
  return listening.finally(() => {
    clearInterval(watch);
    console.log = log;
  });
}
