/**
 * Sends one HTTP request and reads the whole answer, over pooled connections that survive what a Lambda does to
 * them: frozen between invocations, sockets die silently.
 */

import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { untrusted } from '../certificate.ts';
import { Failure } from '../core/failure.ts';
import { type HttpsProxy, ProxyAgent, ProxyFailure } from '../proxy.ts';
import type { Server } from './base-url.ts';
import { EarlyAgent } from './early-connection.ts';

export type HttpRequest = {
  method: 'GET' | 'POST';
  server: Server;
  /** With the query, as `new URL()` would leave it: what is signed must be what is sent. */
  path: string;
  /** Names and values in turn, as Node sends them without looking at each. */
  headers: string[];
  /** Makes the `Authorization` header just before sending, once for each time that the request is sent. */
  authorization?: () => string;
  /** What the request is for, among those that one attempt may take. */
  purpose: 'question' | 'challenge' | 'token';
  /** Called with the purpose each time that the request is sent. */
  onSend?: (purpose: HttpRequest['purpose']) => void;
  body?: string;
};

export type HttpAnswer = {
  status: number;
  /** Whether the request carried an authentication. */
  authenticated: boolean;
  headers: http.IncomingHttpHeaders;
  /** Empty where the answer has a flaw. */
  body: string;
  /** Why the body could not be read, as the end of a sentence. */
  flaw?: string;
  /** Closes the connection that it came over. */
  close: () => void;
};

/**
 * Reads an answer. Where it is not what was asked for, it may be the answer to another request, and all that follow on its
 * connection as well: the connection is closed then.
 */
export function understand<T>(answer: HttpAnswer, read: (answer: HttpAnswer) => T): T {
  try {
    return read(answer);
  } catch (error) {
    if (error instanceof Failure && error.name === 'AtlasUnexpectedAnswer') answer.close();
    throw error;
  }
}

/**
 * @throws Failure `AtlasUnavailable` without a connection, `AtlasUnexpectedAnswer` for what is no HTTP and for a certificate
 *   that is not trusted, the signal's reason
 */
export type Send = (request: HttpRequest, signal: AbortSignal) => Promise<HttpAnswer>;

/** What every request to Atlas says it comes from. */
export const userAgent = ['user-agent', 'atlas-live-migration'];

const limits = {
  /** Unpacked. What the document is made of has to fit into an event and into a state of Step Functions. */
  bodyBytes: 16 * 1024,
  /** By the wall clock, which runs on during a freeze: after this long idle, no pooled socket is trusted. */
  idleMs: 3000,
};

/** A kept or early socket could not carry the request: nothing is wrong with the server. */
class DeadSocket extends Error {}

/** How many bytes a socket had brought when its last answer had ended. Those that come later answer nothing. */
const answeredBytes = new WeakMap<Socket, number>();

/** Two, since the first one may belong to a turn whose reading is over: what has come by now is read before the second. */
const afterWholeTurn = (then: () => void) => setImmediate(() => setImmediate(then));

const tooLong = 'is longer than 16 KiB';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const zlibOptions = { maxOutputLength: limits.bodyBytes };

/** Loaded with the first compressed answer, if there is one: it takes some milliseconds. */
const zlib = () => process.getBuiltinModule('node:zlib');
const gunzip = (bytes: Buffer) => zlib().gunzipSync(bytes, zlibOptions);

const decoders = new Map<string, (bytes: Buffer) => Buffer>([
  ['identity', (bytes) => bytes],
  ['gzip', gunzip],
  // RFC 9110, section 8.4.1.3.
  ['x-gzip', gunzip],
  // "deflate" means zlib's format (RFC 9110, section 8.4.1.2), but some servers send the raw stream.
  [
    'deflate',
    (bytes) =>
      (bytes[0] ?? 0) % 16 === 8 ? zlib().inflateSync(bytes, zlibOptions) : zlib().inflateRawSync(bytes, zlibOptions),
  ],
]);

/** Some servers compress without being asked. An unknown encoding, or bytes that don't match it, are a flaw. */
function decode(body: Buffer, encoding = 'identity'): Pick<HttpAnswer, 'body' | 'flaw'> {
  let bytes: Buffer | undefined;
  try {
    bytes = decoders.get(encoding.trim().toLowerCase() || 'identity')?.(body);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return { body: '', flaw: tooLong };
  }
  if (!bytes) return { body: '', flaw: 'has a content encoding that cannot be read' };
  try {
    return { body: utf8.decode(bytes) };
  } catch {
    // Atlas declares ISO-8859-1 on its errors, whatever the bytes are; so the bytes decide, not the declaration.
    const text = bytes.toString('latin1');
    return Buffer.byteLength(text) > limits.bodyBytes ? { body: '', flaw: tooLong } : { body: text };
  }
}

function connectionFailure(error: NodeJS.ErrnoException, host: string): Failure {
  const code = error.code ?? 'no code';
  // Nobody knows who would answer, and asking again does not help.
  const why = untrusted(host, error);
  if (why) return new Failure('AtlasUnexpectedAnswer', why);
  if (error instanceof ProxyFailure) {
    return new Failure('AtlasUnavailable', `No connection to ${host} ${error.message}.`);
  }
  return code.startsWith('HPE_')
    ? new Failure('AtlasUnexpectedAnswer', `${host} did not answer in HTTP (${code}).`)
    : new Failure('AtlasUnavailable', `The connection to ${host} failed or broke (${code}).`);
}

const wasEarly = (agent: http.Agent, socket: Socket | null) => agent instanceof EarlyAgent && agent.wasEarly(socket);

