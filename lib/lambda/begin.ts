/**
 * What the function begins before the rest of it is loaded, so that the network is at work meanwhile: it imports nothing
 * that takes long to load.
 */

import { commercialServer } from '../atlas/base-url.ts';
import { createHttpClient } from '../atlas/http-client.ts';
import { readConfiguration } from './configuration.ts';

export const configuration = readConfiguration(process.env);
const { send, connectEarly } = createHttpClient(configuration.proxy);
connectEarly(configuration.baseUrl?.server ?? commercialServer);

export { send };
