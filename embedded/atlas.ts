/**
 * A small Atlas for the local run and the tests: the one call that the product makes, behind strict Digest or OAuth
 * authentication, answering as Atlas does. Its knobs are its fields; its counters tell what the server saw.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  type ChallengeForm,
  type ChallengeName,
  challengeForms,
  createDigestVerifier,
  type NonceRules,
} from './digest-verifier.ts';
import { readBody, serve } from './http-server.ts';

/** What Atlas says of a live migration, by the seconds since it was first asked about. */
export type Migration = (seconds: number) => object;

/** Projects by id, and in them live migrations by id. */
export type Projects = Record<string, Record<string, Migration> | ((id: string) => Migration | undefined)>;

/** An answer made by hand: an object is sent as JSON, a string or bytes as they are. */
export type Reply = { status: number; headers?: Record<string, string>; body: object | string | Buffer };

/** Atlas's error document. */
export const atlasError = (status: number, errorCode: string | null, parameters: unknown[] | null = null): Reply => ({
  status,
  body: {
    error: status,
    errorCode,
    reason: null,
    detail: `${errorCode} was made up by this test.`,
    parameters,
    badRequestDetail: null,
  },
});

const notAuthorized = {
  error: 401,
  errorCode: 'UNEXPECTED_ERROR',
  reason: 'Unauthorized',
  detail: 'You are not authorized for this resource.',
  parameters: null,
};

const path = /^\/api\/atlas\/(v1\.0|v2)\/groups\/([^/]+)\/liveMigrations\/([^/]+)$/;

