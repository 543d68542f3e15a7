/** An address behind which connections hang, as behind a firewall that drops packets. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { onTestFinished } from 'vitest';

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
