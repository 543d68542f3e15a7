/** The file of the parameter `caFile`: certificates of a company's own authority, which the function trusts beside Node.js's. */

import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { rootCertificates } from 'node:tls';

/** In the zip, beside the function's own folder. */
export const caFileInZip = 'ca.pem';

/** Where Lambda unpacks the zip. @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html */
export const caFileOfFunction = `/var/task/${caFileInZip}`;

const MOST_BYTES = 64 * 1024;

const isIssuerOf = (issuer: X509Certificate, certificate: X509Certificate) =>
  certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);

/** A subject or issuer on one line, without what commands a terminal. */
const nameOf = (text: string | undefined) =>
  (text ?? '').replace(/\s+/g, ' ').replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?') || 'without a name';

/** A fault of the file, as the end of a sentence that begins with the parameter's name. */
class Fault extends Error {}

function readText(path: string): string {
  let bytes: Buffer;
  try {
    const kind = statSync(path);
    if (!kind.isFile())
      throw new Fault(`names ${path}, which is ${kind.isDirectory() ? 'a folder' : 'no regular file'}`);
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof Fault) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new Fault(`names ${path}, and there is no such file`);
    throw new Fault(`names ${path}, which can't be read (${code})`);
  }
  if (bytes.length > MOST_BYTES) throw new Fault(`names ${path}, which is larger than 64 kB`);
  // Indented where it was pasted from YAML; old systems end lines with a carriage return alone.
  return bytes
    .toString()
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .join('\n');
}

/** @param label what the block says that it is */
function readBlock(path: string, label: string, pem: string, number: number): X509Certificate {
  if (label.endsWith('PRIVATE KEY'))
    throw new Fault(`names ${path}, which holds a private key: it must hold certificates only`);
  if (label !== 'CERTIFICATE' && label !== 'X509 CERTIFICATE')
    throw new Fault(`names ${path}, which holds a ${label}: it must hold blocks of the kind CERTIFICATE only`);
  try {
    const certificate = new X509Certificate(pem.replaceAll(label, 'CERTIFICATE'));
    // Throws where the key is of an unknown kind.
    if (certificate.publicKey) return certificate;
  } catch {
    // As below.
  }
  throw new Fault(`names ${path}, whose certificate ${number} is damaged`);
}

/** A certificate with its place in the file and its subject, so that people find it. */
function judge(path: string, certificate: X509Certificate, number: number, all: X509Certificate[]) {
  const { subject, issuer, validFromDate, validToDate, ca } = certificate;
  const day = (date: Date) => date.toISOString().slice(0, 10);
  const named = `names ${path}, whose certificate ${number} (${nameOf(subject)})`;
  if (validToDate.getTime() <= Date.now()) throw new Fault(`${named} expired on ${day(validToDate)}`);
  if (validFromDate.getTime() > Date.now()) throw new Fault(`${named} is not valid before ${day(validFromDate)}`);
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details = {} } = certificate.publicKey;
  // OpenSSL trusts neither.
  if (kind === 'rsa' && (details.modulusLength ?? 0) < 2048)
    throw new Fault(`${named} has a key of ${details.modulusLength} bits: it needs 2048`);
  if (kind === 'ec' && !details.namedCurve) throw new Fault(`${named} has a key on a curve without a name`);
  if (isIssuerOf(certificate, certificate)) return;
  if (!ca)
    throw new Fault(
      `${named} may not issue others, as that of a server: the certificate of the authority that issued it is needed`,
    );
  // Node.js trusts a chain only where it ends in a certificate that issued itself.
  const isRooted =
    all.some((other) => isIssuerOf(other, certificate)) ||
    rootCertificates.some((root) => isIssuerOf(new X509Certificate(root), certificate));
  if (!isRooted) throw new Fault(`${named} was issued by ${nameOf(issuer)}, whose certificate is missing`);
}

/**
 * @param path relative to the project
 * @returns the certificates as PEM, each once, without what else was between them (names, a byte order mark)
 * @throws Fault
 */
function read(path: string): string {
  const text = readText(path);
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----/g)];
  const marks = text.match(/-----(BEGIN|END) /g)?.length ?? 0;
  if (marks === 0) throw new Fault(`names ${path}, which is not PEM: it has no line -----BEGIN CERTIFICATE-----`);
  // A key of an old format has headers with a hyphen.
  const [, key] = /-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----/.exec(text) ?? [];
  if (!key && marks !== 2 * blocks.length)
    throw new Fault(`names ${path}, which has a damaged or missing BEGIN or END line`);
  const certificates = key
    ? [readBlock(path, key, '', 1)]
    : blocks.map(([pem, label = ''], at) => readBlock(path, label, pem, at + 1));
  for (const [at, certificate] of certificates.entries()) judge(path, certificate, at + 1, certificates);
  return [...new Set(certificates.map(String))].join('');
}

/** @returns what is wrong with the file, as the end of a sentence that begins with the parameter's name */
export function faultOfCaFile(path: string): string | undefined {
  try {
    read(path);
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.message;
    throw error;
  }
}

export const readCaFile = read;
