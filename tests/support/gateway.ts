/** API Gateway as far as callers see it: it checks the signature of each request, and answers what it is told. */

import { createHash, createHmac } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { onTestFinished } from 'vitest';
import { serve } from '../../embedded/http-server.ts';

/** What the request's signature should be (Signature Version 4), computed from the request as it came in. */
function expectedSignature(request: IncomingMessage, secretKey: string): string {
  const [, , date = '', region = '', service = '', signedHeaders = ''] =
    /Credential=([^/]+)\/(\d+)\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+)/.exec(
      request.headers.authorization ?? '',
    ) ?? [];
  const { pathname } = new URL(request.url ?? '', 'http://x');
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const headers = signedHeaders.split(';').map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const payload = String(request.headers['x-amz-content-sha256'] ?? hash(''));
  const canonical = [request.method, pathname, '', headers.join(''), signedHeaders, payload].join('\n');
  const toSign = [
    'AWS4-HMAC-SHA256',
    request.headers['x-amz-date'],
    `${date}/${region}/${service}/aws4_request`,
    hash(canonical),
  ].join('\n');
  const key = [date, region, service, 'aws4_request'].reduce<string | Buffer>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${secretKey}`,
  );
  return `${service} ${createHmac('sha256', key).update(toSign).digest('hex')}`;
}

type Answer = { status: number; body: object };

/**
 * Stands for as long as the test that starts it.
 *
 * @param answer without one, it never answers
 * @param unsigned what it answers to a request without a signature, where that is something else
 * @returns the address; for each request its headers, and the signature that it had and the one that it should have had;
 *   and what is over once the first request is there
 */
export async function startGateway(answer?: Answer, unsigned = answer) {
  const signatures: [given: string, expected: string][] = [];
  const headers: IncomingHttpHeaders[] = [];
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const served = await serve((request, response) => {
    const given = /Signature=(\w+)/.exec(request.headers.authorization ?? '')?.[1];
    const expected = expectedSignature(request, String(process.env['AWS_SECRET_ACCESS_KEY']));
    signatures.push([`execute-api ${given}`, expected]);
    headers.push(request.headers);
    resolve();
    const { status, body } = (given ? answer : unsigned) ?? {};
    if (status) response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  onTestFinished(served.close);
  const answerUnsigned = (status: number) => {
    unsigned = { status, body: {} };
  };
  const answerSigned = (status: number) => {
    answer = { status, body: { message: 'Unauthorized' } };
  };
  return { url: served.origin, server: served.server, headers, signatures, asked, answerSigned, answerUnsigned };
}
