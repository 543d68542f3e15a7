/** Servers whose TLS certificate is not trusted: a proxy or a firewall that inspects TLS causes them. */

import { ProxyFailure } from './proxy.ts';

/**
 * OpenSSL's codes of X.509 verification, and Node's own for a certificate of another host. What Node has no code for (a key
 * that is too weak, an extension that it does not know) is `UNSPECIFIED`.
 */
const untrustedCode =
  /^(UNSPECIFIED$|CERT_|ERR_TLS_CERT_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT|HOSTNAME_MISMATCH|INVALID_|PATH_LENGTH_)/;
const unknownIssuerCode = /SELF_SIGNED_CERT|UNABLE_TO_/;

/**
 * @param host that was connected to, with the port where it has one
 * @param error that the connection failed with
 * @param remedy what to do where the authority that issued the certificate is not known, and no file names others
 * @returns sentences that name the host and the code, and the remedy; undefined for any other error
 * @see https://nodejs.org/api/tls.html#x509-certificate-error-codes
 */
export function untrusted(
  host: string,
  error: NodeJS.ErrnoException,
  remedy = 'set the deployment parameter caFile',
): string | undefined {
  const { code = '' } = error;
  if (!untrustedCode.test(code)) return undefined;
  const why = error instanceof ProxyFailure ? `, ${error.message}` : ` (${code})`;
  // The error does not say which of the two it is.
  const orProxy = error instanceof ProxyFailure && error.isHttps ? ', or of the proxy,' : '';
  // The deployment sets the variable where there is the parameter.
  const isRemedy = unknownIssuerCode.test(code) && !process.env['NODE_EXTRA_CA_CERTS'];
  return `The TLS certificate of ${host}${orProxy} is not trusted${why}.${isRemedy ? ` If a proxy or a firewall inspects TLS, ${remedy}.` : ''}`;
}
