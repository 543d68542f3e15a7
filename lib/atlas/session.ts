/** What requests to Atlas are authenticated with, and the interface of an authenticated session. */

import type { Caller } from '../sharing/sharing.ts';
import type { BaseUrl } from './base-url.ts';
import type { HttpAnswer, HttpRequest } from './http-client.ts';

export type ApiKey = { publicKey: string; privateKey: string };
export type ServiceAccount = { clientId: string; clientSecret: string };

/** Who we are for Atlas, and which Atlas it is. */
export type Credentials = (ApiKey | ServiceAccount) & { baseUrl: BaseUrl };

/**
 * Sends a request with whatever authentication the session stands for, and returns the final answer.
 *
 * @param caller the time that the attempt has left, and how a use of the table is reported
 */
export type Session = (request: HttpRequest, signal: AbortSignal, caller: Caller) => Promise<HttpAnswer>;
