/**
 * The HTTP API of `npm start`: at its root an API reference (Swagger UI) from which each question can be tried, and for
 * everything else serverless-offline, whose server gets the requests. Both have one origin, so that a browser lets the one
 * ask the other.
 */

import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { demoGroupId, demoIds } from './demo-migrations.ts';
import { failuresOnDemand } from './failures-on-demand.ts';
import { serve } from './http-server.ts';

const { resolve } = createRequire(import.meta.url);
const asset = (name: string) => readFileSync(resolve(`swagger-ui-dist/${name}`));

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>atlas-live-migration: API reference</title>
<link rel="stylesheet" href="/reference/swagger-ui.css">
<link rel="icon" href="/reference/favicon-32x32.png">
<style>
  /* The button that asks is on the first screen: no more than what can be chosen stands above it. */
  .swagger-ui .info { margin: 12px 0 }
  .swagger-ui .info :is(.title, .description), .swagger-ui .info p { margin: 0 }
  .swagger-ui .scheme-container, .swagger-ui .opblock-tag, .swagger-ui .opblock-description-wrapper { display: none }
  .swagger-ui .opblock-body .opblock-section-header { min-height: 0; padding: 4px 20px }
  .swagger-ui table tbody tr td { padding-top: 4px }
  #examples { display: block; max-width: 1460px; margin: 12px auto 0; padding: 0 20px; font: 14px sans-serif }
  #examples select { font: inherit; max-width: 100% }
  /* For narrow windows: no column of links, which this API has none of; fields no wider than their column. */
  .swagger-ui .response-col_links { display: none }
  .swagger-ui .parameters-col_description :is(input, select) { box-sizing: border-box; min-width: 0; width: 100%; max-width: 21em }
  @media (max-width: 640px) {
    .swagger-ui .wrapper, .swagger-ui .opblock-body .opblock-section, .swagger-ui .responses-inner { padding: 0 4px }
    .swagger-ui .parameters-col_name, .swagger-ui .parameters-col_description { display: block; width: auto }
    .swagger-ui .parameters thead { display: none }
    .swagger-ui .parameters-col_name { padding-bottom: 0 }
    #examples { padding: 0 4px }
  }
</style>
</head>
<body>
<label id="examples" hidden>Ask for <select></select></label>
<div id="reference"></div>
<script src="/reference/swagger-ui-bundle.js"></script>
<script src="/reference/start.js"></script>
</body>
</html>
`;

/** Both ids of each question that can be chosen: the demo migrations, and one for each failure. */
const examples = {
  'a demo migration': Object.entries(demoIds).map(([kind, liveMigrationId]) => [
    `a live migration that ${kind}`,
    { groupId: demoGroupId, liveMigrationId },
  ]),
  'a failure': Object.entries(failuresOnDemand),
};

/**
 * Without validatorUrl: null, Swagger UI shows a badge that another host draws. Its own examples are of one parameter each,
 * and a failure needs both.
 */
const start = (isEmbedded: boolean) => `const ui = SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#reference',
  validatorUrl: null,
  deepLinking: true,
  docExpansion: 'full',
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
});
const groups = ${JSON.stringify(isEmbedded ? examples : {})};
const label = document.getElementById('examples');
const select = label.querySelector('select');
label.hidden = Object.keys(groups).length === 0;
const chosen = [];
for (const [name, questions] of Object.entries(groups)) {
  const group = document.createElement('optgroup');
  group.label = name;
  for (const [text, question] of questions) {
    group.append(new Option(text, chosen.length));
    chosen.push(question);
  }
  select.append(group);
}
select.addEventListener('change', () => {
  const operation = ['/groups/{groupId}/liveMigrations/{liveMigrationId}', 'get'];
  const parameters = ui.specSelectors.specJsonWithResolvedSubtrees().getIn(['paths', ...operation, 'parameters']);
  for (const [name, value] of Object.entries(chosen[select.value]))
    ui.specActions.changeParamByIdentity(operation, parameters.find((parameter) => parameter.get('name') === name), value, false);
});
`;

/**
 * openapi.yaml as it is here: this origin is its only server, and nothing comes from API Gateway: no signature is needed,
 * and every failure is a problem. One of the ids that can be chosen is malformed: so their schema has no pattern.
 *
 * @param isEmbedded false where the real Atlas is asked, which knows none of the examples
 */
async function localOpenApi(isEmbedded: boolean): Promise<string> {
  // Loaded on demand, since its parser is large.
  const { bundleOpenApi } = await import('../contract/openapi.ts');
  const { security: _, ...openApi } = await bundleOpenApi();
  delete openApi.components.securitySchemes;
  openApi.servers = [{ url: '/', description: 'npm start' }];
  for (const { get } of Object.values(openApi.paths)) {
    get.security = [];
    for (const [status, { content }] of Object.entries(get.responses)) {
      if (!content['application/problem+json'] && status !== '200') delete get.responses[status];
      else if (status !== '200') delete content['application/json'];
    }
    for (const parameter of get.parameters) {
      if (isEmbedded && parameter.in === 'path') parameter.schema = { type: 'string' };
    }
  }
  return JSON.stringify(openApi, null, 2);
}

/** @returns what is served at a path, with its content type */
const createReference = (isEmbedded: boolean) => {
  const files: Record<string, [type: string, read: () => string | Buffer | Promise<string>]> = {
    '/': ['text/html; charset=utf-8', () => page],
    '/openapi.json': ['application/json', () => localOpenApi(isEmbedded)],
    '/reference/start.js': ['text/javascript', () => start(isEmbedded)],
    '/reference/swagger-ui-bundle.js': ['text/javascript', () => asset('swagger-ui-bundle.js')],
    '/reference/swagger-ui.css': ['text/css', () => asset('swagger-ui.css')],
    '/reference/favicon-32x32.png': ['image/png', () => asset('favicon-32x32.png')],
  };
  return async (path: string, response: ServerResponse): Promise<boolean> => {
    const [type, read] = files[path] ?? [];
    if (!type || !read) return false;
    response.writeHead(200, {
      'content-type': type,
      'cache-control': 'no-store',
      // Whatever the viewer may think of, the browser fetches nothing from elsewhere.
      'content-security-policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    });
    response.end(await read());
    return true;
  };
};

/** serverless-offline sends some CORS header or other with every answer. */
function dropCorsHeaders(response: ServerResponse) {
  const { setHeader } = response;
  response.setHeader = (name, value) =>
    /^access-control-/i.test(name) ? response : setHeader.call(response, name, value);
}

/**
 * @param port where it listens
 * @param offline the server of serverless-offline
 * @param origins other origins whose pages may ask, which is what serverless-offline was told as well
 */
export function startLocalApi(
  port: number,
  offline: Server,
  { isEmbedded, origins }: { isEmbedded: boolean; origins: string[] },
) {
  const reference = createReference(isEmbedded);
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const [path = ''] = request.url?.split('?') ?? [];
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (isRead && (await reference(path, response))) return;
    if (!request.headers.origin) dropCorsHeaders(response);
    offline.emit('request', request, response);
  };
  return serve(answer, { port, origins });
}
