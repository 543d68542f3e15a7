/** Judges the base URL of the Atlas Administration API, wherever it is configured. */

/** Where the API is, and what to ask it for. */
export type BaseUrl = {
  /** Without a slash at the end. */
  href: string;
  /** The media type to ask for: v2 wants one with a version date, v1.0 knows only plain JSON. */
  accept: string;
};

const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * @param text an origin, which gets the path `/api/atlas/v1.0`, or a URL that ends in `/v1.0` or `/v2`
 * @returns undefined where it is neither, or would send the key in clear text to another machine
 */
export function readBaseUrl(text: string): BaseUrl | undefined {
  const url = URL.parse(text.trim());
  if (!url || url.username || url.password || url.search || url.hash) return undefined;
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && loopback.test(url.hostname))) return undefined;
  const path = url.pathname.replace(/\/+$/, '') || '/api/atlas/v1.0';
  const version = /\/(v1\.0|v2)$/.exec(path)?.[1];
  if (!version) return undefined;
  return {
    href: url.origin + path,
    accept: version === 'v2' ? 'application/vnd.atlas.2023-01-01+json' : 'application/json',
  };
}

/** What {@link readBaseUrl} accepts, as the end of a sentence that begins with the name of a field or variable. */
export const baseUrlRule =
  'must be an https URL (http on a loopback address only) that is an origin alone or ends in /v1.0 or /v2';
