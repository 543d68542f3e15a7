/** The environment: judged once, when the function starts, and all of it at once. */

import { beforeEach, expect, test } from 'vitest';
import { allIsWell, ask, atlas, captureOutput, coldStart, document } from './support/harness.ts';

beforeEach(allIsWell);

test.each([
  ['no secret', { ATLAS_SECRET_ID: '' }, 'ATLAS_SECRET_ID must name the secret'],
  [
    'another placeholder',
    { ATLAS_SECRET_ID: 'atlas/{projectId}' },
    'ATLAS_SECRET_ID may contain no placeholder other than {groupId}',
  ],
  ['a base URL without https', { ATLAS_BASE_URL: 'http://cloud.mongodb.com' }, 'ATLAS_BASE_URL must be an https URL'],
  ...['http://evil-localhost', 'http://127.0.0.1.example.com', 'http://xn--127-0', 'ftp://localhost'].map(
    (url): [string, Record<string, string>, string] => [
      `the base URL ${url}`,
      { ATLAS_BASE_URL: `${url}/v2` },
      'ATLAS_BASE_URL must be an https URL',
    ],
  ),
  [
    'a base URL without a version',
    { ATLAS_BASE_URL: 'https://cloud.mongodb.com/api/atlas' },
    'ATLAS_BASE_URL must be an https URL',
  ],
  ['a time-out with a unit', { ATLAS_TIMEOUT_MS: '4s' }, 'ATLAS_TIMEOUT_MS must be a whole number from 100 to 15000'],
  ['a time-out of nothing', { ATLAS_TIMEOUT_MS: '99' }, 'ATLAS_TIMEOUT_MS'],
  ['a time-out longer than the function has', { ATLAS_TIMEOUT_MS: '15001' }, 'ATLAS_TIMEOUT_MS'],
  [
    'an age below zero',
    { SECRET_MAX_AGE_SECONDS: '-1' },
    'SECRET_MAX_AGE_SECONDS must be a whole number from 0 to 604800',
  ],
  [
    'a freshness above a minute',
    { ANSWER_FRESHNESS_SECONDS: '61', ANSWER_TABLE: 'answers' },
    'ANSWER_FRESHNESS_SECONDS must be a whole number from 0 to 60',
  ],
  ['a freshness without a table', { ANSWER_FRESHNESS_SECONDS: '1' }, 'ANSWER_TABLE must name the table'],
  ['a proxy without a scheme', { HTTPS_PROXY: 'proxy.example.com:3128' }, 'HTTPS_PROXY must be an http or https URL'],
  [
    'a proxy of another kind',
    { https_proxy: 'socks5://proxy.example.com' },
    'https_proxy must be an http or https URL',
  ],
  ['a proxy whose password is not URL-encoded', { HTTPS_PROXY: 'http://user:100%@proxy' }, 'HTTPS_PROXY must be'],
])('%s stops the start', async (_, environment, message) => {
  await expect(coldStart(environment as unknown as Record<string, string>)).rejects.toThrow(message);
});

test('one message names all that is wrong', async () => {
  const environment = {
    ATLAS_SECRET_ID: '',
    ATLAS_BASE_URL: 'x',
    ATLAS_TIMEOUT_MS: 'x',
    SECRET_MAX_AGE_SECONDS: 'x',
    ANSWER_FRESHNESS_SECONDS: 'x',
    HTTPS_PROXY: 'user:PROXY-PASSWORD@proxy.example.com',
  };
  const message = await coldStart(environment).catch((error: Error) => error.message);
  expect(message).not.toContain('PROXY-PASSWORD');
  expect(message).toMatch(/^This function's environment is not valid: .*\.$/);
  for (const name of Object.keys(environment)) expect(message).toContain(name);
});

test.each([
  ['http://127.10.20.30:9/api/atlas/v2', '127.10.20.30:9'],
  ['http://[::1]:9/v1.0', '[::1]:9'],
  ['  http://localhost:9/v2///  ', 'localhost:9'],
  ['http://127.0.0.1:9', '127.0.0.1:9'],
])('the base URL %j is on this machine, so it may do without https', async (url, host) => {
  expect(await ask(await coldStart({ ATLAS_BASE_URL: url }))).toEqual({
    failure: 'AtlasUnavailable',
    detail: `The connection to ${host} failed or broke (ECONNREFUSED).`,
  });
});

test('slashes at the end of a base URL do not count', async () => {
  expect(await ask(await coldStart({ ATLAS_BASE_URL: `${atlas.baseUrl}//` }))).toEqual({ document });
});

test('empty variables count as not set', async () => {
  captureOutput();
  const handler = await coldStart({ ATLAS_TIMEOUT_MS: '', SECRET_MAX_AGE_SECONDS: '' });
  expect(await ask(handler)).toEqual({ document });
});