export async function startEmbeddedAtlas({ projects = {} as Projects } = {}) {
  const firstAsked = new Map<string, number>();
  const tokens = new Map<string, number>();
  const sockets = new Set<Socket>();

  const atlas = {
    /** API keys by public key. */
    keys: {} as Record<string, string>,
    /** Service accounts: secrets by client id. */
    serviceAccounts: {} as Record<string, string>,
    tokenLifeSeconds: 3600,
    projects,
    /** How callers are challenged: one of the known forms, or another. */
    challenge: 'atlas' as ChallengeName | ChallengeForm,
    nonceRules: { lifeMs: 60_000, maxUses: Number.POSITIVE_INFINITY, inOrder: false } as NonceRules,
    /** Answers instead of the projects, once the caller is authenticated. */
    reply: undefined as ((request: IncomingMessage, count: number) => Reply | undefined) | undefined,
    /** Takes a request over before anything else happens; says whether it did. */
    intercept: undefined as ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined,
    /** Answers as it would have without `intercept`. */
    answer: (request: IncomingMessage, response: ServerResponse) => answer(request, response),
    /** What the server saw. */
    counters: { requests: 0, connections: 0, challenges: 0, authenticated: 0, tokens: 0 },
    /** Why Digest answers were refused. */
    refusals: [] as string[],
    /** The requests that came authenticated. */
    seen: [] as { url: string; headers: IncomingMessage['headers'] }[],
    forgetNonces: () => verifier.forgetNonces(),
    revokeTokens: () => tokens.clear(),
    /** Back to how it started, but for the address. */
    reset() {
      const { keys, serviceAccounts } = fresh;
      Object.assign(atlas, fresh, {
        keys: { ...keys },
        serviceAccounts: { ...serviceAccounts },
        refusals: [],
        seen: [],
      });
      atlas.counters = { requests: 0, connections: 0, challenges: 0, authenticated: 0, tokens: 0 };
      for (const memory of [firstAsked, tokens]) memory.clear();
    },
    /** Passes every open connection to `take`. */
    eachConnection(take: (socket: Socket) => void) {
      for (const socket of sockets) take(socket);
    },
    closeConnections: () => served.server.closeAllConnections(),
  };
  const { keys, serviceAccounts, tokenLifeSeconds, challenge, nonceRules, reply, intercept } = atlas;
  const fresh = { keys, serviceAccounts, tokenLifeSeconds, projects, challenge, nonceRules, reply, intercept };

  const formOf = (challenge: ChallengeName | ChallengeForm): ChallengeForm =>
    typeof challenge === 'string' ? challengeForms[challenge] : challenge;
  const verifier = createDigestVerifier((user) => atlas.keys[user]);

  const send = (response: ServerResponse, { status, headers, body }: Reply, pretty = false) => {
    const isJson = typeof body === 'object' && !Buffer.isBuffer(body);
    const content = isJson ? JSON.stringify(body, null, pretty ? 2 : undefined) : body;
    response.writeHead(status, {
      ...(isJson ? { 'content-type': 'application/json' } : {}),
      'content-length': Buffer.byteLength(content),
      vary: 'Accept-Encoding',
      ...headers,
    });
    response.end(content);
  };

  const challengeCaller = (response: ServerResponse, stale: boolean) => {
    atlas.counters.challenges += 1;
    const header = verifier.challenge(formOf(atlas.challenge), stale);
    send(response, {
      status: 401,
      headers: { 'www-authenticate': header, 'content-type': 'application/json;charset=ISO-8859-1' },
      body: notAuthorized,
    });
  };

  const grantToken = async (request: IncomingMessage, response: ServerResponse) => {
    const form = await readBody(request, response);
    if (form === undefined) return;
    const [id = '', secret] = Buffer.from(request.headers.authorization?.replace(/^Basic /, '') ?? '', 'base64')
      .toString()
      .split(':');
    if (new URLSearchParams(form).get('grant_type') !== 'client_credentials' || atlas.serviceAccounts[id] !== secret) {
      send(response, { status: 401, body: { error: 'invalid_client', error_description: 'Invalid credentials.' } });
      return;
    }
    atlas.counters.tokens += 1;
    const token = `token-${atlas.counters.tokens}-of-${id}`;
    tokens.set(token, Date.now() + atlas.tokenLifeSeconds * 1000);
    send(response, {
      status: 200,
      body: { access_token: token, expires_in: atlas.tokenLifeSeconds, token_type: 'Bearer' },
    });
  };

  /** Refuses a caller who is not authorized; returns whether it is. */
  const authenticate = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { method = '', url = '', headers } = request;
    const { authorization } = headers;
    const bearer = /^Bearer (.+)$/.exec(authorization ?? '')?.[1];
    if (bearer !== undefined) {
      if ((tokens.get(bearer) ?? 0) > Date.now()) return true;
      send(response, { status: 401, body: notAuthorized });
      return false;
    }
    if (authorization === undefined) {
      challengeCaller(response, false);
      return false;
    }
    const verdict = verifier.verify(authorization, method, url, formOf(atlas.challenge), atlas.nonceRules);
    if (verdict.accepted) return true;
    atlas.refusals.push(verdict.reason);
    challengeCaller(response, verdict.stale);
    return false;
  };

  const answerFor = (version: string, groupId: string, id: string, accept = ''): Reply => {
    if (version === 'v2' && !/^application\/vnd\.atlas\.\d{4}-\d{2}-\d{2}\+json$/.test(accept)) {
      return atlasError(406, 'INVALID_VERSION_DATE');
    }
    const project = atlas.projects[groupId];
    if (!project) return atlasError(404, 'GROUP_NOT_FOUND', [groupId]);
    const migration = typeof project === 'function' ? project(id) : project[id];
    if (!migration) return atlasError(404, 'RESOURCE_NOT_FOUND', [id]);
    const since = firstAsked.get(id) ?? Date.now();
    firstAsked.set(id, since);
    const body = migration((Date.now() - since) / 1000);
    return {
      status: 200,
      body,
      ...(version === 'v2' ? { headers: { 'content-type': `${accept};charset=utf-8` } } : {}),
    };
  };

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url === '/api/oauth/token') return grantToken(request, response);
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://atlas');
    const [, version = '', groupId = '', id = ''] = path.exec(pathname) ?? [];
    if (!version) {
      send(response, { status: 404, headers: { 'content-type': 'text/html' }, body: '<h1>404 Not Found</h1>' });
      return;
    }
    if (!authenticate(request, response)) return;
    atlas.counters.authenticated += 1;
    atlas.seen.push({ url: request.url ?? '', headers: request.headers });
    const made = atlas.reply?.(request, atlas.counters.authenticated);
    if (made) {
      send(response, made);
      return;
    }
    const answer = answerFor(version, groupId, id, request.headers.accept);
    const { status, body } = answer;
    const enveloped =
      searchParams.get('envelope') === 'true' ? { ...answer, status: 200, body: { status, content: body } } : answer;
    send(response, enveloped, searchParams.get('pretty') === 'true');
  };

  const served = await serve((request, response) => {
    // Not Atlas's own: it tells what Atlas saw.
    if (request.url === '/counters') return send(response, { status: 200, body: atlas.counters });
    atlas.counters.requests += 1;
    return atlas.intercept?.(request, response) || answer(request, response);
  });
  served.server.on('connection', (socket: Socket) => {
    atlas.counters.connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });

  return Object.assign(atlas, served, { baseUrl: `${served.origin}/api/atlas/v1.0` });
}

export type EmbeddedAtlas = Awaited<ReturnType<typeof startEmbeddedAtlas>>;
