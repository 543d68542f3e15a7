/** The function's environment, validated once, when the function starts. */

import { type BaseUrl, baseUrlRule, readBaseUrl } from '../atlas/base-url.ts';
import { type HttpsProxy, proxyOf } from '../proxy.ts';

export type Configuration = {
  /** Name or ARN of the secret with the Atlas key; `{groupId}` in it is replaced by the project's id. */
  secretId: string;
  /** Wins over what the secret says; undefined where the secret, or else the default, decides. */
  baseUrl: BaseUrl | undefined;
  /** Milliseconds for one attempt at an answer from Atlas. */
  atlasTimeoutMs: number;
  /** Seconds that a secret is used without asking for it again. */
  secretMaxAgeSeconds: number;
  /** How old a shared answer may be, and the table that it is shared in; undefined where each question asks Atlas. */
  shared: { freshnessSeconds: number; table: string } | undefined;
  /** For https to Atlas, Secrets Manager and DynamoDB. */
  proxy: HttpsProxy | undefined;
  /** What log lines and metrics are filed under. */
  serviceName: string;
};

/**
 * @param environment the variables of the process; an empty one counts as not set
 * @throws Error one message that names every variable at fault, and what it must be
 */
export function readConfiguration(environment: NodeJS.ProcessEnv): Configuration {
  const problems: string[] = [];

  const wholeNumber = (name: string, fallback: number, least: number, most: number): number => {
    const text = environment[name];
    if (!text) return fallback;
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    problems.push(`${name} must be a whole number from ${least} to ${most}`);
    return fallback;
  };

  const secretId = environment['ATLAS_SECRET_ID'] ?? '';
  if (!secretId) problems.push('ATLAS_SECRET_ID must name the secret that holds the Atlas key');
  else if (/[{}]/.test(secretId.replaceAll('{groupId}', ''))) {
    problems.push('ATLAS_SECRET_ID may contain no placeholder other than {groupId}');
  }

  const baseUrlText = environment['ATLAS_BASE_URL'];
  const baseUrl = baseUrlText ? readBaseUrl(baseUrlText) : undefined;
  if (baseUrlText && !baseUrl) problems.push(`ATLAS_BASE_URL ${baseUrlRule}`);

  const freshnessSeconds = wholeNumber('ANSWER_FRESHNESS_SECONDS', 0, 0, 60);
  const table = environment['ANSWER_TABLE'] ?? '';
  if (freshnessSeconds > 0 && !table) {
    problems.push('ANSWER_TABLE must name the table of shared answers, since ANSWER_FRESHNESS_SECONDS is above 0');
  }

  const { proxy, problem } = proxyOf(environment);
  if (problem) problems.push(problem);

  const configuration = {
    secretId,
    baseUrl,
    atlasTimeoutMs: wholeNumber('ATLAS_TIMEOUT_MS', 4000, 100, 15_000),
    secretMaxAgeSeconds: wholeNumber('SECRET_MAX_AGE_SECONDS', 300, 0, 604_800),
    shared: freshnessSeconds > 0 ? { freshnessSeconds, table } : undefined,
    proxy,
    serviceName: environment['POWERTOOLS_SERVICE_NAME'] || 'atlas-live-migration',
  };
  if (problems.length > 0) throw new Error(`This function's environment is not valid: ${problems.join('; ')}.`);
  return configuration;
}
