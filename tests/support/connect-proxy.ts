/** A real HTTP proxy that makes tunnels (CONNECT, RFC 9110, section 9.3.6) to the servers that it knows. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream';

/**
 * @param routes ports on this machine, by the host and port that a client wants to reach
 * @param login `user:password`, where the proxy asks for one
 */
export async function startConnectProxy(routes: Record<string, number>, login?: string) {
  const sockets = new Set<Socket>();
  /** Each tunnel that was asked for, and the status that it was answered with. */
  const log: string[] = [];
  const server = createServer();
  server.on('connect', (request, socket) => {
    const expected = login && `Basic ${Buffer.from(login).toString('base64')}`;
    const refuse = expected !== undefined && request.headers['proxy-authorization'] !== expected;
    const port = routes[request.url ?? ''];
    const status = refuse ? 407 : port === undefined ? 502 : 200;
    log.push(`${request.url} ${status}`);
    if (status !== 200) {
      socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      return;
    }
    const target = connect(port ?? 0, 'localhost', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      pipeline(socket, target, socket, () => undefined);
    });
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const closeConnections = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    host,
    url: `http://${login ? `${login}@` : ''}${host}`,
    log,
    routes,
    closeConnections,
    close() {
      server.close();
      closeConnections();
    },
  };
}
