/** Through a proxy: https to Atlas, Secrets Manager and DynamoDB, in a network that has no other way out. */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { startEmbeddedDynamoDB } from '../embedded/dynamodb.ts';
import { makeCertificate, serveTls } from '../embedded/tls.ts';
import { startConnectProxy } from './support/connect-proxy.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  doorNames,
  liveMigrationId,
  secretsManager,
} from './support/harness.ts';

// Names that never resolve (RFC 6761, section 6.4): nothing but the proxy can reach them.
const [atlasHost, secretsHost, tableHost] = ['api.atlas.invalid', 'secretsmanager.invalid', 'dynamodb.invalid'];
const certificate = await makeCertificate(
  ['localhost', atlasHost, secretsHost, tableHost].map((host) => `DNS:${host}`),
);

describe.skipIf(!certificate)('through a proxy', () => {
  const own = tls.getCACertificates();
  const routes: Record<string, number> = {};
  const servers: { close(): unknown }[] = [];

  beforeAll(async () => {
    if (!certificate) return;
    tls.setDefaultCACertificates([...own, certificate.cert.toString()]);
    for (const [host, plain] of [
      [atlasHost, atlas],
      [secretsHost, secretsManager],
    ] as const) {
      const server = await serveTls(certificate, plain);
      servers.push(server);
      routes[`${host}:443`] = server.port;
    }
  });
  afterAll(() => {
    tls.setDefaultCACertificates(own);
    for (const server of servers) server.close();
  });
  beforeEach(() => {
    allIsWell();
    vi.stubEnv('ATLAS_BASE_URL', `https://${atlasHost}/api/atlas/v1.0`);
    vi.stubEnv('AWS_ENDPOINT_URL_SECRETS_MANAGER', `https://${secretsHost}`);
  });

  async function startProxy(login?: string, known = routes) {
    const proxy = await startConnectProxy(known, login);
    onTestFinished(proxy.close);
    return proxy;
  }

  const tunnels = [`${secretsHost}:443 200`, `${atlasHost}:443 200`];

  describe.each([
    ['without a password', undefined],
    ['with a password', 'user:p%40ss'],
  ])('%s', (_, login) => {
    test.each(doorNames)('a question through %s is answered, over one tunnel to each', async (door) => {
      const proxy = await startProxy(login && decodeURIComponent(login));
      const url = `http://${login ? `${login}@` : ''}${proxy.host}`;
      const handler = await coldStart({ HTTPS_PROXY: url });
      expect(await ask(handler, door)).toEqual({ document });
      expect(await ask(handler, door)).toEqual({ document });
      expect(proxy.log).toEqual(tunnels);
      expect(atlas.counters).toMatchObject({ requests: 3, connections: 1 });
    });
  });

  test('the table of shared answers is reached through it as well, over one tunnel', async () => {
    const dynamoDB = await startEmbeddedDynamoDB();
    onTestFinished(dynamoDB.close);
    if (!certificate) throw new Error('There is no certificate.');
    const server = await serveTls(certificate, dynamoDB);
    onTestFinished(() => void server.close());
    const proxy = await startProxy(undefined, { ...routes, [`${tableHost}:443`]: server.port });
    const handler = await coldStart({
      HTTPS_PROXY: proxy.url,
      AWS_ENDPOINT_URL_DYNAMODB: `https://${tableHost}`,
      ANSWER_TABLE: dynamoDB.table,
      ANSWER_FRESHNESS_SECONDS: '5',
    });
    expect(await ask(handler)).toEqual({ document });
    expect(await dynamoDB.items()).toMatchObject([{ entry: {} }]);
    expect(proxy.log.toSorted()).toEqual([...tunnels, `${tableHost}:443 200`].toSorted());
  });

  test('a tunnel that was closed between two requests is made again', async () => {
    const proxy = await startProxy();
    const handler = await coldStart({ HTTPS_PROXY: proxy.url });
    await ask(handler);
    proxy.closeConnections();
    expect(await ask(handler)).toEqual({ document });
    expect(proxy.log).toEqual([...tunnels, `${atlasHost}:443 200`]);
  });

  test('the names in lower case win', async () => {
    const [proxy, other] = [await startProxy(), await startProxy()];
    const handler = await coldStart({
      HTTPS_PROXY: other.url,
      https_proxy: proxy.url,
      NO_PROXY: '*',
      no_proxy: 'example.com',
    });
    expect(await ask(handler)).toEqual({ document });
    expect([proxy.log, other.log]).toEqual([tunnels, []]);
  });

  test.each([
    ['the host', atlasHost],
    ['its domain', 'atlas.invalid'],
    ['its domain, with a dot', '.atlas.invalid'],
    ['its domain, with an asterisk', '*.atlas.invalid'],
    ['among others', 'example.com, atlas.invalid,example.org'],
    ['separated by spaces', 'example.com atlas.invalid'],
    ['host and port', `${atlasHost}:443`],
    ['in capitals', 'ATLAS.INVALID'],
  ])('NO_PROXY takes a host out: %s', async (_, noProxy) => {
    const proxy = await startProxy();
    const handler = await coldStart({ HTTPS_PROXY: proxy.url, NO_PROXY: noProxy });
    expect(await ask(handler)).toEqual({
      failure: 'AtlasUnavailable',
      detail: `The connection to ${atlasHost} failed or broke (ENOTFOUND).`,
    });
    expect(proxy.log).toEqual([`${secretsHost}:443 200`]);
  });

  test.each(['las.invalid', 'invalid.example.com', 'api'])('NO_PROXY=%s does not', async (noProxy) => {
    const proxy = await startProxy();
    expect(await ask(await coldStart({ HTTPS_PROXY: proxy.url, NO_PROXY: noProxy }))).toEqual({ document });
    expect(proxy.log).toEqual(tunnels);
  });

  test('a connection that needs no tunnel outlives the limit of tunnels', async () => {
    const proxy = await startProxy();
    const handler = await coldStart({
      HTTPS_PROXY: proxy.url,
      ATLAS_BASE_URL: `https://localhost:${routes[`${atlasHost}:443`]}`,
    });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    atlas.intercept = (request, response) => {
      if (!request.headers.authorization) return false;
      // Longer than a tunnel may take, and shorter than an attempt may.
      vi.advanceTimersByTime(2200);
      atlas.answer(request, response);
      return true;
    };
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.counters.connections).toBe(1);
  });

  test('loopback is never proxied', async () => {
    const proxy = await startProxy();
    const handler = await coldStart({
      HTTPS_PROXY: proxy.url,
      ATLAS_BASE_URL: `https://localhost:${routes[`${atlasHost}:443`]}`,
      AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin,
    });
    expect(await ask(handler)).toEqual({ document });
    expect(proxy.log).toEqual([]);
  });

  describe('a proxy that', () => {
    const closed: Promise<unknown>[] = [];
    /** A server that does with each connection what it is told. */
    async function serve(take: (socket: Socket) => void) {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        closed.push(new Promise((resolve) => socket.once('close', resolve)));
        socket.resume();
        take(socket);
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      onTestFinished(() => void server.close());
      return `127.0.0.1:${(server.address() as AddressInfo).port}`;
    }
    const drip = (socket: Socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const drop = setInterval(() => socket.write('x: y\r\n'), 10);
      socket.on('close', () => clearInterval(drop));
    };
    const password = 'PROXY-PASSWORD';

    const faults: [what: string, start: () => Promise<string>, reason: RegExp, limits?: Record<string, number>][] = [
      ['is not there', async () => '127.0.0.1:1', /ECONNREFUSED/],
      ['has a name that nobody knows', async () => 'proxy.invalid:3128', /ENOTFOUND/],
      ['says nothing', () => serve(() => undefined), /not within 50 ms/, { tunnelMs: 50 }],
      [
        'says nothing after it has made a tunnel',
        () => serve((socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n')),
        /not within 50 ms/,
        { tunnelMs: 50 },
      ],
      ['drips', () => serve((socket) => drip(socket)), /not within 50 ms/, { tunnelMs: 50 }],
      [
        'refuses and keeps the connection',
        () => serve((socket) => socket.write('HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n')),
        /HTTP 502/,
      ],
      ['resets', () => serve((socket) => socket.resetAndDestroy()), /ECONNRESET/],
      ['hangs up', () => serve((socket) => socket.end()), /ERR_PROXY_TUNNEL/],
      ['is no proxy', () => serve((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n\r\n')), /ERR_PROXY_TUNNEL/],
      ['wants another password', async () => (await startProxy('user:other')).host, /HTTP 407/],
      ['does not reach the server', async () => (await startProxy(undefined, {})).host, /HTTP 502/],
    ];

    test.each(faults)(
      '%s is named as the reason, for Atlas and for the secret, without its password',
      async (...fault) => {
        const [, start, reason, tunnel = {}] = fault;
        const limits = { 'proxy.ts': tunnel };
        const output = captureOutput();
        const host = await start();
        const environment = { HTTPS_PROXY: `http://user:${password}@${host}` };
        const beside = { AWS_ENDPOINT_URL_SECRETS_MANAGER: secretsManager.origin };
        const fromAtlas = await ask(await coldStart({ ...environment, ...beside }, limits));
        vi.stubEnv('AWS_ENDPOINT_URL_SECRETS_MANAGER', `https://${secretsHost}`);
        const fromSecret = await ask(await coldStart(environment, limits));
        for (const [outcome, failure] of [
          [fromAtlas, 'AtlasUnavailable'],
          [fromSecret, 'SecretUnavailable'],
        ] as const) {
          expect(outcome).toEqual({ failure, detail: expect.stringMatching(reason) });
          expect(outcome).toHaveProperty('detail', expect.stringContaining(` through the proxy ${host} (`));
        }
        const told = `${output.text()}${JSON.stringify([fromAtlas, fromSecret])}`;
        expect(told).toContain(liveMigrationId);
        expect(told).not.toContain(password);
        expect(told).not.toContain(Buffer.from(`user:${password}`).toString('base64'));
        // No connection is left open.
        await Promise.all(closed.splice(0));
      },
    );
  });
});