function exchange(request: HttpRequest, agent: http.Agent, signal: AbortSignal): Promise<HttpAnswer> {
  const { method, server, path, authorization, purpose, onSend, body } = request;
  const authenticated = authorization !== undefined;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // A document has some hundred bytes: to unpack it takes longer than to receive it.
    const headers = ['host', server.host, ...request.headers, 'accept-encoding', 'identity'];
    if (authorization) headers.push('authorization', authorization());
    if (body !== undefined) headers.push('content-length', String(Buffer.byteLength(body)));

    const { hostname, port } = server;
    const outgoing = (server.protocol === 'https:' ? https : http).request({
      hostname,
      port,
      path,
      method,
      headers,
      agent,
    });
    let wasOpen = false;
    let answered = false;
    const close = () => void outgoing.socket?.destroy();
    const giveUp = () => {
      reject(signal.aborted ? signal.reason : new DeadSocket());
      outgoing.destroy();
    };
    const fail = (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else if (wasOpen && !answered) giveUp();
      else reject(connectionFailure(error, server.host));
    };

    // Never removed: the signal lives no longer than the attempt, and a request that has ended can't be destroyed.
    signal.addEventListener('abort', () => outgoing.destroy(signal.reason), { once: true });
    outgoing.on('error', fail);

    const write = () => {
      onSend?.(purpose);
      // The server switches protocols although the request did not ask for it. The connection can't be used any more; the status
      // is read like any other.
      outgoing.on('upgrade', ({ statusCode: status = 101, headers: answerHeaders }, socket) => {
        socket.destroy();
        resolve({ status, authenticated, headers: answerHeaders, body: '', close });
      });
      outgoing.on('response', (incoming) => {
        const { statusCode: status = 0, headers: answerHeaders } = incoming;
        // The server ends an idle connection, and may have said so before it got the request: RFC 9110, section 15.5.9.
        if (status === 408 && wasOpen) return giveUp();
        answered = true;
        const chunks: Buffer[] = [];
        let length = 0;
        incoming.on('error', fail);
        incoming.on('data', (chunk: Buffer) => {
          length += chunk.length;
          chunks.push(chunk);
          if (length <= limits.bodyBytes) return;
          resolve({ status, authenticated, headers: answerHeaders, body: '', flaw: tooLong, close });
          outgoing.destroy();
        });
        incoming.on('end', () => {
          const { socket } = outgoing;
          if (socket) answeredBytes.set(socket, socket.bytesRead);
          const decoded = decode(Buffer.concat(chunks), answerHeaders['content-encoding']);
          resolve({ status, authenticated, headers: answerHeaders, ...decoded, close });
        });
      });
      outgoing.end(body);
    };

    outgoing.once('socket', (socket) => {
      wasOpen = outgoing.reusedSocket || wasEarly(agent, socket);
      if (!wasOpen) return write();
      // What came before the request answers nothing (RFC 9112, section 9.2), and may not have been read yet.
      const expected = answeredBytes.get(socket) ?? 0;
      afterWholeTurn(() => (outgoing.destroyed || socket.bytesRead !== expected ? giveUp() : write()));
    });
  });
}

/** One pool of connections for one protocol, replaced as a whole as soon as it can't be trusted. */
function createPool<A extends http.Agent>(newAgent: () => A) {
  let agent = newAgent();
  let busy = 0;
  let lastUsed = 0;

  const retire = (old: A) => {
    if (old !== agent) return;
    agent = newAgent();
    // Requests still under way on the old agent may end; their sockets are closed instead of kept.
    old.maxFreeSockets = 0;
    for (const socket of Object.values(old.freeSockets).flat()) socket?.destroy();
  };

  const run = async (request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> => {
    const idleMs = Date.now() - lastUsed;
    if (busy === 0 && (idleMs > limits.idleMs || idleMs < 0)) retire(agent);
    const mine = agent;
    busy += 1;
    try {
      return await exchange(request, mine, signal);
    } catch (error) {
      retire(mine);
      throw error;
    } finally {
      busy -= 1;
      lastUsed = Date.now();
    }
  };

  return {
    /** Lets `open` put a connection into the pool, which is trusted from now on as one that was just used. */
    prepare(open: (agent: A) => void): void {
      lastUsed = Date.now();
      open(agent);
    },
    async send(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
      try {
        return await run(request, signal);
      } catch (error) {
        if (!(error instanceof DeadSocket)) throw error;
      }
      try {
        return await run(request, signal);
      } catch (error) {
        // In a burst, another call may already have opened, used and lost the socket that this one got.
        throw error instanceof DeadSocket
          ? new Failure('AtlasUnavailable', `Connections to ${request.server.host} keep breaking.`)
          : error;
      }
    },
  };
}

export type HttpClient = {
  /** It has connection pools of its own, follows no redirects and never retries an answer. */
  send: Send;
  /** Opens a connection that the first request can use. Behind a proxy, and without TLS, it does nothing. */
  connectEarly(server: Server): void;
};

/** @param proxy for https only; undefined: Atlas is reached directly */
export function createHttpClient(proxy: HttpsProxy | undefined): HttpClient {
  const options = { keepAlive: true };
  const plain = createPool(() => new http.Agent(options));
  const direct = createPool(() => new EarlyAgent(options));
  const secure = proxy ? createPool(() => new ProxyAgent(options, proxy)) : direct;
  return {
    send: (request, signal) => (request.server.protocol === 'https:' ? secure : plain).send(request, signal),
    connectEarly(server) {
      if (!proxy && server.protocol === 'https:') direct.prepare((agent) => agent.connectEarly(server));
    },
  };
}
