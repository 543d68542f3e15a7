/**
 * A connection that is opened before the first request, while the rest of the function loads and the secret is read: that
 * request then saves the round trips of TCP and TLS. Nothing is sent on it. If it fails, is late, or is
 * not needed, requests work as if it had not been tried.
 */

import https from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { Server } from './base-url.ts';

const limits = {
  /** A connection that is not there by then is given up: the request that waits for it gets another one. */
  connectMs: 1000,
  /** Unused for this long, it is closed: the pool trusts no idle connection for longer either. */
  unusedMs: 3000,
};

type Early = {
  isTo(host: unknown, port: unknown): boolean;
  close(): void;
  /** @returns the connection, from now on the caller's; undefined where there is none */
  take(): Promise<Socket | undefined>;
};

/** An agent that may have a connection before a request wants one. */
export class EarlyAgent extends https.Agent {
  #early: Early | undefined;
  #taken: Socket | undefined;

  /** Whether a socket was opened early, and so may have died before a request got it. */
  wasEarly = (socket: Socket | null): boolean => socket !== null && socket === this.#taken;

  /** Opens a connection and does not wait for it. It closes by itself where TLS is late or no request uses it. */
  connectEarly({ hostname: host, port: text }: Server): void {
    const port = Number(text || 443);
    const servername = isIP(host) ? '' : host;
    const socket = super.createConnection({ ...this.options, host, port, servername }) as Socket;
    const close = () => socket.destroy();
    // Neither it nor its timers keep a process alive.
    socket.unref();
    let timer = setTimeout(close, limits.connectMs).unref();
    // If the error lasts, the request that opens another connection reports it.
    socket.on('error', () => undefined);
    const isThere = new Promise<boolean>((resolve) => {
      socket.once('secureConnect', () => {
        clearTimeout(timer);
        timer = setTimeout(close, limits.unusedMs).unref();
        resolve(true);
      });
      socket.once('close', () => {
        clearTimeout(timer);
        resolve(false);
      });
    });
    this.#early = {
      isTo: (otherHost, otherPort) => otherHost === host && Number(otherPort) === port,
      close,
      async take() {
        if (!(await isThere) || socket.destroyed) return undefined;
        clearTimeout(timer);
        return socket.ref();
      },
    };
  }

  // Node takes the socket that is returned, or waits for the callback.
  override createConnection(...[options, callback]: Parameters<https.Agent['createConnection']>) {
    const early = this.#early;
    this.#early = undefined;
    const open = () => super.createConnection(options, callback);
    if (!early?.isTo(options.host, options.port)) {
      early?.close();
      return open();
    }
    void early.take().then((socket) => {
      this.#taken = socket;
      const ours = socket ?? open();
      if (ours) callback?.(null, ours);
    });
    return undefined;
  }
}
