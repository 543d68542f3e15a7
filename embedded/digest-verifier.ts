/**
 * The server's side of HTTP Digest, written from RFC 7616 alone: it shares no line with the code that it checks. It is
 * strict where Atlas may be, and says why it refused, so that a failing test explains itself.
 */

import { createHash, randomBytes } from 'node:crypto';

export type ChallengeForm = {
  realm: string;
  algorithm: 'MD5' | 'MD5-sess' | 'SHA-256' | 'SHA-256-sess' | 'SHA-512-256' | 'SHA-512-256-sess';
  /** Whether answers must carry qop, nonce count and client nonce, or must not. */
  qop: boolean;
  opaque?: string;
  /** Makes a nonce that was never used; else they are as Atlas's are. */
  nonce?(): string;
  header(nonce: string, stale: boolean): string;
};

const realm = 'MMS Public API';
const atlas = (algorithm: string, qop: string) => (nonce: string, stale: boolean) =>
  `Digest realm="${realm}", domain="", nonce="${nonce}", algorithm=${algorithm}, ${qop}stale=${stale}`;

/** Challenges that Atlas was seen to send or that a Digest server may send. */
export const challengeForms = {
  atlas: { realm, algorithm: 'MD5', qop: true, header: atlas('MD5', 'qop="auth", ') },
  op: { realm, algorithm: 'MD5', qop: false, header: atlas('MD5', 'op="auth", ') },
  'no-qop': { realm, algorithm: 'MD5', qop: false, header: atlas('MD5', '') },
  'auth-or-auth-int': { realm, algorithm: 'MD5', qop: true, header: atlas('MD5', 'qop="auth,auth-int", ') },
  'MD5-sess': { realm, algorithm: 'MD5-sess', qop: true, header: atlas('MD5-sess', 'qop="auth", ') },
  'SHA-256': { realm, algorithm: 'SHA-256', qop: true, header: atlas('SHA-256', 'qop="auth", ') },
  'SHA-512-256': { realm, algorithm: 'SHA-512-256', qop: true, header: atlas('SHA-512-256', 'qop="auth", ') },
  'SHA-256-sess': { realm, algorithm: 'SHA-256-sess', qop: true, header: atlas('SHA-256-sess', 'qop="auth", ') },
  'SHA-512-256-sess': {
    realm,
    algorithm: 'SHA-512-256-sess',
    qop: true,
    header: atlas('SHA-512-256-sess', 'qop="auth", '),
  },
  'SHA-256-or-MD5': {
    realm,
    algorithm: 'SHA-256',
    qop: true,
    header: (nonce, stale) =>
      `${atlas('MD5', 'qop="auth", ')(nonce, stale)}, ${atlas('SHA-256', 'qop="auth", ')(nonce, stale)}`,
  },
  'beside-other-schemes': {
    realm,
    algorithm: 'MD5',
    qop: true,
    header: (nonce, stale) =>
      `Basic realm="a, b", Bearer, Negotiate YWJj==, Other realm="c", nonce="d", ${atlas('MD5', 'qop="auth", ')(nonce, stale)}`,
  },
  escapes: {
    realm: 'MMS "Public", nonce="no" \\ API',
    algorithm: 'MD5',
    qop: true,
    opaque: 'opaque, qop=none',
    header: (nonce, stale) =>
      `Digest realm="MMS \\"Public\\", nonce=\\"no\\" \\\\ API",qop="auth",nonce="${nonce}",opaque="opaque, qop=none",stale=${stale}`,
  },
} satisfies Record<string, ChallengeForm>;

export type ChallengeName = keyof typeof challengeForms;

export type NonceRules = {
  /** Milliseconds that a nonce lives. */
  lifeMs: number;
  /** Answers that one nonce may get. */
  maxUses: number;
  /** Whether nonce counts must come in order, or only never twice. */
  inOrder: boolean;
};

export type Verdict = { accepted: true; user: string } | { accepted: false; stale: boolean; reason: string };

