/** What requests to Atlas are authenticated with, and the interface of an authenticated session. */

import type { Call } from '../core/call.ts';
import type { BaseUrl } from './base-url.ts';
import type { HttpAnswer, HttpRequest } from './http-client.ts';

export type ApiKey = { publicKey: string; privateKey: string };
export type ServiceAccount = { clientId: string; clientSecret: string };

/** Who we are for Atlas, and which Atlas it is. */
export type Credentials = (ApiKey | ServiceAccount) & { baseUrl: BaseUrl };

/**
 * Sends a request with whatever authentication the session stands for, and returns the final answer.
 *
 * @param call whose deadline is the end of the attempt
 */
export type Session = (request: HttpRequest, signal: AbortSignal, call: Call) => Promise<HttpAnswer>;
