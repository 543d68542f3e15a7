/** Puts an HTTPS server with a certificate of its own and a long way to it before a plain HTTP one. */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificate, serveTls } from '../embedded/tls.ts';

const ignore = () => undefined;

function carry(from: Socket, to: Socket, ms: number) {
  from.setNoDelay();
  from.on('data', (chunk) => setTimeout(() => to.write(chunk), ms));
  from.on('end', () => setTimeout(() => to.end(), ms));
  from.on('close', () => setTimeout(() => to.destroy(), ms));
  from.on('error', ignore);
}

/** @returns undefined where there is no openssl to make a certificate with */
export async function startDistantTls() {
  const made = await makeCertificate(['DNS:localhost']);
  if (!made) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const certificate = join(folder, 'certificate.pem');
  writeFileSync(certificate, made.cert);
  const servers: { close(): unknown }[] = [];
  const sockets = new Set<Socket>();

  return {
    /** The file for NODE_EXTRA_CA_CERTS. */
    certificate,
    /**
     * @param plain the server before which it stands
     * @param oneWayMs milliseconds that each byte takes on its way, in each direction, the TLS handshake's included
     * @returns the origin of the HTTPS server
     */
    async before(plain: { server: Server }, oneWayMs: number): Promise<string> {
      const near = await serveTls(made, plain);

      const far = createServer((client) => {
        const server = connect(near.port, 'localhost');
        for (const socket of [client, server]) sockets.add(socket.on('close', () => sockets.delete(socket)));
        client.on('error', ignore);
        carry(server, client, oneWayMs);
        // The client's connection is there at once: the round trip that it would have taken is waited for here.
        setTimeout(() => carry(client, server, oneWayMs), 2 * oneWayMs);
      });
      servers.push(near, far);
      far.listen(0, 'localhost');
      await once(far, 'listening');
      return `https://localhost:${(far.address() as AddressInfo).port}`;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true });
    },
  };
}
