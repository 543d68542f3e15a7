/** TLS for the embedded servers, which speak plain HTTP: a certificate of our own, and a server that decrypts before them. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';

export type Certificate = { key: Buffer; cert: Buffer };

/**
 * @param names what the certificate is good for, such as `DNS:localhost` or `IP:127.0.0.1`
 * @param subject its common name
 * @param issuer who issues it; by default itself
 * @param isAuthority whether it may issue others
 * @param key its kind, as openssl names it
 * @param extension one more, as openssl writes it
 * @returns undefined where there is no openssl
 */
export async function makeCertificate(
  names: string[],
  {
    subject = 'embedded',
    issuer,
    isAuthority = true,
    key: kind = 'ec',
    extension,
  }: { subject?: string; issuer?: Certificate; isAuthority?: boolean; key?: string; extension?: string } = {},
): Promise<Certificate | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const [issuerKey, issuerCert] = [join(folder, 'issuer-key.pem'), join(folder, 'issuer.pem')];
  try {
    if (issuer) {
      writeFileSync(issuerKey, issuer.key);
      writeFileSync(issuerCert, issuer.cert);
    }
    await promisify(execFile)('openssl', [
      ...[
        'req',
        '-x509',
        '-newkey',
        kind,
        ...(kind === 'ec' ? ['-pkeyopt', 'ec_paramgen_curve:prime256v1'] : []),
        '-nodes',
        '-days',
        '1',
      ],
      ...[
        '-subj',
        subject ? `/CN=${subject}` : '/',
        '-addext',
        `subjectAltName=${names.join(',')}`,
        '-keyout',
        key,
        '-out',
        cert,
      ],
      ...['-addext', `basicConstraints=critical,CA:${isAuthority ? 'TRUE' : 'FALSE'}`],
      ...(extension ? ['-addext', extension] : []),
      ...(issuer ? ['-CA', issuerCert, '-CAkey', issuerKey] : []),
    ]);
    return { key: readFileSync(key), cert: readFileSync(cert) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Decrypts what comes in, and hands it to the plain server. */
export async function serveTls({ key, cert }: Certificate, plain: { server: Server }) {
  const server = createServer({ key, cert, noDelay: true }, (socket) => plain.server.emit('connection', socket));
  server.listen(0, 'localhost');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}
