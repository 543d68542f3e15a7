/** What requests to Atlas are authenticated with, and the interface of a session. */

import type { Call } from '../core/call.ts';
import type { Scheme } from './answer.ts';
import type { BaseUrl } from './base-url.ts';
import type { HttpAnswer, HttpRequest } from './http-client.ts';

export type ApiKey = { publicKey: string; privateKey: string };
export type ServiceAccount = { clientId: string; clientSecret: string };

/** Who we are for Atlas, and which Atlas it is. */
export type Credentials = (ApiKey | ServiceAccount) & { baseUrl: BaseUrl };

/** Sends a request with whatever authentication the session stands for, and returns the final answer. */
export type SendAuthenticated = (request: HttpRequest, signal: AbortSignal) => Promise<HttpAnswer>;

export type Session = {
  scheme: Scheme;
  /** Whether it can authenticate requests without asking for anything first. */
  isReady(): boolean;
  /**
   * Gets what requests are authenticated with. If that takes a request, it has a time limit of its own, beside the attempt.
   *
   * @param onSend is told of each request that it takes
   * @throws Failure that of the request
   */
  authenticate(call: Call, onSend: HttpRequest['onSend']): Promise<SendAuthenticated>;
};
