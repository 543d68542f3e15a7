/** How the tools of the operator reach AWS and a deployed API: through the proxy of the environment, as the AWS CLI does. */

import { setGlobalProxyFromEnv } from 'node:http';
import { fromNodeProviderChain } from '@aws-sdk/credential-providers';
import { untrusted } from '../lib/certificate.ts';
import { ProxyAgent, ProxyFailure, proxyOf } from '../lib/proxy.ts';

export type Network = ReturnType<typeof connectNetwork>;

/** The proxy of the environment is one that the command line has checked. */
export function connectNetwork() {
  const { proxy } = proxyOf(process.env);
  // For fetch.
  if (proxy) setGlobalProxyFromEnv(proxy.environment);
  const requestHandler = proxy ? { httpsAgent: new ProxyAgent({ keepAlive: true }, proxy) } : {};
  return {
    /** For the clients of the AWS SDK. The ones that get credentials, from SSO or STS, need the proxy as well. */
    client: { requestHandler, credentials: fromNodeProviderChain({ clientConfig: { requestHandler } }) },

    /** A line to be said where something fails, with a proxy. */
    notes: proxy ? [`The proxy ${proxy.host} was used, except for the hosts in NO_PROXY.`] : [],

    /** @returns why a connection to that host failed, as sentences */
    whyUnreached(host: string, error: NodeJS.ErrnoException): string {
      const reason = (error.cause ?? error) as NodeJS.ErrnoException;
      const remedy = 'name a file with the certificate of its authority: NODE_EXTRA_CA_CERTS=FILE';
      const why = reason instanceof ProxyFailure ? reason.message : `(${reason.code ?? reason.name})`;
      return untrusted(host, reason, remedy) ?? `${host} cannot be reached ${why}.`;
    },
  };
}
