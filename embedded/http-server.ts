/**
 * An HTTP server on the loopback address, as all the embedded services are, and its door: programs of this machine may ask
 * it, and web pages of other origins may not. A browser on this machine reaches it too, also by a name of the attacker's that
 * leads here (DNS rebinding).
 */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';

export type Served = {
  origin: string;
  /** The origin, with the path that each request must begin with. */
  url: string;
  server: Server;
  close(): Promise<void>;
};

export type Door = {
  /** 0 lets the system choose a free one. */
  port?: number;
  /** Other origins whose pages may ask. */
  origins?: string[];
  /** The path of each request must begin with it, so that only those may ask who were told. Empty: everybody. */
  secret?: string;
};

/** As Lambda's Invoke API. */
export const maxBodyBytes = 6 * 2 ** 20;

const refuse = (response: ServerResponse, status: number, message: string) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message }));

const tooLong = (response: ServerResponse) =>
  refuse(response, 413, `The body of a request may have ${maxBodyBytes} bytes at most.`);

/** Why a request is refused for what the browser or the client says of it; undefined where it is not. */
function objection({ headers, socket }: IncomingMessage, port: number, origins: string[]): string | undefined {
  const host = headers.host?.toLowerCase() ?? '';
  const names = ['127.0.0.1', 'localhost', '[::1]'];
  // TLS comes from tests only; there, the certificate says whose name it is.
  const isNamed = socket instanceof TLSSocket || names.some((name) => host === `${name}:${port}`);
  // Clients leave the port of the scheme out.
  if (!isNamed && !(port === 80 && names.includes(host)))
    return `The Host of a request must be 127.0.0.1, localhost or [::1], with port ${port}.`;
  const { origin, 'sec-fetch-site': site } = headers;
  // A browser names no origin where a page only embeds the answer.
  const isForeign = origin
    ? origin !== `http://${host}` && !origins.includes(origin)
    : site === 'cross-site' || site === 'same-site';
  return isForeign ? 'A web page of another origin may not ask this server.' : undefined;
}

/** @param listener one that throws is answered for */
export async function serve(
  listener: (request: IncomingMessage, response: ServerResponse) => unknown,
  { port = 0, origins = [], secret = '' }: Door = {},
): Promise<Served> {
  const prefix = secret && `/${secret}`;
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const { headers, url = '' } = request;
    const why = objection(request, address.port, origins);
    if (why) return refuse(response, 403, why);
    if (Number(headers['content-length']) > maxBodyBytes) return tooLong(response);
    if (!`${url}/`.startsWith(`${prefix}/`))
      return refuse(response, 403, 'This server answers only the program that started it.');
    request.url = url.slice(prefix.length) || '/';
    // Its own page needs no CORS header, which some listeners would send.
    if (!origins.includes(headers.origin ?? '')) delete headers.origin;
    try {
      return await listener(request, response);
    } catch (error) {
      if (response.headersSent) return response.destroy();
      return refuse(response, 400, `The request could not be answered: ${(error as Error).message}`);
    }
  };
  // A request without Host gets the same sentence as one with another Host.
  const server = createServer({ requireHostHeader: false }, (request, response) => void take(request, response));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${address.port}`;
  const close = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return { origin, url: `${origin}${prefix}`, server, close };
}

/** Reads a request's body; undefined where the client went away before it was complete, or was told that it is too long. */
export async function readBody(request: IncomingMessage, response: ServerResponse): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // The rest is read as well, since many a client reads no answer before it has sent all.
      if (bytes <= maxBodyBytes) chunks.push(chunk);
    }
  } catch {
    return undefined;
  }
  if (bytes <= maxBodyBytes) return Buffer.concat(chunks).toString();
  tooLong(response);
  return undefined;
}
