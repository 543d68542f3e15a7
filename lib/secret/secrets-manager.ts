/** Asks AWS Secrets Manager for a secret's text. */

import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { untrusted } from '../certificate.ts';
import { Failure, nameOf } from '../core/failure.ts';
import { type HttpsProxy, ProxyAgent, ProxyFailure } from '../proxy.ts';

export const limits = {
  attempts: 3,
  /** The connection included, which may take a second for an address that does not answer, or a proxy's tunnel. */
  requestMs: 2000,
};

/** Errors with a 4xx status that say nothing about the secret: they pass, or the function's own AWS session is at fault. */
const passing =
  /Throttl|TooManyRequests|LimitExceeded|SlowDown|Expired|Signature|UnrecognizedClient|InvalidClientToken|TooSkewed|Internal|Unavailable/;

/**
 * For a secret that does not exist or has no value yet, AWS returns either error, depending on the caller's policy; for one that
 * is marked for deletion, an InvalidRequestException whose message says so.
 */
const isUnreadable = (name: string, message: unknown) =>
  /^(ResourceNotFound|AccessDenied)(Exception)?$/.test(name) ||
  (name === 'InvalidRequestException' && typeof message === 'string' && /marked for deletion/i.test(message));

/** A secret that does not exist or has no value, is marked for deletion, or that the function may not read. */
export class UnreadableSecret extends Failure {
  readonly denied: boolean;

  constructor(secretId: string, awsName: string) {
    super('SecretInvalid', `Secrets Manager does not return the secret ${secretId} (${awsName}).`);
    this.denied = awsName.startsWith('AccessDenied');
  }
}

function failureFor(error: unknown, secretId: string, host: string): Failure {
  const name = nameOf(error);
  const unread = `The secret ${secretId} could not be read from Secrets Manager`;
  const why = untrusted(host, error as NodeJS.ErrnoException);
  if (why) return new Failure('SecretUnavailable', `${unread}. ${why}`);
  if (error instanceof ProxyFailure) return new Failure('SecretUnavailable', `${unread} ${error.message}.`);
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode ?? 0;
  if (isUnreadable(name, (error as { message?: unknown }).message)) return new UnreadableSecret(secretId, name);
  return status >= 400 && status < 500 && !passing.test(name)
    ? new Failure('SecretInvalid', `Secrets Manager does not return the secret ${secretId} (${name}).`)
    : new Failure('SecretUnavailable', `${unread} (${name}).`);
}

/** @throws Failure `SecretUnavailable` or `SecretInvalid`; `UnreadableSecret` where there is none, or access is denied */
export type ReadSecretText = (secretId: string, signal: AbortSignal) => Promise<string>;

/** @param proxy for https; undefined: Secrets Manager is reached directly */
export function createSecretReader(proxy: HttpsProxy | undefined): ReadSecretText {
  const client = new SecretsManagerClient({
    maxAttempts: limits.attempts,
    // A secret is read every few minutes, and a frozen socket does not live that long: none is kept.
    requestHandler: {
      requestTimeout: limits.requestMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: false },
      httpsAgent: proxy ? new ProxyAgent({ keepAlive: false }, proxy) : { keepAlive: false },
    },
  });
  // No error says it.
  let host = '';
  client.middlewareStack.add(
    (next) => (args) => {
      const { hostname } = args.request as { hostname: string };
      host = hostname;
      return next(args);
    },
    { step: 'build' },
  );

  return async (secretId, signal) => {
    const answer = await client
      .send(new GetSecretValueCommand({ SecretId: secretId }), { abortSignal: signal })
      .catch((error: unknown) => {
        throw failureFor(error, secretId, host);
      });
    if (answer.SecretString === undefined) {
      throw new Failure('SecretInvalid', `The secret ${secretId} is binary: it must be text, JSON.`);
    }
    return answer.SecretString;
  };
}
