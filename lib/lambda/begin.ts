/**
 * What the function begins before the rest of it is loaded, so that loading and the network overlap: it imports nothing
 * that takes long to load.
 */

import { commercialServer } from '../atlas/base-url.ts';
import { createHttpClient } from '../atlas/http-client.ts';
import { readConfiguration } from './configuration.ts';

export const configuration = readConfiguration(process.env);
const httpClient = createHttpClient(configuration.proxy);
httpClient.connectEarly(configuration.baseUrl?.server ?? commercialServer);
export const { send } = httpClient;
