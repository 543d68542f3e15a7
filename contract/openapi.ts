/** openapi.yaml as one document, for tools that read one file only. */

import { fileURLToPath } from 'node:url';
import { bundle, createConfig } from '@redocly/openapi-core';

export type OpenApi = {
  info: { version: string };
  servers: object[];
  security?: object[];
  paths: Record<string, { get: { security?: object[]; parameters: Parameter[]; responses: Record<string, Response> } }>;
  components: { securitySchemes?: object };
};
type Response = { content: Record<string, object> };
type Parameter = { name: string; in: string; schema: object; example?: unknown; examples?: object };

/** @returns the document, with the schemas that it needs from contract.schema.json under its own `components` */
export async function bundleOpenApi(): Promise<OpenApi> {
  const ref = fileURLToPath(new URL('openapi.yaml', import.meta.url));
  const { bundle: bundled, problems } = await bundle({ ref, config: await createConfig({}) });
  const [problem] = problems;
  if (problem) throw new Error(`openapi.yaml can't be bundled: ${problem.message}`);
  return bundled.parsed as OpenApi;
}
