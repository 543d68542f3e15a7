/** The proxy for https requests, in networks that have no other way out. */

import https from 'node:https';

export type HttpsProxy = {
  /** Its host and port, without a user and a password, and so safe to show. */
  host: string;
  /** The variables as Node's agents read them (`proxyEnv`). */
  environment: { https_proxy: string; no_proxy: string };
};

const limits = {
  /**
   * To connect to the proxy, and through it to the server. It is less than the second that a connection to Secrets Manager
   * may take: so it is known that the proxy failed.
   */
  tunnelMs: 900,
};

/** In the notation of Node, which knows ranges of IPv4 addresses, and no CIDR blocks. */
const loopback = ['localhost', '.localhost', '127.0.0.0-127.255.255.255', '::1'];

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

/** The proxy made no tunnel to the server. The message is the end of a sentence that says what failed, and safe to show. */
export class ProxyFailure extends Error {
  readonly code: string | undefined;

  /** @param error what Node says of the tunnel */
  constructor(
    { host }: HttpsProxy,
    error: NodeJS.ErrnoException & { statusCode?: number; proxyTunnelTimeout?: number },
  ) {
    const { code, statusCode, proxyTunnelTimeout: ms } = error;
    super(`through the proxy ${host} (${statusCode ? `HTTP ${statusCode}` : ms ? `nothing for ${ms} ms` : code})`);
    this.code = code;
  }
}

/** An agent that goes through a proxy, and fails with a {@link ProxyFailure} where the proxy does. */
export class ProxyAgent extends https.Agent {
  readonly #proxy: HttpsProxy;

  constructor(options: https.AgentOptions, proxy: HttpsProxy) {
    super({ ...options, proxyEnv: proxy.environment });
    this.#proxy = proxy;
  }

  // Node calls back with an error only where a tunnel could not be made. Other connections fail by an event.
  override createConnection(...[options, callback]: Parameters<https.Agent['createConnection']>) {
    return super.createConnection({ ...options, timeout: limits.tunnelMs }, (error, stream) =>
      callback?.(error && new ProxyFailure(this.#proxy, error), stream),
    );
  }
}
