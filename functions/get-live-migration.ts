/** The function `getLiveMigration`: reads the environment, builds the parts, hands them to each other. */

import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics } from '@aws-lambda-powertools/metrics';
import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import { createAtlasClient } from '../lib/atlas-client.ts';
import { readConfiguration } from '../lib/configuration.ts';
import { createCredentialsStore } from '../lib/credentials.ts';
import { doors } from '../lib/doors.ts';
import { createGetLiveMigration } from '../lib/get-live-migration.ts';
import { createHttpClient } from '../lib/http-client.ts';
import { type CallContext, invocationLog } from '../lib/invocation-log.ts';
import { invocationMetrics, namespace } from '../lib/invocation-metrics.ts';
import type { Question } from '../lib/question.ts';
import { readSecret } from '../lib/secret.ts';
import { createSecretReader } from '../lib/secrets-manager.ts';

const configuration = readConfiguration(process.env);

const credentials = createCredentialsStore(
  createSecretReader(),
  (text, secretId) => readSecret(text, secretId, configuration.baseUrl),
  configuration,
);
credentials.warmUp();
const askAtlas = createAtlasClient(createHttpClient(), configuration.atlasTimeoutMs);
const getLiveMigration = createGetLiveMigration(credentials, askAtlas);

const { serviceName } = configuration;
const pipeline = middy({ timeoutEarlyInMillis: 0 })
  .use(invocationLog(new Logger({ serviceName })))
  .use(invocationMetrics(new Metrics({ namespace, serviceName })))
  .use(doors())
  .handler((question: Question, { call }: CallContext) => getLiveMigration(question, call));

/** As Lambda calls it: with any event, and a context that the pipeline adds to. */
export const handler = pipeline as unknown as (event: unknown, context: Context) => Promise<unknown>;