const directive = /\s*([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)/y;

function readAuthorization(header: string): Map<string, { value: string; quoted: boolean }> | undefined {
  const [, rest] = /^Digest (.*)$/.exec(header) ?? [];
  if (rest === undefined) return undefined;
  const directives = new Map<string, { value: string; quoted: boolean }>();
  directive.lastIndex = 0;
  while (directive.lastIndex < rest.length) {
    const match = directive.exec(rest);
    if (!match) return undefined;
    const [, name = '', quoted, bare] = match;
    if (directives.has(name)) return undefined;
    directives.set(name, { value: quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '', quoted: quoted !== undefined });
  }
  return directives;
}

/** RFC 7616, section 3.4.1 to 3.4.3, and RFC 2069, section 2.1.2 where there is no qop. */
export function expectedResponse(
  algorithm: ChallengeForm['algorithm'],
  a1: { user: string; realm: string; password: string },
  a2: { method: string; uri: string },
  { nonce, nc, cnonce, qop }: { nonce: string; nc?: string; cnonce?: string; qop?: string },
): string {
  const hashes = { MD5: 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512-256' };
  const hash = hashes[algorithm.replace('-sess', '') as keyof typeof hashes];
  const h = (text: string) => createHash(hash).update(text).digest('hex');
  let ha1 = h([a1.user, a1.realm, a1.password].join(':'));
  if (algorithm.endsWith('-sess')) ha1 = h([ha1, nonce, cnonce].join(':'));
  const ha2 = h([a2.method, a2.uri].join(':'));
  return h(qop === undefined ? [ha1, nonce, ha2].join(':') : [ha1, nonce, nc, cnonce, qop, ha2].join(':'));
}

export function createDigestVerifier(passwordOf: (user: string) => string | undefined) {
  const nonces = new Map<string, { bornAt: number; counts: Set<number>; highest: number }>();

  const verify = (header: string, method: string, uri: string, form: ChallengeForm, rules: NonceRules): Verdict => {
    const refuse = (reason: string, stale = false): Verdict => ({ accepted: false, stale, reason });
    const directives = readAuthorization(header);
    if (!directives) return refuse('not a list of directives, each once');
    const get = (name: string) => directives.get(name)?.value;

    for (const name of ['username', 'realm', 'nonce', 'uri', 'response', 'cnonce', 'opaque']) {
      if (directives.get(name)?.quoted === false) return refuse(`${name} is not quoted`);
    }
    for (const name of ['algorithm', 'qop', 'nc']) if (directives.get(name)?.quoted) return refuse(`${name} is quoted`);
    if (get('realm') !== form.realm) return refuse('another realm');
    if (get('opaque') !== form.opaque) return refuse('opaque was not returned unchanged');
    if (get('uri') !== uri) return refuse('uri is not the request target');
    if ((get('algorithm') ?? 'MD5') !== form.algorithm) return refuse('another algorithm');

    const [user = '', nonce = '', nc, cnonce, qop] = ['username', 'nonce', 'nc', 'cnonce', 'qop'].map(get);
    if (form.qop) {
      if (qop !== 'auth') return refuse('qop is not auth');
      if (!cnonce || !nc || !/^[0-9a-f]{8}$/.test(nc))
        return refuse('no cnonce, or nc is not 8 lower-case hexadecimal digits');
    } else if (qop ?? nc ?? cnonce) return refuse('qop, nc or cnonce although no qop was offered');

    const password = passwordOf(user);
    if (password === undefined) return refuse('unknown user');
    const given = { nonce, ...(form.qop ? { nc, cnonce, qop } : {}) } as Parameters<typeof expectedResponse>[3];
    if (
      get('response') !==
      expectedResponse(form.algorithm, { user, realm: form.realm, password }, { method, uri }, given)
    ) {
      return refuse('the response does not match');
    }

    const known = nonces.get(nonce);
    if (!known || Date.now() - known.bornAt >= rules.lifeMs) return refuse('the nonce is unknown or too old', true);
    if (!form.qop) return { accepted: true, user };
    const count = Number.parseInt(nc ?? '', 16);
    if (known.counts.size >= rules.maxUses) return refuse('the nonce is used up', true);
    if (count < 1 || known.counts.has(count)) return refuse(`nonce count ${count} came twice`);
    if (rules.inOrder && count !== known.highest + 1) return refuse(`nonce count ${count} after ${known.highest}`);
    known.counts.add(count);
    known.highest = Math.max(known.highest, count);
    return { accepted: true, user };
  };

  const challenge = (form: ChallengeForm, stale: boolean): string => {
    // 32 base64 characters, as Atlas's are; they may hold + and /.
    const nonce = form.nonce?.() ?? randomBytes(24).toString('base64');
    nonces.set(nonce, { bornAt: Date.now(), counts: new Set(), highest: 0 });
    return form.header(nonce, stale);
  };

  return { challenge, verify, forgetNonces: () => nonces.clear() };
}
