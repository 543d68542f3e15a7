/** Protects the store: hides the names of keys, and encrypts entries for holders of the same secret. */

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/**
 * The key of an entry: HMAC-SHA-256 of its parts under the secret. It tells a reader of the store nothing, and no other secret
 * gives the same key.
 */
export const nameKey = (secret: string, parts: string[]): string =>
  createHmac('sha256', secret).update(JSON.stringify(parts)).digest('base64url');

/**
 * Seals texts with AES-256-GCM (NIST SP 800-38D), under a key that HKDF (RFC 5869) makes of the secret and of the key in the
 * store: so what was sealed for one key can't be opened as that of another.
 */
export function createSeal(secret: string, key: string) {
  const cipherKey = Buffer.from(hkdfSync('sha256', secret, '', key, 32));
  return {
    seal(text: string): string {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', cipherKey, iv);
      return Buffer.concat([iv, cipher.update(text), cipher.final(), cipher.getAuthTag()]).toString('base64');
    },
    /** @throws where it was not sealed with the same secret and for the same key */
    open(sealed: string): string {
      const bytes = Buffer.from(sealed, 'base64');
      const decipher = createDecipheriv('aes-256-gcm', cipherKey, bytes.subarray(0, 12), { authTagLength: 16 });
      decipher.setAuthTag(bytes.subarray(-16));
      return decipher.update(bytes.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8');
    },
  };
}
