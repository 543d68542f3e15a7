/** The file of the parameter `caFile`: each fault is refused by its own sentence before anything is deployed. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import tls, { rootCertificates } from 'node:tls';
import { afterAll, describe, expect, test, vi } from 'vitest';
import Bundle from '../deploy/bundle.ts';
import { readCaFile } from '../deploy/ca-file.ts';
import { makeCertificate } from '../embedded/tls.ts';
import { deploymentWith } from './support/template.ts';

const names = ['DNS:localhost'];
const root = await makeCertificate(names, { subject: 'Root' });
const [intermediate, server, self, weak, nameless] = root
  ? await Promise.all([
      makeCertificate(names, { subject: 'Intermediate', issuer: root }),
      makeCertificate(names, { subject: 'proxy.example.com', issuer: root, isAuthority: false }),
      makeCertificate(names, { subject: 'self', isAuthority: false }),
      makeCertificate(names, { subject: 'weak', key: 'rsa:1024' }),
      makeCertificate(names, { subject: '', issuer: root, isAuthority: false }),
    ])
  : [];
const pem = (certificate: { cert: Buffer } | undefined) => certificate?.cert.toString() ?? '';
const day = 86_400_000;
const dayAfter = (days: number) => new Date(Date.now() + days * day).toISOString().slice(0, 10);

const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** @returns its path, relative to the project */
function write(content: string | Buffer) {
  const path = join(folder, 'company.pem');
  writeFileSync(path, content);
  return relative(process.cwd(), path);
}

const messageOf = (caFile: string) =>
  deploymentWith({ caFile }).then(
    () => '',
    ({ message }: Error) => message,
  );

describe.skipIf(!root)('is refused', () => {
  const key = root?.key.toString() ?? '';
  const request = '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n';
  test.each<[string, string | Buffer, string]>([
    ['an empty file', '', 'which is not PEM: it has no line -----BEGIN CERTIFICATE-----'],
    ['DER', Buffer.from(pem(root).replace(/-----.*-----/g, ''), 'base64'), 'which is not PEM'],
    ['UTF-16', Buffer.from(`\ufeff${pem(root)}`, 'utf16le'), 'which is not PEM'],
    ['more than 64 kB', rootCertificates.join('\n'), 'which is larger than 64 kB'],
    ['a private key', key, 'which holds a private key: it must hold certificates only'],
    ['a private key after a certificate', pem(root) + key, 'which holds a private key'],
    [
      'a private key of an old format, encrypted',
      key.replaceAll('PRIVATE', 'EC PRIVATE').replace('\n', '\nProc-Type: 4,ENCRYPTED\n\n'),
      'which holds a private key',
    ],
    ['a request', request, 'which holds a CERTIFICATE REQUEST: it must hold blocks of the kind CERTIFICATE only'],
    ['a certificate that is cut off', pem(root).slice(0, 300), 'which has a damaged or missing BEGIN or END line'],
    ['a key that is too weak', pem(weak), 'whose certificate 1 (CN=weak) has a key of 1024 bits: it needs 2048'],
    ['one without a name', pem(nameless), 'whose certificate 1 (without a name) may not issue others'],
    [
      'a block of another kind',
      pem(root).replaceAll('BEGIN C', 'BEGIN TRUSTED C').replaceAll('END C', 'END TRUSTED C'),
      'which holds a TRUSTED CERTIFICATE',
    ],
    ['one that is damaged', pem(root).replace(/\n.{8}/, '\nAAAAAAAA'), 'whose certificate 1 is damaged'],
    ['the second one damaged', pem(root) + pem(self).replace(/\n.{8}/, '\nAAAAAAAA'), 'whose certificate 2 is damaged'],
    [
      "a server's certificate",
      pem(root) + pem(server),
      'whose certificate 2 (CN=proxy.example.com) may not issue others, as that of a server: the certificate of the authority that issued it is needed',
    ],
    [
      'an authority without the one above it',
      pem(intermediate),
      'whose certificate 1 (CN=Intermediate) was issued by CN=Root, whose certificate is missing',
    ],
  ])('%s', async (_, content, fault) => {
    const path = write(content);
    const message = await messageOf(path);
    expect(message).toContain(`caFile names ${path}, ${fault}`);
    // Nothing of a key is shown.
    expect(message).not.toContain(key.split('\n')[1]);
  });

  test('a file that is not there, and a folder', async () => {
    expect(await messageOf('no-such.pem')).toContain('caFile names no-such.pem, and there is no such file');
    expect(await messageOf('docs')).toContain('caFile names docs, which is a folder');
  });

  test('one that has expired, or is not valid yet', async () => {
    const path = write(pem(self) + pem(root));
    const now = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: now + 2 * day });
    expect(await messageOf(path)).toContain(`whose certificate 1 (CN=self) expired on ${dayAfter(-1)}`);
    vi.setSystemTime(now - 2 * day);
    expect(await messageOf(path)).toContain(`whose certificate 1 (CN=self) is not valid before ${dayAfter(2)}`);
    vi.useRealTimers();
  });

  test('where the stage that is deployed names it, and not where another one does', async () => {
    await expect(deploymentWith({}, { prod: { caFile: 'no-such.pem' } })).resolves.toBeDefined();
  });
});

test.skipIf(!root)('is taken with all that people leave in such files, and handed on without it', async () => {
  const content = `\ufeffSubject: CN=Root\r\n${pem(root).replaceAll('\n', '\r\n')}# the second\n${pem(intermediate)}${pem(root)}${pem(self)}`;
  const pasted = [
    pem(root).replace(/^/gm, '    '),
    pem(root).replaceAll('\n', '\r'),
    pem(root).replaceAll('CERTIFICATE', 'X509 CERTIFICATE'),
  ];
  for (const form of pasted) expect(readCaFile(write(form))).toBe(pem(root));
  const path = write(content);
  expect(await deploymentWith({ caFile: path })).toMatchObject({ caFile: path, caFileOfFunction: '/var/task/ca.pem' });
  expect(readCaFile(path)).toBe([root, intermediate, self].map(pem).join(''));
  expect(await deploymentWith()).toMatchObject({ caFile: '', caFileOfFunction: null });
});

test('an authority below one that Node.js knows needs no other one', async () => {
  expect(await messageOf(write(rootCertificates[0] ?? ''))).toBe('');
});

test.skipIf(!root)('is trusted where the function runs in the process of serverless-offline', async () => {
  const own = tls.getCACertificates();
  const trusted = () => tls.getCACertificates().map((certificate) => certificate.trim());
  const before = trusted();
  const { hooks } = new Bundle(
    { service: { custom: { deployment: { caFile: write(pem(root)) } } } } as never,
    {},
    {} as never,
  );
  await hooks['before:offline:start:init']?.();
  expect(before).not.toContain(pem(root).trim());
  expect(trusted()).toContain(pem(root).trim());
  // Node.js's own are still there.
  expect(trusted().length).toBeGreaterThan(rootCertificates.length);
  tls.setDefaultCACertificates(own);
});
