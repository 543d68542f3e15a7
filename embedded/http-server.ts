/** An HTTP server on the loopback address, as all the embedded services are. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Served = { origin: string; server: Server; close(): Promise<void> };

/** @param port 0 lets the system choose a free one */
export async function serve(listener: RequestListener, port = 0): Promise<Served> {
  const server = createServer(listener);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, close };
}

/** Reads a request's body; undefined where the client went away before it was complete. */
export async function readBody(request: IncomingMessage): Promise<string | undefined> {
  let text = '';
  try {
    for await (const chunk of request) text += chunk;
    return text;
  } catch {
    return undefined;
  }
}
