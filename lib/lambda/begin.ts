/**
 * What the function begins before the rest of it is loaded, so that loading and the network overlap: it imports nothing
 * that takes long to load.
 */

import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net';
import { commercialServer } from '../atlas/base-url.ts';
import { createHttpClient } from '../atlas/http-client.ts';
import { readConfiguration } from './configuration.ts';

const limits = {
  /** Node gives each address of a host 250 ms, and a handshake takes longer from the other side of the world. */
  addressMs: 1000,
};
setDefaultAutoSelectFamilyAttemptTimeout(limits.addressMs);

export const configuration = readConfiguration(process.env);
const httpClient = createHttpClient(configuration.proxy);
httpClient.connectEarly(configuration.baseUrl?.server ?? commercialServer);
export const { send } = httpClient;
