/** The secret: every spelling of it, and how it is kept fresh. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FailureName } from '#contract';
import { readSecret } from '../lib/secret/format.ts';
import { startSilentPort } from './support/addresses.ts';
import {
  allIsWell,
  ask,
  atlas,
  captureOutput,
  coldStart,
  document,
  groupId,
  liveMigrationId,
  privateKey,
  publicKey,
  secretId,
  secretsManager,
} from './support/harness.ts';

beforeEach(allIsWell);

const clientId = 'mdb_sa_id_66f0c0ffee';

describe('an API key', () => {
  test.each([
    ['publicKey and privateKey', { publicKey, privateKey }],
    ['as CloudFormation writes it', { PublicKey: publicKey, PrivateKey: privateKey, IsMongoDBGovCloud: false }],
    ['as Terraform writes it', { public_key: publicKey, private_key: privateKey }],
    ['as the Kubernetes operator writes it', { publicApiKey: publicKey, privateApiKey: privateKey, orgId: 'x' }],
    ['username and apiKey', { username: publicKey, apiKey: privateKey }],
    ['in capitals', { PUBLIC_KEY: publicKey, PRIVATE_KEY: privateKey }],
    ['with spaces around', { publicKey: ` ${publicKey}\n`, privateKey: `\t${privateKey} ` }],
    ['beside half a service account', { clientId, publicKey, privateKey }],
    ['beside half of another key', { username: 'somebody', publicKey, privateKey }],
    ['with blanks around the names', { 'publicKey ': publicKey, '\tprivate key\n': privateKey }],
    ['with hyphens', { 'public-key': publicKey, 'private-api-key': 'x', 'private-key': privateKey }],
    [
      'as the variables of the environment',
      { MONGODB_ATLAS_PUBLIC_KEY: publicKey, MONGODB_ATLAS_PRIVATE_KEY: privateKey },
    ],
    ['as other variables', { MONGODB_ATLAS_PUBLIC_API_KEY: publicKey, 'mongodb-atlas-private-api-key': privateKey }],
    ['beside the empty fields of a form', { publicKey, privateKey, public_key: '', private_key: ' ' }],
    ['beside empty fields that come first', { public_key: null, private_key: '', publicKey, privateKey }],
    ['twice, alike', { publicKey, privateKey, public_key: ` ${publicKey}`, private_key: privateKey }],
    ['beside fields of others that differ', { publicKey, privateKey, orgId: '1', org_id: '2' }],
  ])('%s', async (_, secret) => {
    secretsManager.secrets[secretId] = JSON.stringify(secret);
    expect(await ask(await coldStart())).toEqual({ document });
  });
});

test('a byte order mark before the JSON is passed over', async () => {
  secretsManager.secrets[secretId] = `\uFEFF${JSON.stringify({ publicKey, privateKey })}`;
  expect(await ask(await coldStart())).toEqual({ document });
});

test.each([
  [{ publicKey, privateKey, public_key: 'other' }, 'two values for one field: publicKey and public_key differ'],
  [{ publicKey, privateKey, MONGODB_ATLAS_PRIVATE_KEY: 'x' }, 'privateKey and MONGODB_ATLAS_PRIVATE_KEY differ'],
  [{ publicKey, privateKey, baseUrl: 'https://a.example.com', base_url: 'https://b.example.com' }, 'base_url differ'],
  [{ publicKey: 'mdb_sa_id_66f', privateKey: 'mdb_sa_sk_77f' }, 'name them clientId and clientSecret'],
  [{ username: 'x', apiKey: 'mdb_sa_sk_77f' }, 'a service account in the fields of an API key'],
  ...['yes', 'tru', 1, 0, {}, [true], 'government'].map((flag): [object, string] => [
    { publicKey, privateKey, isMongoDBGovCloud: flag },
    'isMongoDBGovCloud that is neither true nor false',
  ]),
])('%j is SecretInvalid: no key is sent anywhere, and no value is shown', (secret, words) => {
  const read = () => readSecret(JSON.stringify(secret), 'x', undefined);
  expect(read).toThrow(expect.objectContaining({ name: 'SecretInvalid', message: expect.stringContaining(words) }));
  expect(read).not.toThrow(/mdb_sa_(id|sk)|example\.com|other\.|tru\b/);
});

describe('where Atlas is', () => {
  const key = { publicKey, privateKey };
  const read = (secret: object) => readSecret(JSON.stringify({ ...key, ...secret }), 'x', undefined).baseUrl;
  test.each<[string, object, string, string]>([
    ['by default', {}, 'https://cloud.mongodb.com/api/atlas/v1.0', 'v1.0'],
    [
      'an origin gets the path',
      { baseUrl: 'https://cloud.mongodb.com' },
      'https://cloud.mongodb.com/api/atlas/v1.0',
      'v1.0',
    ],
    [
      'an origin with a slash',
      { base_url: 'https://cloud.mongodb.com/' },
      'https://cloud.mongodb.com/api/atlas/v1.0',
      'v1.0',
    ],
    ['v2', { BaseUrl: 'https://cloud.mongodb.com/api/atlas/v2/' }, 'https://cloud.mongodb.com/api/atlas/v2', 'v2'],
    ['the government cloud', { IsMongoDBGovCloud: true }, 'https://cloud.mongodbgov.com/api/atlas/v1.0', 'v1.0'],
    ...['true', 'True', 'TRUE', 'true ', ' tRuE\n'].map((flag): [string, object, string, string] => [
      `the government cloud, in words: "${flag}"`,
      { IsMongoDBGovCloud: flag },
      'https://cloud.mongodbgov.com/api/atlas/v1.0',
      'v1.0',
    ]),
    ...[false, 'false', 'False ', null, '', ' '].map((flag): [string, object, string, string] => [
      `the commercial cloud, with the flag ${JSON.stringify(flag)}`,
      { is_mongodb_gov_cloud: flag },
      'https://cloud.mongodb.com/api/atlas/v1.0',
      'v1.0',
    ]),
    [
      'a base URL beside the government flag',
      { baseUrl: 'https://gov.example.com/api/atlas/v2', isMongoDBGovCloud: true },
      'https://gov.example.com/api/atlas/v2',
      'v2',
    ],
    ['an empty base URL', { baseUrl: '' }, 'https://cloud.mongodb.com/api/atlas/v1.0', 'v1.0'],
    [
      'http on a loopback address',
      { baseUrl: 'http://127.0.0.1:8080/api/atlas/v2' },
      'http://127.0.0.1:8080/api/atlas/v2',
      'v2',
    ],
  ])('%s', (_, secret, href, version) => {
    const { server, path, version: found } = read(secret);
    expect(`${server.protocol}//${server.host}${path}`).toBe(href);
    expect(found).toBe(version);
  });

  test.each([
    'http://cloud.mongodb.com',
    'ftp://cloud.mongodb.com',
    'cloud.mongodb.com',
    'https://a:b@cloud.mongodb.com',
    'https://cloud.mongodb.com/api/atlas',
    'https://cloud.mongodb.com/api/atlas/v2?x=y',
    'http://127.0.0.1.example.com',
  ])('%s cannot be used', (baseUrl) => {
    expect(() => read({ baseUrl })).toThrow(/baseUrl that cannot be used: it must be an https URL/);
  });

  test('a base URL that is no text cannot be used', () => {
    expect(() => readSecret(JSON.stringify({ ...key, baseUrl: { url: 'x' } }), 'x', undefined)).toThrow(
      /baseUrl that cannot be used/,
    );
  });

  test("the secret's base URL is asked, in its version", async () => {
    secretsManager.secrets[secretId] = JSON.stringify({ ...key, baseUrl: `${atlas.origin}/api/atlas/v2` });
    // Behind a proxy no connection is opened early: that would go to the real Atlas here.
    const handler = await coldStart({ ATLAS_BASE_URL: '', HTTPS_PROXY: 'http://127.0.0.1:1' });
    expect(await ask(handler)).toEqual({ document });
    expect(atlas.seen[0]).toMatchObject({
      url: expect.stringMatching(/^\/api\/atlas\/v2\//),
      headers: { accept: 'application/vnd.atlas.2023-01-01+json' },
    });
  });

  test("the environment's base URL wins over the secret's", async () => {
    secretsManager.secrets[secretId] = JSON.stringify({ ...key, baseUrl: 'https://127.0.0.1:1' });
    expect(await ask(await coldStart())).toEqual({ document });
  });
});

describe('a key for each project', () => {
  const otherGroup = 'aaaaaaaaaaaaaaaaaaaaaaaa';

  test('{groupId} in the id of the secret is replaced', async () => {
    atlas.keys['otherkey'] = 'other-private-key';
    atlas.projects[otherGroup] = atlas.projects[groupId] ?? {};
    secretsManager.secrets = {
      [`atlas/${groupId}`]: JSON.stringify({ publicKey, privateKey }),
      [`atlas/${otherGroup}`]: JSON.stringify({ publicKey: 'otherkey', privateKey: 'other-private-key' }),
    };
    const handler = await coldStart({ ATLAS_SECRET_ID: 'atlas/{groupId}' });
    expect(await ask(handler)).toEqual({ document });
    expect(await ask(handler, 'direct', { groupId: otherGroup, liveMigrationId })).toEqual({
      document: { ...document, groupId: otherGroup },
    });
    expect(atlas.seen.map(({ headers }) => /username="(\w+)"/.exec(headers.authorization ?? '')?.[1])).toEqual([
      publicKey,
      'otherkey',
    ]);
  });

  describe.each([
    ['ResourceNotFoundException', false],
    [
      "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion.",
      false,
    ],
    ['AccessDeniedException', true],
  ])('a project whose secret ends in %s', (name, denied) => {
    const failing = async () => {
      vi.useFakeTimers({ toFake: ['Date'] });
      secretsManager.secrets = { [`atlas/${groupId}`]: JSON.stringify({ publicKey, privateKey }) };
      const [type = '', message] = name.split(': ');
      secretsManager.error = { status: 400, name: type, ...(message && { message }) };
      return coldStart({ ATLAS_SECRET_ID: 'atlas/{groupId}' });
    };

    test('is not found, and Secrets Manager is asked about it every 10 s at most', async () => {
      const handler = await failing();
      for (let call = 0; call < 3; call += 1) {
        expect(await ask(handler)).toEqual({
          failure: 'ProjectNotFound',
          detail: `This service has no Atlas key for project ${groupId}.`,
        });
      }
      expect(secretsManager.counters.reads).toBe(1);
      vi.setSystemTime(Date.now() + 10_000);
      secretsManager.error = undefined;
      expect(await ask(handler)).toEqual({ document });
      expect(secretsManager.counters.reads).toBe(2);
    });

    test('is in the log and in a metric where it was denied', async () => {
      const output = captureOutput();
      const handler = await failing();
      for (let call = 0; call < 2; call += 1) await ask(handler);
      const told = output.lines().map((line) => [line['secretDenied'], line['Unanswered']]);
      expect(told).toEqual(Array(2).fill(denied ? [true, 1] : [undefined, undefined]));
    });
  });

  test('is not found either where its key was held, and Atlas refuses it', async () => {
    secretsManager.secrets = { [`atlas/${groupId}`]: JSON.stringify({ publicKey, privateKey }) };
    const handler = await coldStart({ ATLAS_SECRET_ID: 'atlas/{groupId}' });
    await ask(handler);
    atlas.keys = {};
    secretsManager.error = { status: 400, name: 'ResourceNotFoundException' };
    expect(await ask(handler)).toMatchObject({ failure: 'ProjectNotFound' });
  });

  test('does not hide that the one secret of all cannot be read', async () => {
    secretsManager.error = { status: 400, name: 'AccessDeniedException' };
    expect(await ask(await coldStart())).toMatchObject({ failure: 'SecretInvalid' });
  });

  test('is SecretInvalid where it can be read and not used', async () => {
    secretsManager.secrets = { [`atlas/${groupId}`]: '{}' };
    expect(await ask(await coldStart({ ATLAS_SECRET_ID: 'atlas/{groupId}' }))).toMatchObject({
      failure: 'SecretInvalid',
    });
  });
});

test('the secrets of a limited number of projects are kept, and the one goes that was not asked about for longest', async () => {
  vi.resetModules();
  expect((await import('../lib/remember.ts')).limits).toEqual({ entries: 1000 });
  const projects = Array.from({ length: 11 }, (_, at) => at.toString(16).padStart(24, '0'));
  const text = JSON.stringify({ publicKey, privateKey });
  for (const project of projects) secretsManager.secrets[`atlas/${project}`] = text;
  const handler = await coldStart({ ATLAS_SECRET_ID: 'atlas/{groupId}' }, { 'remember.ts': { entries: 10 } });
  const askAbout = (project = '') => ask(handler, 'direct', { groupId: project });
  for (const project of projects) await askAbout(project);
  expect(secretsManager.counters.reads).toBe(11);
  await askAbout(projects[1]);
  expect(secretsManager.counters.reads).toBe(11);
  await askAbout(projects[0]);
  expect(secretsManager.counters.reads).toBe(12);
  // It took the place of the third one: the second one was asked about later.
  await askAbout(projects[1]);
  expect(secretsManager.counters.reads).toBe(12);
});

test('the secret is asked for three times in all where Secrets Manager fails', async () => {
  const failing = (times: number) => {
    let left = times;
    secretsManager.intercept = (_request, response) => {
      left -= 1;
      if (left >= 0) response.writeHead(500).end('{"__type":"InternalServiceError"}');
      return left >= 0;
    };
  };
  failing(2);
  expect(await ask(await coldStart())).toEqual({ document });
  expect(secretsManager.counters.reads).toBe(3);
  failing(Number.POSITIVE_INFINITY);
  // The first reading began when the function started, and the question waits for it.
  expect(await ask(await coldStart())).toMatchObject({ failure: 'SecretUnavailable' });
  expect(secretsManager.counters.reads).toBe(6);
});

test('the secret is asked for again where one request hangs for two seconds', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const { promise: isHanging, resolve } = Promise.withResolvers<void>();
  secretsManager.intercept = () => {
    secretsManager.intercept = undefined;
    resolve();
    return true;
  };
  const answer = ask(await coldStart());
  await isHanging;
  await vi.advanceTimersByTimeAsync(2000);
  // The pause of the SDK before its second request is drawn by chance.
  await vi.advanceTimersByTimeAsync(200);
  expect(await answer).toEqual({ document });
});

// How a full queue drops connections is a matter of the system.
test.skipIf(process.platform !== 'linux')(
  'the secret is asked for again within three seconds where no connection comes about',
  async () => {
    const endpoint = `http://127.0.0.1:${await startSilentPort('127.0.0.1')}`;
    let connections = 0;
    const count = () => {
      connections += 1;
    };
    subscribe('net.client.socket', count);
    onTestFinished(() => void unsubscribe('net.client.socket', count));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const answer = ask(await coldStart({ AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint }));
    // The pause of the SDK before its next attempt is drawn by chance.
    while (connections < 2) {
      await vi.advanceTimersByTimeAsync(10);
      await new Promise(setImmediate);
    }
    const waitedMs = performance.now();
    await vi.advanceTimersByTimeAsync(3000);
    expect(await answer).toMatchObject({ failure: 'SecretUnavailable' });
    expect(waitedMs).toBeLessThan(3000);
  },
);

test('a refresh that hangs delays a call by one second, and a first read by three', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '0' });
  await ask(handler);
  const hangs = () => {
    const came = Promise.withResolvers<void>();
    secretsManager.intercept = () => {
      came.resolve();
      return true;
    };
    return came.promise;
  };
  let isHanging = hangs();
  const answer = ask(handler);
  await isHanging;
  await vi.advanceTimersByTimeAsync(1000);
  expect(await answer).toEqual({ document });

  isHanging = hangs();
  const failure = ask(await coldStart());
  await isHanging;
  await vi.advanceTimersByTimeAsync(3000);
  expect(await failure).toMatchObject({ failure: 'SecretUnavailable' });
});

test('the secret is read once where the first question comes while it is read already', async () => {
  const handler = await coldStart();
  expect(await ask(handler)).toEqual({ document });
  expect(secretsManager.counters.reads).toBe(1);
});

test('the secret is not asked for over and over before the first question, where Secrets Manager hangs', async () => {
  secretsManager.intercept = () => true;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const handler = await coldStart();
  expect(secretsManager.counters.reads).toBe(1);
  for (let second = 0; second < 20; second += 1) {
    await vi.advanceTimersByTimeAsync(1000);
    await new Promise(setImmediate);
  }
  // The SDK has asked a second time by itself.
  expect(secretsManager.counters.reads).toBeLessThanOrEqual(2);
  secretsManager.intercept = undefined;
  vi.useRealTimers();
  expect(await ask(handler)).toEqual({ document });
});

test('the secret is asked for as soon as the function starts, before any question', async () => {
  const read = new Promise<void>((resolve) => {
    secretsManager.intercept = () => {
      resolve();
      return false;
    };
  });
  await coldStart();
  await read;
});

describe('the secret is read', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['Date'] }));
  const pass = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000);
  const rotate = () => {
    atlas.keys = { newkey: 'NEW-PRIVATE-KEY' };
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey: 'newkey', privateKey: 'NEW-PRIVATE-KEY' });
  };

  test('once for its age', async () => {
    const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '60' });
    await ask(handler);
    pass(59);
    await ask(handler);
    expect(secretsManager.counters.reads).toBe(1);
    pass(2);
    await ask(handler);
    expect(secretsManager.counters.reads).toBe(2);
  });

  test('each time where its age is 0', async () => {
    const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '0' });
    await ask(handler);
    await ask(handler);
    expect(secretsManager.counters.reads).toBe(2);
    expect(atlas.counters.challenges).toBe(1);
  });

  test('again when Atlas refuses it: a rotation loses no call', async () => {
    const handler = await coldStart();
    await ask(handler);
    rotate();
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(2);
  });

  test('again once for all who are under way: a rotation under load loses no call', async () => {
    const handler = await coldStart();
    await ask(handler);
    const before = Array.from({ length: 10 }, () => ask(handler));
    rotate();
    const after = Array.from({ length: 10 }, () => ask(handler));
    expect(await Promise.all([...before, ...after])).toEqual(Array(20).fill({ document }));
    expect(secretsManager.counters.reads).toBe(2);
  });

  test('two rotations, one after the other, lose no call either', async () => {
    const handler = await coldStart();
    await ask(handler);
    rotate();
    await ask(handler);
    atlas.keys = { thirdkey: 'THIRD' };
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey: 'thirdkey', privateKey: 'THIRD' });
    expect(await ask(handler)).toEqual({ document });
  });

  test('two rotations while one call is answered do not lose it', async () => {
    const keys = [publicKey, 'secondkey', 'thirdkey'];
    const rotateTo = (key: string) => {
      atlas.keys = { [key]: privateKey };
      secretsManager.secrets[secretId] = JSON.stringify({ publicKey: key, privateKey });
    };
    atlas.intercept = ({ headers }) => {
      const used = keys.findIndex((key) => headers.authorization?.includes(`username="${key}"`));
      if (used >= 0) rotateTo(keys[used + 1] ?? 'thirdkey');
      return false;
    };
    expect(await ask(await coldStart())).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(3);
  });

  test('a secret that changes between bad keys all the time is given up after two other keys', async () => {
    atlas.keys = {};
    secretsManager.intercept = () => {
      secretsManager.secrets[secretId] = JSON.stringify({
        publicKey: `key${secretsManager.counters.reads}`,
        privateKey,
      });
      return false;
    };
    expect(await ask(await coldStart())).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    expect(secretsManager.counters.reads).toBe(3);
  });

  test('two rotations leave the attempts that a passing 503 takes', async () => {
    const keys = [publicKey, 'secondkey', 'thirdkey'];
    atlas.intercept = ({ headers }) => {
      const next = keys[keys.findIndex((key) => headers.authorization?.includes(`username="${key}"`)) + 1];
      if (!headers.authorization || !next) return false;
      atlas.keys = { [next]: privateKey };
      secretsManager.secrets[secretId] = JSON.stringify({ publicKey: next, privateKey });
      return false;
    };
    atlas.reply = (_request, count) => (count <= 2 ? { status: 503, body: '' } : undefined);
    expect(await ask(await coldStart())).toEqual({ document });
  });

  test('again where the clock was set back, also after a reading that failed: their age is not known', async () => {
    const handler = await coldStart();
    await ask(handler);
    pass(-3600);
    await ask(handler);
    expect(secretsManager.counters.reads).toBe(2);
    secretsManager.error = { status: 400, name: 'AccessDeniedException' };
    pass(301);
    await ask(handler);
    const { reads } = secretsManager.counters;
    await ask(handler);
    expect(secretsManager.counters.reads).toBe(reads);
    pass(-3600);
    await ask(handler);
    expect(secretsManager.counters.reads).toBeGreaterThan(reads);
  });

  test('again where a refused call had joined a refresh that began before the rotation', async () => {
    const output = captureOutput();
    const handler = await coldStart();
    await ask(handler);
    const asked = Promise.withResolvers<void>();
    const refusal = Promise.withResolvers<void>();
    const isRefused = Promise.withResolvers<void>();
    // The key is refused before the rotation is known; others begin a refresh; then the refusal arrives.
    atlas.intercept = (request, response) => {
      if (!request.headers.authorization?.includes(publicKey)) return false;
      asked.resolve();
      void refusal.promise.then(() => atlas.answer(request, response.on('finish', isRefused.resolve)));
      return true;
    };
    const refused = ask(handler);
    await asked.promise;
    pass(301);
    const came = Promise.withResolvers<void>();
    let answerOld: () => void = () => undefined;
    secretsManager.intercept = (_request, response) => {
      const SecretString = secretsManager.secrets[secretId];
      answerOld = () => response.end(JSON.stringify({ SecretString }));
      secretsManager.intercept = undefined;
      came.resolve();
      return true;
    };
    const refreshing = ask(handler);
    await came.promise;
    rotate();
    refusal.resolve();
    // The refusal comes back and joins the refresh; only then does that end.
    await isRefused.promise;
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    answerOld();
    expect(await Promise.all([refused, refreshing])).toEqual([{ document }, { document }]);
    // The refused call joined the refresh, and then read the secret again.
    expect(output.lines().map(({ SecretReads }) => SecretReads)).toContain(2);
  });

  test('again at most every 10 seconds while it stays wrong', async () => {
    atlas.keys = {};
    const handler = await coldStart();
    for (let call = 0; call < 5; call += 1)
      expect(await ask(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    expect(secretsManager.counters.reads).toBe(2);
    pass(9);
    expect(await ask(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
    expect(secretsManager.counters.reads).toBe(2);
    pass(2);
    rotate();
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(3);
  });

  test('without success while Secrets Manager is down, and the old one is used on', async () => {
    const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '60' });
    await ask(handler);
    pass(61);
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    expect(await ask(handler)).toEqual({ document });
    const { reads } = secretsManager.counters;
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(reads);
    pass(11);
    secretsManager.error = undefined;
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(reads + 1);
  });

  test('without success while Secrets Manager hangs, and the old one is used on', async () => {
    const handler = await coldStart({ SECRET_MAX_AGE_SECONDS: '60' }, { 'secret/store.ts': { refreshMs: 50 } });
    await ask(handler);
    pass(61);
    secretsManager.intercept = () => true;
    expect(await ask(handler)).toEqual({ document });
  });

  describe.each<[string, FailureName, () => void]>([
    [
      'without its fields',
      'SecretInvalid',
      () => {
        secretsManager.secrets[secretId] = '{"publicKey": "x"}';
      },
    ],
    [
      'denied',
      'SecretInvalid',
      () => {
        secretsManager.error = { status: 400, name: 'AccessDeniedException' };
      },
    ],
    [
      'not to be had',
      'SecretUnavailable',
      () => {
        secretsManager.error = { status: 500, name: 'InternalServiceError' };
      },
    ],
  ])('in vain while it is %s', (_, reason, spoil) => {
    test('and the old one is used on, which the log and a metric tell; asked again every 10 s', async () => {
      const output = captureOutput();
      const handler = await coldStart({
        SECRET_MAX_AGE_SECONDS: '60',
      });
      await ask(handler);
      pass(61);
      const good = secretsManager.secrets[secretId];
      spoil();
      expect(await ask(handler)).toEqual({ document });
      const { reads } = secretsManager.counters;
      for (let call = 0; call < 4; call += 1) expect(await ask(handler)).toEqual({ document });
      expect(secretsManager.counters.reads).toBe(reads);
      const told = output.lines();
      expect(told.filter(({ staleSecret }) => staleSecret === reason)).toHaveLength(5);
      expect(told.filter(({ StaleSecret }) => StaleSecret === 1)).toHaveLength(5);

      pass(10);
      secretsManager.error = undefined;
      secretsManager.secrets[secretId] = good ?? '';
      expect(await ask(handler)).toEqual({ document });
      expect(secretsManager.counters.reads).toBe(reads + 1);
      expect(output.lines().filter(({ staleSecret }) => staleSecret)).toHaveLength(5);
    });

    test('once for 10 s where Atlas refuses the old one', async () => {
      const handler = await coldStart();
      await ask(handler);
      atlas.keys = {};
      spoil();
      expect(await ask(handler)).toMatchObject({ failure: reason });
      const { reads } = secretsManager.counters;
      for (let call = 0; call < 4; call += 1) expect(await ask(handler)).toMatchObject({ failure: reason });
      expect(secretsManager.counters.reads).toBe(reads);
      pass(10);
      await ask(handler);
      expect(secretsManager.counters.reads).toBeGreaterThan(reads);
    });
  });

  test.each<[string, () => void]>([
    ['is past its age', () => pass(301)],
    [
      'is refused',
      () => {
        atlas.keys = { rotated: privateKey };
      },
    ],
  ])('again at once where it %s and a call with hardly any time has failed', async (_, spoil) => {
    const handler = await coldStart();
    await ask(handler);
    spoil();
    secretsManager.intercept = () => true;
    await ask(handler, 'direct', {}, 600);
    secretsManager.intercept = undefined;
    secretsManager.secrets[secretId] = JSON.stringify({ publicKey: 'rotated', privateKey });
    atlas.keys = { rotated: privateKey };
    const { reads } = secretsManager.counters;
    expect(await ask(handler)).toEqual({ document });
    expect(secretsManager.counters.reads).toBe(reads + 1);
  });

  test('without success when it is refused and Secrets Manager is down: SecretUnavailable, which may be asked again', async () => {
    const handler = await coldStart();
    await ask(handler);
    atlas.keys = {};
    secretsManager.error = { status: 500, name: 'InternalServiceError' };
    expect(await ask(handler)).toMatchObject({ failure: 'SecretUnavailable' });
  });

  test('again after a read that failed: a failure is not remembered', async () => {
    secretsManager.error = { status: 400, name: 'AccessDeniedException' };
    const handler = await coldStart();
    expect(await ask(handler)).toMatchObject({ failure: 'SecretInvalid' });
    secretsManager.error = undefined;
    expect(await ask(handler)).toEqual({ document });
  });
});

test('a refused key costs one fresh reading of the secret and no second try of the same key', async () => {
  atlas.keys = {};
  const handler = await coldStart();
  expect(await ask(handler)).toMatchObject({ failure: 'AtlasCredentialsRejected' });
  expect(secretsManager.counters.reads).toBe(2);
  expect(atlas.counters.requests).toBe(2);
});

test.each<[FailureName, number, unknown]>([
  ['SecretInvalid', 400, { __type: 'InvalidRequestException', message: { toString: 1 } }],
  ['SecretInvalid', 400, { __type: { toString: 1 }, message: ['x'] }],
  ['SecretInvalid', 400, { __type: 'ResourceNotFoundException', Message: { toString: 1 } }],
  ['SecretInvalid', 200, { SecretString: { toString: 1 } }],
  ['SecretInvalid', 200, null],
])('%s where Secrets Manager answers %i and %j, which it never should', async (failure, status, body) => {
  secretsManager.intercept = (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
    return true;
  };
  expect(await ask(await coldStart())).toMatchObject({ failure });
});
