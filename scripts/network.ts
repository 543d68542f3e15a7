/** How the tools of the operator reach AWS and a deployed API: through the proxy of the environment, as the AWS CLI does. */

import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { untrusted } from '../lib/certificate.ts';
import { ProxyAgent, ProxyFailure, proxyOf } from '../lib/proxy.ts';

export type Network = ReturnType<typeof connectNetwork>;

/** The function itself ends after 20 s. */
const patienceMs = 30_000;

/** The proxy of the environment is one that the command line has checked. */
export function connectNetwork() {
  const { proxy } = proxyOf(process.env);
  const agent = proxy ? new ProxyAgent({ keepAlive: true }, proxy) : new https.Agent({ keepAlive: true });
  const requestHandler = { httpsAgent: agent, requestTimeout: patienceMs, throwOnRequestTimeout: true };
  const provide = fromNodeProviderChain({ clientConfig: { requestHandler } });

  /** @returns why a connection to that host failed, as sentences */
  function whyUnreached(host: string, error: NodeJS.ErrnoException): string {
    const remedy = 'name a file with the certificate of its authority: NODE_EXTRA_CA_CERTS=FILE';
    const { code, name } = error;
    const reason = name === 'TimeoutError' ? `no answer within ${patienceMs / 1000} s` : (code ?? name);
    const why = error instanceof ProxyFailure ? error.message : `(${reason})`;
    return untrusted(host, error, remedy) ?? `${host} cannot be reached ${why}.`;
  }

  /** @throws Error whose message says what to do */
  const credentials = () =>
    provide().catch(({ message }: Error) => {
      // Its own words where a provider was found and failed; it has no code for the reason.
      const why = message.replace(/^\w*Error: /, '').replace(/\.$/, '');
      throw new Error(
        /Could not load credentials|could not be resolved|CredentialsProviderError/.test(message)
          ? 'No AWS credentials were found. Sign in (aws sso login, aws configure), or set AWS_PROFILE.'
          : `AWS credentials could not be fetched (${why}). Sign in again, or check the network.`,
      );
    });

  return {
    /** For the clients of the AWS SDK. The ones that get credentials, from SSO or STS, need the proxy as well. */
    client: { requestHandler, credentials },

    /** Sends a request, as fetch does. @throws the error of the connection; TimeoutError where there is no answer in time */
    async send(request: Request): Promise<Response> {
      const { protocol } = new URL(request.url);
      const signal = AbortSignal.any([request.signal, AbortSignal.timeout(patienceMs)]);
      const body = Buffer.from(await request.arrayBuffer());
      const { method, url } = request;
      const headers = { ...Object.fromEntries(request.headers), 'content-length': body.length };
      const outgoing =
        protocol === 'https:'
          ? https.request(url, { method, headers, signal, agent })
          : http.request(url, { method, headers, signal });
      outgoing.end(body);
      try {
        const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
        const chunks: Buffer[] = await incoming.toArray();
        const init = { status: incoming.statusCode ?? 0, headers: incoming.headers as Record<string, string> };
        return new Response([204, 304].includes(init.status) ? null : Buffer.concat(chunks), init);
      } catch (error) {
        throw signal.aborted ? signal.reason : error;
      }
    },

    /** A line to be said where something fails, with a proxy. */
    notes: proxy ? [`HTTPS_PROXY is set to ${proxy.host}; hosts in NO_PROXY are reached without it.`] : [],

    whyUnreached,
  };
}
