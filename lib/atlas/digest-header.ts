/**
 * Makes `Authorization` headers for HTTP Digest with digest-fetch. This file holds all that has to be set right for
 * that package, so that it is asked for one thing: to hash and to write down what it is given.
 */

import { createHash } from 'node:crypto';
import { DigestClient } from 'digest-fetch';
import type { DigestAlgorithm, DigestChallenge } from './digest-challenge.ts';
import type { HttpRequest } from './http-client.ts';
import type { ApiKey } from './session.ts';

const hashNames: Record<string, string> = { MD5: 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512-256' };

/** H(username:realm:password) of RFC 7616, section 3.4.2, over the values without quotes and escapes, in the bytes that came. */
function hashedKey(algorithm: DigestAlgorithm, { publicKey, privateKey }: ApiKey, realm: string): string {
  const name = hashNames[algorithm.replace('-sess', '')] ?? '';
  return createHash(name).update(`${publicKey}:${realm}:${privateKey}`, 'latin1').digest('hex');
}

const escapeQuoted = (text: string) => text.replace(/["\\]/g, '\\$&');

/** One for each challenge, since hashing the key takes longer than the rest. */
const clients = new WeakMap<DigestChallenge, DigestClient>();

function clientFor(challenge: DigestChallenge, key: ApiKey): DigestClient {
  const known = clients.get(challenge);
  if (known) return known;
  const { realm, nonce, opaque, algorithm, qop } = challenge;
  // It would hash the user's name with the escapes that only belong into the header: so it gets the hash.
  const client = new DigestClient(escapeQuoted(key.publicKey), hashedKey(algorithm, key, realm), {
    algorithm,
    precomputedHash: true,
  });
  // Its parser looks for directives inside the text of others, its cnonce comes from Math.random, and it counts in decimal
  // and across nonces: so nothing of the server's is given to it to parse, and its fields are set here.
  client.hasAuth = true;
  Object.assign(client.digest, {
    scheme: 'Digest',
    realm: escapeQuoted(realm),
    nonce,
    opaque: opaque === undefined ? null : escapeQuoted(opaque),
    qop: qop ? 'auth' : null,
  });
  clients.set(challenge, client);
  return client;
}

/**
 * @param key always the same for one challenge
 * @param nonceCount how many requests have used this nonce, with this one (RFC 7616, section 3.4): never the same twice
 * @returns the header's value, with which the request answers the challenge
 */
export function authorization(
  challenge: DigestChallenge,
  key: ApiKey,
  { cnonce, nonceCount }: { cnonce: string; nonceCount: number },
  { method, path }: Pick<HttpRequest, 'method' | 'path'>,
): string {
  const { nonce, qop } = challenge;
  const client = clientFor(challenge, key);
  Object.assign(client.digest, { cnonce, nc: nonceCount.toString(16) });
  // Of a URL it uses the part after the host only.
  const { headers } = client.addAuth(`http://host${path}`, { method });
  // What is hashed is the nonce itself, what is sent is a quoted string (RFC 9110, section 5.6.4). No other directive
  // before it can hold these characters: quotes inside of them are escaped.
  const quoted = escapeQuoted(nonce);
  const header: string =
    quoted === nonce
      ? headers.Authorization
      : headers.Authorization.replace(`nonce="${nonce}"`, () => `nonce="${quoted}"`);
  // Both must be left out where the challenge has no qop (RFC 2617, section 3.2.2); digest-fetch always sends them.
  return qop ? header : header.replace(/,nc=[^,]*,cnonce="[^"]*"$/, '');
}
