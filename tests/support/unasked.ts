/** What servers, load balancers and proxies send on a connection although nobody asked: all of it a client must not take. */

import { entity } from './harness.ts';

const response = (status: string, value: object) => {
  const body = JSON.stringify(value);
  return `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};

/** A document that names no live migration, so that nothing in it says that it is another one's. */
const foreign = response('200 OK', { ...entity, _id: undefined, status: 'FAILED' });

export const unasked = {
  'a 408': response('408 Request Timeout', {}),
  'a document': foreign,
  'two documents': foreign + foreign,
  'half a head': foreign.slice(0, 20),
  'half a body': foreign.slice(0, -10),
  'a protocol switch': 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
  'a 100': 'HTTP/1.1 100 Continue\r\n\r\n',
  'no HTTP': 'SSH-2.0-OpenSSH_9.6\r\n',
  'an empty line': '\r\n',
};

export const kinds = Object.keys(unasked) as (keyof typeof unasked)[];
