/** The addresses of a host: what its name leads to, and one where connections hang, as behind a firewall. */

import { spawn } from 'node:child_process';
import dns from 'node:dns';
import { once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';
import { onTestFinished, vi } from 'vitest';

/** Until the test ends, every name has these addresses of this machine, in this order. */
export function resolveTo(addresses: string[]) {
  const found = addresses.map((address) => ({ address, family: 4 }));
  const lookup = (_host: string, _options: object, done: (error: null, addresses: object[]) => void) =>
    done(null, found);
  const spy = vi.spyOn(dns, 'lookup').mockImplementation(lookup as never);
  // The product may import it by its name.
  syncBuiltinESMExports();
  onTestFinished(() => {
    spy.mockRestore();
    syncBuiltinESMExports();
  });
  return spy;
}

/**
 * A process that never accepts, and whose queue is full: Linux then drops what comes.
 *
 * @param port 0: a free one
 * @returns the port
 */
export async function startSilentPort(host: string, port = 0): Promise<number> {
  const listener = `const server = require('node:net').createServer().listen({ port: ${port}, host: '${host}', backlog: 1 }, () =>
    process.send(server.address().port, () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)))`;
  const child = spawn(process.execPath, ['-e', listener], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [taken] = await once(child, 'message');
  const queued = Array.from({ length: 4 }, () => connect(taken, host));
  onTestFinished(() => {
    for (const socket of queued) socket.destroy();
    child.kill('SIGKILL');
  });
  await Promise.all(queued.slice(0, 2).map((socket) => once(socket, 'connect')));
  return taken;
}
