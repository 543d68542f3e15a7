/** Checks of the function: by its name, by its API, for a project that has no secret, and with shared answers. */

import { InvokeCommand } from '@aws-sdk/client-lambda';
import type { FailureName } from '#contract';
import { sdkError } from './aws.ts';
import { type Check, type Context, type Invoked, madeUp } from './context.ts';
import { newestLines } from './logs.ts';
import { advice, adviceOn, askDeployed, Trouble } from './question.ts';

/** Good answers for ids that are made up: Atlas was asked, and does not know them. */
const unknownIds = ['LiveMigrationNotFound', 'ProjectNotFound'];

/** Invokes the function by its name. @throws AwsError */
export const invoker =
  (context: Context) =>
  async (question: { groupId: string; liveMigrationId: string }): Promise<Invoked> => {
    let headers: Record<string, string> = {};
    const command = new InvokeCommand({
      FunctionName: context.deployment.functionName,
      Payload: JSON.stringify(question),
    });
    command.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        ({ headers } = result.response as { headers: typeof headers });
        return result;
      },
      { step: 'deserialize', priority: 'low' },
    );
    const { FunctionError, Payload, $metadata } = await context.aws.lambda
      .send(command, { abortSignal: context.signal })
      .catch(sdkError('lambda:InvokeFunction'));
    const answer = JSON.parse(Buffer.from(Payload ?? []).toString() || 'null');
    return {
      requestId: $metadata.requestId ?? '',
      traceHeader: headers['x-amzn-trace-id'] ?? '',
      outcome: FunctionError ? String(answer?.errorType) : 'Answered',
      detail: String(answer?.errorMessage ?? ''),
      document: FunctionError ? null : answer,
    };
  };

function troubleOf({ outcome, detail, requestId }: Invoked): Trouble {
  return Object.hasOwn(advice, outcome)
    ? new Trouble(`${outcome}: ${detail}`, adviceOn(outcome as FailureName, detail), `request id ${requestId}`)
    : new Trouble(
        `The function failed (${outcome}): ${detail}`,
        'Look at the last lines of its log: it did not start, or ran into its time-out or out of memory.',
        `request id ${requestId}`,
      );
}

export const byName: Check = {
  name: 'function',
  seconds: 40,
  actions: ['lambda:InvokeFunction'],
  async run(context) {
    const { groupId, liveMigrationId, areReal } = context;
    context.invoke = invoker(context);
    context.invoked = await context.invoke({ groupId, liveMigrationId });
    const { outcome, document } = context.invoked;
    if (document) return { ok: `invoked by its name: the live migration is ${document['status']}` };
    const isAsked = !(
      outcome === 'ProjectNotFound' && context.deployment.variables['ATLAS_SECRET_ID']?.includes('{groupId}')
    );
    if (!areReal && unknownIds.includes(outcome))
      return {
        ok: `invoked by its name: ${outcome}, as it should be for ids that are made up${isAsked ? '' : '; there is no secret for them, so Atlas was not asked'}`,
      };
    throw troubleOf(context.invoked);
  },
};

export const byApi: Check = {
  name: 'API',
  seconds: 60,
  actions: ['execute-api:Invoke'],
  async run(context) {
    const { deployment, network, region, stage, groupId, liveMigrationId, areReal, signal } = context;
    const url = deployment.outputs['ApiUrl'];
    if (!url) return { skipped: 'this stack has none (api=none)' };
    let wantsJwt = false;
    const said = await askDeployed({ stage, region, url, groupId, liveMigrationId }, network).catch((error: Error) => {
      const [name = ''] = error.message.split(':');
      if (!areReal && unknownIds.includes(name)) return name;
      wantsJwt = error.message.includes('wants a JWT');
      if (wantsJwt) return '';
      throw error;
    });
    context.apiAnswered = !wantsJwt;
    const target = `${url.replace(/\/+$/, '')}/groups/${groupId}/liveMigrations/${liveMigrationId}`;
    const { status } = await network.send(new Request(target, { signal }));
    if (![401, 403].includes(status))
      throw new Trouble(
        `A request without a signature or a token is answered with ${status}: it should be refused.`,
        status === 429 || status >= 500
          ? 'The API throttles or fails: ask again.'
          : 'Check the authorization of the routes in API Gateway, and deploy the stack again.',
      );
    if (wantsJwt)
      return {
        ok: `it wants a JWT and refuses others (${status}); npm run smoke -- --quick --token JWT asks with one`,
      };
    const words = said.split('\n')[0]?.replace(/^✓ /, '').replace(/\.$/, '');
    return { ok: `a signed request is answered (${words}), and one without a signature is refused (${status})` };
  },
};

export const unknownProject: Check = {
  name: 'unknown project',
  seconds: 120,
  actions: ['lambda:InvokeFunction', 'logs:StartQuery', 'logs:GetQueryResults'],
  async run(context) {
    const secretId = context.deployment.variables['ATLAS_SECRET_ID'] ?? '';
    if (!secretId.includes('{groupId}')) return { skipped: 'all projects have one secret' };
    const invoked = await context.invoke(madeUp);
    if (invoked.document)
      throw new Trouble('A project that does not exist has an answer.', 'Is there a secret for it?');
    if (invoked.outcome !== 'ProjectNotFound') throw troubleOf(invoked);
    const [line] = await newestLines(context, [invoked.requestId]);
    if (line?.['secretDenied'])
      throw new Trouble(
        'The function may not ask for the secret of a project that has none, and cannot tell it from one that it may not read.',
        'Deploy the stack again: the policy of the function covers both. A policy of the organization may deny it.',
      );
    return { ok: 'a project without a secret is ProjectNotFound' };
  },
};

export const sharedAnswers: Check = {
  name: 'shared answers',
  seconds: 120,
  actions: ['lambda:InvokeFunction', 'logs:StartQuery', 'logs:GetQueryResults'],
  async run(context) {
    const { groupId, liveMigrationId, areReal, deployment } = context;
    if (!(Number(deployment.variables['ANSWER_FRESHNESS_SECONDS']) > 0))
      return { skipped: 'answers are not shared (freshnessSeconds=0)' };
    if (Number(deployment.variables['ANSWER_FRESHNESS_SECONDS']) < 3)
      return { skipped: 'answers are shared for too short a time to see it (freshnessSeconds below 3)' };
    if (!areReal) return { skipped: 'only documents are shared for long: give the ids of a live migration' };
    const first = await context.invoke({ groupId, liveMigrationId });
    const second = await context.invoke({ groupId, liveMigrationId });
    for (const invoked of [first, second]) if (!invoked.document) throw troubleOf(invoked);
    // After a failure, the table is left alone for some seconds: the very first line tells of it.
    const ids = [context.invoked.requestId, first.requestId, second.requestId];
    const lines = await newestLines(context, ids);
    const line = lines.find(({ function_request_id: id }) => id === second.requestId) ?? {};
    const failure = lines.map(({ tableFailure }) => tableFailure).find(Boolean);
    if (failure)
      throw new Trouble(
        `The table of shared answers fails (${failure}).`,
        'docs/operate.md, TableFails, says what each error means.',
      );
    if (!['memory', 'table'].includes(String(line['answerFrom'])))
      throw new Trouble(
        'The second of two questions asked Atlas again.',
        'Look at answerFrom and tableFailure in the log lines.',
      );
    return { ok: `the second of two questions had its answer from the ${line['answerFrom']}` };
  },
};
