/** The function `getLiveMigration`: reads the environment, builds the parts, hands them to each other. */

// First of all: it begins what waits for the network.
import '../lib/lambda/begin.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import { createAtlasClient } from '../lib/atlas/client.ts';
import { createAnswerQuestion } from '../lib/core/answer-question.ts';
import type { Question } from '../lib/core/question.ts';
import { configuration, send } from '../lib/lambda/begin.ts';
import { doors } from '../lib/lambda/doors.ts';
import { callOf } from '../lib/lambda/invocation.ts';
import { invocationLine } from '../lib/lambda/invocation-line.ts';
import { readSecret } from '../lib/secret/format.ts';
import { createSecretReader } from '../lib/secret/secrets-manager.ts';
import { createCredentialsStore } from '../lib/secret/store.ts';
import { createSharing } from '../lib/sharing/sharing.ts';

const credentials = createCredentialsStore(
  createSecretReader(configuration.proxy),
  (text, secretId) => readSecret(text, secretId, configuration.baseUrl),
  configuration,
);
credentials.warmUp();

const { shared, proxy, atlasTimeoutMs } = configuration;
/** The table's client takes time to load: it is loaded only where there is a table. */
const openTable = async (name: string) => (await import('../lib/sharing/table.ts')).openTable(name, proxy);
const clock = { now: () => Date.now(), sleep };
const sharing = shared && { ...shared, share: createSharing(openTable(shared.table), clock) };
const askAtlas = createAtlasClient(send, atlasTimeoutMs, sharing);
const answerQuestion = createAnswerQuestion(credentials, askAtlas);

/** As Lambda calls it: with any event. */
export const handler = middy<unknown, unknown, Error, Context>({ timeoutEarlyInMillis: 0 })
  .use(invocationLine(configuration.serviceName))
  .use(doors())
  // The doors put the valid question in the place of the event.
  .handler((question, context) => answerQuestion(question as Question, callOf(context)));
