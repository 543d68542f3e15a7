/** Validates the base URL of the Atlas Administration API, wherever it is configured. */

/** Where requests go, taken apart once for all of them. */
export type Server = {
  protocol: 'http:' | 'https:';
  /** An IPv6 address without brackets, as sockets want it. */
  hostname: string;
  /** Empty for the protocol's own one. */
  port: string;
  /** As the header `Host` has it. */
  host: string;
};

/** Where the API is, and which version of it. */
export type BaseUrl = {
  server: Server;
  /** Without a slash at the end. */
  path: string;
  version: 'v1.0' | 'v2';
};

export const commercialOrigin = 'https://cloud.mongodb.com';
export const governmentOrigin = 'https://cloud.mongodbgov.com';

const serverOf = ({ protocol, hostname, port, host }: URL): Server => ({
  protocol: protocol as Server['protocol'],
  hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
  port,
  host,
});

/** Where Atlas is, unless the environment or the secret says something else. */
export const commercialServer = serverOf(new URL(commercialOrigin));

const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * @param text an origin, which gets the path `/api/atlas/v1.0`, or a URL that ends in `/v1.0` or `/v2`
 * @returns undefined where it is neither, or would send the key in clear text to another machine
 */
export function readBaseUrl(text: string): BaseUrl | undefined {
  const url = URL.parse(text);
  if (!url || url.username || url.password || url.search || url.hash) return undefined;
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback.test(url.hostname))) return undefined;
  const path = url.pathname.replace(/\/+$/, '') || '/api/atlas/v1.0';
  const version = path.endsWith('/v1.0') ? 'v1.0' : path.endsWith('/v2') ? 'v2' : undefined;
  return version && { server: serverOf(url), path, version };
}

/** What {@link readBaseUrl} accepts, as the end of a sentence that begins with the name of a field or variable. */
export const baseUrlRule =
  'must be an https URL (http on a loopback address only) that is an origin alone or ends in /v1.0 or /v2';
