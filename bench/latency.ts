/** Puts an HTTPS server with a certificate of its own and a long way to it before a plain HTTP one. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import { promisify } from 'node:util';

const ignore = () => undefined;

async function listen(server: Server): Promise<number> {
  server.listen(0, 'localhost');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** @returns undefined where there is no openssl */
async function makeCertificate(folder: string) {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  try {
    await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', key, '-out', certificate],
    ]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return { key: readFileSync(key), cert: readFileSync(certificate), certificate };
}

function carry(from: Socket, to: Socket, ms: number) {
  from.setNoDelay();
  from.on('data', (chunk) => setTimeout(() => to.write(chunk), ms));
  from.on('end', () => setTimeout(() => to.end(), ms));
  from.on('close', () => setTimeout(() => to.destroy(), ms));
  from.on('error', ignore);
}

/** @returns undefined where there is no openssl to make a certificate with */
export async function startDistantTls() {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const made = await makeCertificate(folder);
  if (!made) {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  const { key, cert, certificate } = made;
  const servers: Server[] = [];
  const sockets = new Set<Socket>();

  return {
    /** The file for NODE_EXTRA_CA_CERTS. */
    certificate,
    /**
     * @param port where the plain server listens
     * @param oneWayMs milliseconds that each byte takes on its way, in each direction, the TLS handshake's included
     * @returns the origin of the HTTPS server
     */
    async before(port: number, oneWayMs: number): Promise<string> {
      const near = createTlsServer({ key, cert }, (socket) => {
        const plain = connect(port, '127.0.0.1').setNoDelay();
        pipeline(socket, plain, socket, ignore);
      });
      const nearPort = await listen(near);

      const far = createServer((client) => {
        const server = connect(nearPort, 'localhost');
        for (const socket of [client, server]) sockets.add(socket.on('close', () => sockets.delete(socket)));
        client.on('error', ignore);
        carry(server, client, oneWayMs);
        // The client's connection is there at once: the round trip that it would have taken is waited for here.
        setTimeout(() => carry(client, server, oneWayMs), 2 * oneWayMs);
      });
      servers.push(near, far);
      return `https://localhost:${await listen(far)}`;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true });
    },
  };
}
