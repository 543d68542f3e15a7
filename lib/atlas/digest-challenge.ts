/** Reads `WWW-Authenticate` headers and picks the Digest challenge that can be answered. */

export type DigestAlgorithm = 'MD5' | 'MD5-sess' | 'SHA-256' | 'SHA-256-sess' | 'SHA-512-256' | 'SHA-512-256-sess';

export type DigestChallenge = {
  realm: string;
  nonce: string;
  opaque: string | undefined;
  algorithm: DigestAlgorithm;
  /** Whether the answer carries `qop=auth`: without it, the older rules of RFC 2069 hold. */
  qop: boolean;
  /** True when only the nonce was refused, because it is too old, and not the key. */
  stale: boolean;
};

/** Strongest first: RFC 7616, section 3.7 leaves the choice to the client. */
const algorithms: DigestAlgorithm[] = ['SHA-512-256', 'SHA-512-256-sess', 'SHA-256', 'SHA-256-sess', 'MD5', 'MD5-sess'];

const separators = /[\s,]*/y;
const space = /\s*/y;
const tokenPattern = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const quotedString = /"(?:[^"\\]|\\.)*"/y;
/** Up to the next comma outside of quotes. */
const restOfElement = /(?:[^",]|"(?:[^"\\]|\\.)*"?)*/y;

const unquote = (value: string) => (value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value);

type Challenge = { scheme: string; parameters: Map<string, string>; malformed: Set<string> };

/**
 * Splits a header value into challenges (RFC 9110, section 11.6.1): commas separate challenges as well as parameters,
 * and may stand inside quoted strings, so only the grammar tells them apart. Each character is looked at a few times at
 * most, whatever the server sends.
 */
function splitChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const text = pattern.exec(header)?.[0];
    if (text !== undefined) at += text.length;
    return text;
  };
  const atElementEnd = () => {
    take(space);
    return at >= header.length || header[at] === ',';
  };
  /** Takes `name=value` up to a comma or the end, or nothing. */
  const takeParameter = (): boolean => {
    const start = at;
    const name = take(tokenPattern);
    take(space);
    if (name !== undefined && header[at] === '=') {
      at += 1;
      take(space);
      const value = take(quotedString) ?? take(tokenPattern);
      if (value !== undefined && atElementEnd()) {
        challenges.at(-1)?.parameters.set(name.toLowerCase(), unquote(value));
        return true;
      }
    }
    at = start;
    return false;
  };

  for (;;) {
    take(separators);
    if (takeParameter()) continue;
    if (at >= header.length) return challenges;
    const word = take(tokenPattern)?.toLowerCase() ?? '';
    const end = at;
    if (!word || (!atElementEnd() && (at === end || header[at] === '='))) {
      // Invalid syntax (domain=/api) or a token68 with other characters: it must not hide what comes after it.
      challenges.at(-1)?.malformed.add(word);
      take(restOfElement);
      continue;
    }
    // A list without its quotes, qop=auth,auth-int, is invalid, and yet can only mean one thing.
    const last = challenges.at(-1)?.parameters;
    if (/^auth(-int)?$/.test(word) && last?.has('qop')) {
      last.set('qop', `${last.get('qop')},${word}`);
      continue;
    }
    // The token68 of another scheme (NTLM TlRM) is taken for a scheme as well, which does no harm.
    challenges.push({ scheme: word, parameters: new Map(), malformed: new Set() });
  }
}

function readDigest({ parameters, malformed }: Challenge): DigestChallenge | undefined {
  if (['realm', 'nonce', 'opaque', 'algorithm', 'qop'].some((name) => malformed.has(name))) return undefined;
  const nonce = parameters.get('nonce');
  const wanted = (parameters.get('algorithm') ?? 'MD5').toUpperCase();
  const algorithm = algorithms.find((known) => known.toUpperCase() === wanted);
  // The source document prints `op` for Atlas. It is an unknown parameter, so the challenge has no qop.
  const qop = parameters
    .get('qop')
    ?.split(',')
    .map((value) => value.trim().toLowerCase());
  if (!nonce || !algorithm || (qop && !qop.includes('auth'))) return undefined;
  // The hash of a session has a client nonce in it (RFC 7616, section 3.4.2), which is sent with qop only; and the bytes
  // of a non-ASCII nonce are unknown.
  if ((algorithm.endsWith('-sess') && !qop) || !/^[\x20-\x7e]+$/.test(nonce)) return undefined;
  return {
    realm: parameters.get('realm') ?? '',
    nonce,
    opaque: parameters.get('opaque'),
    algorithm,
    qop: qop !== undefined,
    stale: parameters.get('stale')?.toLowerCase() === 'true',
  };
}

/** @returns the schemes of all challenges, in lower case */
export const schemesOf = (header: string | undefined): string[] =>
  splitChallenges(header ?? '').map(({ scheme }) => scheme);

/**
 * @param header the value of `WWW-Authenticate`; several headers are joined with commas, as Node does
 * @returns the strongest Digest challenge that this adapter can answer, whatever else the header offers
 */
export function readDigestChallenge(header: string | undefined): DigestChallenge | undefined {
  const challenges = splitChallenges(header ?? '')
    .filter((challenge) => challenge.scheme === 'digest')
    .map(readDigest)
    .filter((challenge) => challenge !== undefined);
  const strength = ({ algorithm }: DigestChallenge) => algorithms.indexOf(algorithm);
  return challenges.sort((one, other) => strength(one) - strength(other))[0];
}
