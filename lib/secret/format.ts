/** Reads the Atlas credentials out of the secret's text, in every spelling that the integrations write. */

import { type BaseUrl, baseUrlRule, commercialOrigin, governmentOrigin, readBaseUrl } from '../atlas/base-url.ts';
import type { Credentials } from '../atlas/session.ts';
import { Failure } from '../core/failure.ts';
import { isObject } from '../json.ts';

/** Both fields of a pair, in the spelling of {@link plain}, as Atlas, Terraform, CloudFormation and Kubernetes name them. */
const serviceAccountPair = ['clientid', 'clientsecret'] as const;
const apiKeyPairs = [
  ['publickey', 'privatekey'],
  ['publicapikey', 'privateapikey'],
  ['username', 'apikey'],
] as const;

/** Names as people write them: in any case, with blanks, hyphens and underscores, and as the variables of Atlas's own tools. */
const plain = (name: string) =>
  name
    .toLowerCase()
    .replace(/[\s_-]/g, '')
    .replace(/^mongodbatlas/, '');

/**
 * @param text the secret's string, JSON
 * @param secretId what the secret is called, to be named in a failure
 * @param override the base URL that the environment sets, which wins over the secret's
 * @throws Failure `SecretInvalid`, which names fields and never a value
 */
export function readSecret(text: string, secretId: string, override: BaseUrl | undefined): Credentials {
  const invalid = (what: string) => new Failure('SecretInvalid', `The secret ${secretId} ${what}.`);

  let json: unknown;
  try {
    // Editors on Windows begin a file with a byte order mark.
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    // No cause: the parser's error quotes the secret.
    throw invalid('is not JSON');
  }
  if (!isObject(json)) throw invalid('is not a JSON object');

  const entries = Object.entries(json);
  const trimmed = (value: unknown) => (typeof value === 'string' ? value.trim() : value);
  /** Never of an object: one that has a member `toString` can't become a text. */
  const toText = (value: unknown) => (typeof value === 'object' ? 'an object' : String(value));
  /** The value of a field in whichever spelling it stands there; one that is empty or null does not count. */
  const fieldOf = (field: string): unknown => {
    const [first, ...others] = entries
      .map(([name, value]) => ({ name, value: trimmed(value) }))
      .filter(({ name, value }) => plain(name) === field && value !== null && value !== '');
    const other = others.find(({ value }) => toText(value) !== toText(first?.value));
    if (other) throw invalid(`has two values for one field: ${first?.name} and ${other.name} differ`);
    return first?.value;
  };
  const textOf = (field: string): string => {
    const value = fieldOf(field);
    return typeof value === 'string' ? value : '';
  };
  const pair = (names: readonly [string, string]): [string, string] | undefined => {
    const [one, other] = [textOf(names[0]), textOf(names[1])];
    if (!one || !other) return undefined;
    // They are put into headers: a line break or another invalid character is an error in the secret.
    if (!/^[\x21-\x7e]+$/.test(one + other)) throw invalid('has a key with characters that no Atlas key has');
    return [one, other];
  };

  const baseUrl = () => {
    if (override) return override;
    if (!['string', 'undefined'].includes(typeof fieldOf('baseurl')))
      throw invalid(`has a baseUrl that cannot be used: it ${baseUrlRule}`);
    // A key is never sent to another Atlas than the one meant: what is not understood has no default.
    const said = toText(fieldOf('ismongodbgovcloud') ?? false).toLowerCase();
    if (!['true', 'false'].includes(said)) throw invalid('has an isMongoDBGovCloud that is neither true nor false');
    const read = readBaseUrl(textOf('baseurl') || (said === 'true' ? governmentOrigin : commercialOrigin));
    if (!read) throw invalid(`has a baseUrl that cannot be used: it ${baseUrlRule}`);
    return read;
  };

  const account = pair(serviceAccountPair);
  if (account) return { clientId: account[0], clientSecret: account[1], baseUrl: baseUrl() };
  for (const names of apiKeyPairs) {
    const key = pair(names);
    if (key?.some((text) => /^mdb_sa_/i.test(text)))
      throw invalid('has a service account in the fields of an API key: name them clientId and clientSecret');
    if (key) return { publicKey: key[0], privateKey: key[1], baseUrl: baseUrl() };
  }

  const half = [
    ['publicKey', 'privateKey'],
    ['publicApiKey', 'privateApiKey'],
    ['username', 'apiKey'],
    ['clientId', 'clientSecret'],
  ]
    .filter((names) => names.some((name) => textOf(plain(name))))
    .flatMap((names) => names.filter((name) => !textOf(plain(name))));
  throw invalid(
    half.length > 0
      ? `lacks ${half.join(' and ')}`
      : 'has neither publicKey and privateKey nor clientId and clientSecret',
  );
}
