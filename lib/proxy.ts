/** The proxy for https requests, in networks that have no other way out. */

import https from 'node:https';
import type { Socket } from 'node:net';

export type HttpsProxy = {
  /** Its host and port, without a user and a password, and so safe to show. */
  host: string;
  /** The variables as Node's agents read them (`proxyEnv`). */
  environment: { https_proxy: string; no_proxy: string };
};

export const limits = {
  /** To connect to the proxy, and through it to the server, TLS included. */
  tunnelMs: 2000,
};

/** In the notation of Node, which knows ranges of IPv4 addresses, and no CIDR blocks. */
const loopback = ['localhost', 'localhost.', '.localhost', '127.0.0.0-127.255.255.255', '::1'];

const isDecodable = (text: string) => {
  try {
    return decodeURIComponent(text) !== undefined;
  } catch {
    return false;
  }
};

/**
 * @param text the proxy's URL, which may hold a user and a password
 * @param noProxy hosts that are reached without it, comma-separated. As with most programs, a domain covers its
 *   subdomains, with or without a dot before it; `*` covers everything. Loopback addresses are always reached without it.
 * @returns undefined where the text is no http or https URL
 */
export function readProxy(text: string, noProxy: string): HttpsProxy | undefined {
  const url = URL.parse(text.trim());
  if (!url?.hostname || !['http:', 'https:'].includes(url.protocol)) return undefined;
  if (![url.username, url.password].every(isDecodable)) return undefined;
  const entries = noProxy.split(/[\s,]+/).filter(Boolean);
  const covered = entries.flatMap((entry) => (/^[.*]/.test(entry) ? [entry] : [entry, `.${entry}`]));
  return {
    host: url.host,
    environment: { https_proxy: url.href, no_proxy: [...loopback, ...covered].join(',') },
  };
}

/** What {@link readProxy} accepts, as the end of a sentence that begins with the name of a variable or parameter. */
export const proxyRule = 'must be an http or https URL such as http://proxy.example.com:3128';

/**
 * @param environment of which the lower-case names win, as everywhere
 * @returns the proxy; or, where the variable is not valid, what it must be, without its value, which may hold a password
 */
export function proxyOf(environment: NodeJS.ProcessEnv): { proxy?: HttpsProxy; problem?: string } {
  const name = environment['https_proxy'] ? 'https_proxy' : 'HTTPS_PROXY';
  const text = environment[name];
  if (!text) return {};
  const proxy = readProxy(text, environment['no_proxy'] || environment['NO_PROXY'] || '');
  return proxy ? { proxy } : { problem: `${name} ${proxyRule}` };
}

/** No connection through the proxy. The message is the end of a sentence that says what failed, and safe to show. */
export class ProxyFailure extends Error {
  readonly code: string;
  /** Whether the connection to the proxy itself is TLS. */
  readonly isHttps: boolean;

  constructor({ host, environment }: HttpsProxy, reason: string, code = 'ERR_PROXY_TUNNEL') {
    super(`through the proxy ${host} (${reason})`);
    this.code = code;
    this.isHttps = environment.https_proxy.startsWith('https:');
  }
}

/** An agent that goes through a proxy, and fails with a {@link ProxyFailure} where there is no way through it. */
export class ProxyAgent extends https.Agent {
  readonly #proxy: HttpsProxy;

  constructor(options: https.AgentOptions, proxy: HttpsProxy) {
    super({ ...options, proxyEnv: proxy.environment });
    this.#proxy = proxy;
  }

  // Node calls back only where it makes a tunnel: when the tunnel and the TLS in it are there, or have failed. It limits
  // the time of neither as a whole, and leaves a socket open whose tunnel the proxy has refused.
  override createConnection(...[options, callback]: Parameters<https.Agent['createConnection']>) {
    let isLate = false;
    const socket = super.createConnection(options, (error, stream) => {
      clearTimeout(timer);
      if (!error) return callback?.(null, stream);
      stream?.destroy();
      socket?.destroy();
      const { code = 'no code', statusCode } = error as NodeJS.ErrnoException & { statusCode?: number };
      const reason = isLate ? `not within ${limits.tunnelMs} ms` : statusCode ? `HTTP ${statusCode}` : code;
      return callback?.(new ProxyFailure(this.#proxy, reason, isLate ? undefined : code), stream);
    });
    const giveUp = () => {
      // A connection that needs no tunnel was handed out at once.
      const handedOut = [this.sockets, this.freeSockets].flatMap((lists) => Object.values(lists).flat());
      if (handedOut.includes(socket as Socket)) return;
      isLate = true;
      socket?.destroy(new Error('The tunnel is late.'));
    };
    const timer = setTimeout(giveUp, limits.tunnelMs).unref();
    return socket;
  }
}
