/**
 * Whether a connection failed because nobody vouches for the server's certificate: OpenSSL's codes of X.509 verification, and
 * Node's own for a certificate of another host. A proxy or a firewall that inspects TLS causes them.
 *
 * @see https://nodejs.org/api/tls.html#x509-certificate-error-codes
 */
export const isUntrusted = (code: string): boolean =>
  /^(CERT_|ERR_TLS_CERT_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT|HOSTNAME_MISMATCH|INVALID_|PATH_LENGTH_)/.test(
    code,
  );
