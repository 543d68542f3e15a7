/**
 * A small Secrets Manager for the local run and the tests: GetSecretValue in AWS's JSON 1.1 protocol, so that the
 * real SDK can be pointed at it with AWS_ENDPOINT_URL_SECRETS_MANAGER.
 */

import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Door, readBody, serve } from './http-server.ts';

export async function startEmbeddedSecretsManager(door: Door = {}) {
  const secretsManager = {
    /** Secrets by name or ARN: a string, bytes for a binary one, or the error that answers its reads. */
    secrets: {} as Record<string, string | Buffer | { status: number; name: string }>,
    /** Answers every read with this error instead. */
    error: undefined as { status: number; name: string; message?: string } | undefined,
    /** Takes a request over before anything else happens; says whether it did. */
    intercept: undefined as ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined,
    /** Answers as it would have without `intercept`. */
    answer: (request: IncomingMessage, response: ServerResponse) => answer(request, response),
    counters: { reads: 0 },
    reset() {
      Object.assign(secretsManager, { secrets: {}, error: undefined, intercept: undefined, counters: { reads: 0 } });
    },
    /** Resolves when the next read arrives, or nobody waits for it any more. */
    nextRead: (signal: AbortSignal) => once(served.server, 'request', { signal }).catch(() => undefined),
  };

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const send = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
    const refuse = (status: number, name: string, message = `${name} was made up here.`) =>
      send(status, { __type: name, message });

    const text = await readBody(request, response);
    if (text === undefined) return undefined;
    const { authorization, 'x-amz-target': target } = request.headers;
    if (target !== 'secretsmanager.GetSecretValue') return refuse(400, 'UnknownOperationException');
    if (!authorization?.startsWith('AWS4-HMAC-SHA256 ')) return refuse(400, 'MissingAuthenticationTokenException');
    const { SecretId: id } = JSON.parse(text) as { SecretId: string };
    const { error } = secretsManager;
    if (error) return refuse(error.status, error.name, error.message);
    const secret = secretsManager.secrets[id];
    if (secret === undefined) return refuse(400, 'ResourceNotFoundException');
    if (typeof secret === 'object' && 'status' in secret) return refuse(secret.status, secret.name);
    const value = typeof secret === 'string' ? { SecretString: secret } : { SecretBinary: secret.toString('base64') };
    return send(200, {
      ARN: `arn:aws:secretsmanager:us-east-1:000000000000:secret:${id}`,
      Name: id,
      VersionId: 'embedded',
      ...value,
    });
  };

  const served = await serve((request, response) => {
    secretsManager.counters.reads += 1;
    return secretsManager.intercept?.(request, response) || answer(request, response);
  }, door);
  return Object.assign(secretsManager, served);
}

export type EmbeddedSecretsManager = Awaited<ReturnType<typeof startEmbeddedSecretsManager>>;
