/** The floor: an authenticated GET by bare node:http, with a kept connection and a kept nonce, and no product at all. */

import { createHash } from 'node:crypto';
import { Agent, get, type IncomingMessage } from 'node:http';

const { ATLAS_BASE_URL, BENCH_PUBLIC_KEY: user, BENCH_PRIVATE_KEY: password } = process.env;
const agent = new Agent({ keepAlive: true });
const md5 = (text: string) => createHash('md5').update(text).digest('hex');

let realm = '';
let nonce = '';
let count = 0;

function authorization(uri: string): string {
  count += 1;
  const nc = count.toString(16).padStart(8, '0');
  const cnonce = '0a4f113b';
  const response = md5(`${md5(`${user}:${realm}:${password}`)}:${nonce}:${nc}:${cnonce}:auth:${md5(`GET:${uri}`)}`);
  return `Digest username="${user}", realm="${realm}", nonce="${nonce}", uri="${uri}", algorithm=MD5, qop=auth, nc=${nc}, cnonce="${cnonce}", response="${response}"`;
}

const ask = (url: URL): Promise<{ answer: IncomingMessage; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { accept: 'application/json', ...(nonce ? { authorization: authorization(url.pathname) } : {}) };
    get(url, { agent, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk) => {
        text += chunk;
      });
      answer.on('end', () => resolve({ answer, text }));
    }).on('error', reject);
  });

export async function handler({ groupId, liveMigrationId }: { groupId: string; liveMigrationId: string }) {
  const url = new URL(`${ATLAS_BASE_URL}/groups/${groupId}/liveMigrations/${liveMigrationId}`);
  let { answer, text } = await ask(url);
  if (answer.statusCode === 401) {
    const challenge = answer.headers['www-authenticate'] ?? '';
    realm = /realm="([^"]*)"/.exec(challenge)?.[1] ?? '';
    nonce = /nonce="([^"]*)"/.exec(challenge)?.[1] ?? '';
    count = 0;
    ({ answer, text } = await ask(url));
  }
  return JSON.parse(text);
}
