/** The connection to Atlas that is opened before anybody asks: what it saves, and that it never costs an answer. */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { makeCertificate, serveTls } from '../embedded/tls.ts';
import { createHttpClient } from '../lib/atlas/http-client.ts';
import { resolveTo } from './support/addresses.ts';
import { startFrozenProcess } from './support/frozen-process.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  privateKey,
  publicKey,
  secretId,
  secretsManager,
} from './support/harness.ts';
import { unasked } from './support/unasked.ts';

const certificate = await makeCertificate(['DNS:localhost']);

/** A reset closes it as well. */
const closing = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));

/** A way to the embedded Atlas, TLS included, that sees each connection and can be told what to do with it. */
async function startWay() {
  if (!certificate) throw new Error('there is no openssl');
  const near = await serveTls(certificate, atlas);
  const connections: Socket[] = [];
  let seen = Promise.withResolvers<Socket>();
  let carried = Promise.withResolvers<void>();
  const way = {
    /** What to do with a connection, by its number from 1; false: hand it on. */
    intercept: (_number: number, _socket: Socket): boolean => false,
    connections,
    /** The next connection, as soon as TLS is through. */
    next: () => seen.promise,
    /** Lets Atlas say something without being asked, on all its connections; resolves when it is on its way to the function. */
    async say(bytes: string) {
      // Atlas's side is connected when TLS is through.
      while (atlas.counters.connections < connections.length) await new Promise(setImmediate);
      carried = Promise.withResolvers();
      atlas.eachConnection((socket) => socket.write(bytes));
      await carried.promise;
    },
  };
  // Without Nagle's algorithm: what is written is there at once.
  const server = createServer({ noDelay: true }, (client) => {
    connections.push(client);
    client.on('error', () => undefined);
    if (way.intercept(connections.length, client)) return;
    const inner = connect(near.port, 'localhost');
    inner.on('error', () => undefined);
    client.pipe(inner).pipe(client);
    client.on('close', () => inner.destroy());
    // The session tickets: the handshake is over on the server's side.
    let records = 0;
    inner.on('data', () => {
      carried.resolve();
      records += 1;
      if (records < 2) return;
      seen.resolve(client);
      seen = Promise.withResolvers();
    });
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of connections) socket.destroy();
    near.close();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return Object.assign(way, { port, url: `https://localhost:${port}/api/atlas/v1.0` });
}

describe.skipIf(!certificate)('the early connection', () => {
  const own = tls.getCACertificates();
  beforeAll(() => certificate && tls.setDefaultCACertificates([...own, certificate.cert.toString()]));
  afterAll(() => tls.setDefaultCACertificates(own));
  beforeEach(allIsWell);

  test('is there before anybody asks, and nothing is sent on it; the first question uses it', async () => {
    const way = await startWay();
    const opened = way.next();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    await opened;
    expect(atlas.counters.requests).toBe(0);
    expect(await ask(handler)).toEqual({ document });
    expect(await ask(handler)).toEqual({ document });
    expect(way.connections).toHaveLength(1);
    expect(atlas.counters).toMatchObject({ requests: 3, challenges: 1 });
  });

  test('is waited for where the question comes first', async () => {
    const way = await startWay();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    const answers = await Promise.all([ask(handler), ask(handler), ask(handler)]);
    expect(answers).toEqual([{ document }, { document }, { document }]);
    expect(way.connections).toHaveLength(3);
    expect(atlas.counters.requests).toBe(4);
  });

  test('serves the access token of a service account as well', async () => {
    const way = await startWay();
    atlas.serviceAccounts['mdb_sa_id_early'] = 'mdb_sa_sk_early';
    secretsManager.secrets[secretId] = JSON.stringify({ clientId: 'mdb_sa_id_early', clientSecret: 'mdb_sa_sk_early' });
    expect(await ask(await coldStart({ ATLAS_BASE_URL: way.url }))).toEqual({ document });
    expect(way.connections).toHaveLength(1);
  });

  test.each([
    ['closed', (socket: Socket) => socket.destroy()],
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
  ])('%s by Atlas before the first question: another one is opened, in the same attempt', async (_, close) => {
    const way = await startWay();
    const opened = way.next();
    const output = captureOutput();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    close(await opened);
    expect(await ask(handler)).toEqual({ document });
    expect(way.connections).toHaveLength(2);
    expect(output.lines().at(-1)).toMatchObject({ attempts: 1 });
    expect(atlas.counters.requests).toBe(2);
  });

  test('closed by Atlas, which the function has noticed: no request is lost on it', async () => {
    const way = await startWay();
    const opened = way.next();
    const output = captureOutput();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    const socket = await opened;
    socket.end();
    // The other side closes, too.
    await closing(socket);
    expect(await ask(handler)).toEqual({ document });
    expect(output.lines().at(-1)).toMatchObject({ attempts: 1, AtlasRequests: 2 });
  });

  test('reset while the process was frozen, and bytes that nobody asked for on what is kept: the calls are answered', async () => {
    const way = await startWay();
    const folder = mkdtempSync(join(tmpdir(), 'atlas-live-migration-'));
    writeFileSync(join(folder, 'certificate.pem'), certificate?.cert ?? '');
    vi.stubEnv('NODE_EXTRA_CA_CERTS', join(folder, 'certificate.pem'));
    vi.stubEnv('ATLAS_BASE_URL', way.url);
    const opened = way.next();
    const environment = await startFrozenProcess();
    const socket = await opened;
    await environment.freeze();
    socket.resetAndDestroy();
    environment.thaw();
    expect(await environment.ask(1)).toEqual([{ document }]);
    for (const kind of ['a document', 'half a body', 'a 408'] as const) {
      await environment.freeze();
      // So the question is read first.
      const outcomes = environment.ask(1);
      await way.say(unasked[kind]);
      environment.thaw();
      expect(await outcomes).toEqual([{ document }]);
    }
    expect(way.connections).toHaveLength(2 + 3);
    await environment.end();
    rmSync(folder, { recursive: true });
  });

  test.each([
    ['a 408', 'unread', 0],
    ['a document', 'unread', 0],
    ['a document', 'read', 4],
    ['half a head', 'read', 4],
  ] as const)('%s that nobody asked for, %s when the question comes: another one is opened', async (kind, _, turns) => {
    const way = await startWay();
    const opened = way.next();
    const output = captureOutput();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    await opened;
    await way.say(unasked[kind]);
    for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
    expect(await ask(handler)).toEqual({ document });
    expect(output.lines()).toMatchObject([{ attempts: 1, AtlasRequests: 2 }]);
    expect(way.connections).toHaveLength(2);
  });

  test.each([
    ['a challenge', { publicKey, privateKey }],
    ['an access token', { clientId: 'mdb_sa_id_early', clientSecret: 'mdb_sa_sk_early' }],
  ])('a 408 to the request for %s: it is asked again on another one, in the same attempt', async (_, secret) => {
    const way = await startWay();
    atlas.serviceAccounts['mdb_sa_id_early'] = 'mdb_sa_sk_early';
    secretsManager.secrets[secretId] = JSON.stringify(secret);
    const output = captureOutput();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    atlas.intercept = (_request, response) => {
      atlas.intercept = undefined;
      response.writeHead(408, { connection: 'close' }).end();
      return true;
    };
    expect(await ask(handler)).toEqual({ document });
    expect(output.lines()).toMatchObject([{ attempts: 1, AtlasRequests: 3 }]);
    expect(way.connections).toHaveLength(2);
  });

  test('is not trusted after a long freeze', async () => {
    const way = await startWay();
    const opened = way.next();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    await opened;
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
    expect(await ask(handler)).toEqual({ document });
    expect(way.connections).toHaveLength(2);
  });

  // By a reset before TLS: the port of a server that is not there yet cannot be kept free.
  test('refused: the first question opens its own', async () => {
    const way = await startWay();
    way.intercept = (number, socket) => number === 1 && Boolean(socket.resetAndDestroy());
    const output = captureOutput();
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    expect(await ask(handler)).toEqual({ document });
    expect(way.connections).toHaveLength(2);
    expect(output.lines().at(-1)).toMatchObject({ attempts: 1, AtlasRequests: 2 });
  });

  test('silent: given up, and another one is opened in the same attempt', async () => {
    const way = await startWay();
    const came = Promise.withResolvers<void>();
    way.intercept = (number) => {
      came.resolve();
      return number === 1;
    };
    const output = captureOutput();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    await came.promise;
    const answer = ask(handler);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await answer).toEqual({ document });
    expect(way.connections).toHaveLength(2);
    expect(output.lines().at(-1)).toMatchObject({ attempts: 1, AtlasRequests: 2 });
  });

  test('with a certificate for another host: the failure is the usual one, and nothing was sent', async () => {
    const way = await startWay();
    const host = new URL(way.url).host.replace('localhost', '127.0.0.1');
    const output = captureOutput();
    expect(await ask(await coldStart({ ATLAS_BASE_URL: `https://${host}/api/atlas/v1.0` }))).toEqual({
      failure: 'AtlasUnexpectedAnswer',
      detail: `The TLS certificate of ${host} is not trusted (ERR_TLS_CERT_ALTNAME_INVALID).`,
    });
    expect(output.lines()).toMatchObject([{ attempts: 1 }]);
    expect(atlas.counters.requests).toBe(0);
  });

  test('a certificate that nobody vouches for is named, of Atlas and of Secrets Manager', async () => {
    const stranger = await makeCertificate(['DNS:localhost']);
    if (!stranger) throw new Error('there is no openssl');
    const server = await serveTls(stranger, atlas);
    onTestFinished(() => void server.close());
    const origin = `https://localhost:${server.port}`;
    expect(await ask(await coldStart({ ATLAS_BASE_URL: `${origin}/api/atlas/v1.0` }))).toEqual({
      failure: 'AtlasUnexpectedAnswer',
      detail: expect.stringMatching(
        /^The TLS certificate of localhost:\d+ is not trusted \([A-Z_]*SELF_SIGNED[A-Z_]*\)\. If a proxy or a firewall inspects TLS, set the deployment parameter caFile\.$/,
      ),
    });
    const another = { AWS_ENDPOINT_URL_SECRETS_MANAGER: origin, ATLAS_BASE_URL: atlas.baseUrl };
    expect(await ask(await coldStart(another))).toEqual({
      failure: 'SecretUnavailable',
      detail: expect.stringMatching(
        /Secrets Manager\. The TLS certificate of localhost is not trusted \([A-Z_]*SELF_SIGNED[A-Z_]*\)\. If a proxy .* caFile\.$/,
      ),
    });
  });

  test('a certificate that Node.js has no code for is one that is not trusted', async () => {
    const authority = await makeCertificate(['DNS:authority.invalid'], {
      subject: 'odd',
      extension: '1.2.3.4=critical,ASN1:UTF8String:x',
    });
    const odd = authority && (await makeCertificate(['DNS:localhost'], { issuer: authority, subject: 'server' }));
    if (!odd) throw new Error('there is no openssl');
    const own = tls.getCACertificates();
    onTestFinished(() => tls.setDefaultCACertificates(own));
    tls.setDefaultCACertificates([...own, authority.cert.toString()]);
    const server = await serveTls(odd, atlas);
    onTestFinished(() => void server.close());
    expect(await ask(await coldStart({ ATLAS_BASE_URL: `https://localhost:${server.port}/api/atlas/v1.0` }))).toEqual({
      failure: 'AtlasUnexpectedAnswer',
      detail: `The TLS certificate of localhost:${server.port} is not trusted (UNSPECIFIED).`,
    });
  });

  test('after an address that refuses, the next one of the same host is tried', async () => {
    const way = await startWay();
    resolveTo(['127.0.0.9', '127.0.0.1']);
    const handler = await coldStart({ ATLAS_BASE_URL: way.url });
    expect(await ask(handler)).toEqual({ document });
  });

  test('to another server than the one that is asked: closed', async () => {
    const [one, other] = [await startWay(), await startWay()];
    const server = (port: number) =>
      ({ protocol: 'https:', hostname: 'localhost', port: `${port}`, host: `localhost:${port}` }) as const;
    // So that it is not its own time limit that closes it.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { send, connectEarly } = createHttpClient(undefined);
    const opened = one.next();
    connectEarly(server(one.port));
    const closed = closing(await opened);
    const request = { method: 'GET', purpose: 'question', path: '/', headers: [] } as const;
    const answer = await send({ ...request, headers: [], server: server(other.port) }, new AbortController().signal);
    expect(answer.status).toBe(404);
    await closed;
    expect([one.connections.length, other.connections.length]).toEqual([1, 1]);
  });

  test('closed where no request comes', async () => {
    const way = await startWay();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const opened = way.next();
    await coldStart({ ATLAS_BASE_URL: way.url });
    const socket = await opened;
    const closed = closing(socket);
    await vi.advanceTimersByTimeAsync(3000);
    await closed;
    expect(way.connections).toHaveLength(1);
    expect(atlas.counters.requests).toBe(0);
  });

  test('not tried behind a proxy', async () => {
    const way = await startWay();
    await coldStart({ ATLAS_BASE_URL: way.url, HTTPS_PROXY: 'http://127.0.0.1:1' });
    // Connections are accepted in turn: had there been an early one, it would come before this one.
    const probe = connect(way.port, 'localhost');
    await once(probe, 'connect');
    probe.end('x');
    await once(probe, 'close');
    expect(way.connections).toHaveLength(1);
  });
});
