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

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const quotedString = '"(?:[^"\\\\]|\\\\.)*"';
const parameter = new RegExp(`[\\s,]*(${token})\\s*=\\s*(${quotedString}|${token})\\s*(?=,|$)`, 'y');
const scheme = new RegExp(`[\\s,]*(${token})(?:[ \\t]+(?!\\s*,|$)|\\s*(?=,|$))`, 'y');
const token68 = /[A-Za-z0-9._~+/-]+=*\s*(?=,|$)/y;

const unquote = (value: string) => (value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value);

type Challenge = { scheme: string; parameters: Map<string, string> };

/**
 * Splits a header value into challenges (RFC 9110, section 11.6.1): commas part challenges as well as parameters,
 * and may stand inside quoted strings, so only the grammar tells them apart.
 */
function splitChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match) at = pattern.lastIndex;
    return match;
  };
  while (at < header.length) {
    const pair = take(parameter);
    if (pair) {
      const [, name = '', value = ''] = pair;
      challenges.at(-1)?.parameters.set(name.toLowerCase(), unquote(value));
      continue;
    }
    const start = take(scheme);
    if (!start) break;
    challenges.push({ scheme: (start[1] ?? '').toLowerCase(), parameters: new Map() });
    parameter.lastIndex = at;
    if (!parameter.test(header)) take(token68);
  }
  return challenges;
}

function readDigest({ parameters }: Challenge): DigestChallenge | undefined {
  const nonce = parameters.get('nonce');
  const wanted = (parameters.get('algorithm') ?? 'MD5').toUpperCase();
  const algorithm = algorithms.find((known) => known.toUpperCase() === wanted);
  // `op` is what the source document prints for Atlas: a parameter that nobody knows is no qop.
  const qop = parameters
    .get('qop')
    ?.split(',')
    .map((value) => value.trim().toLowerCase());
  if (!nonce || !algorithm || (qop && !qop.includes('auth'))) return undefined;
  // The builder of the answer quotes these two as they are.
  const opaque = parameters.get('opaque');
  if (/["\\]/.test(nonce + (opaque ?? ''))) return undefined;
  return {
    realm: parameters.get('realm') ?? '',
    nonce,
    opaque,
    algorithm,
    qop: qop !== undefined,
    stale: parameters.get('stale')?.toLowerCase() === 'true',
  };
}

/**
 * @param header the value of `WWW-Authenticate`; several headers are joined with commas, as Node does
 * @returns the strongest Digest challenge that this adapter can answer, whatever else is offered beside it
 */
export function readDigestChallenge(header: string | undefined): DigestChallenge | undefined {
  const challenges = splitChallenges(header ?? '')
    .filter((challenge) => challenge.scheme === 'digest')
    .map(readDigest)
    .filter((challenge) => challenge !== undefined);
  const strength = ({ algorithm }: DigestChallenge) => algorithms.indexOf(algorithm);
  return challenges.sort((one, other) => strength(one) - strength(other))[0];
}
