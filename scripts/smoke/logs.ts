/** Checks of the logs: the line of one request, and the query of the runbook. */

import { readFileSync } from 'node:fs';
import { type Check, type Context, poll } from './context.ts';
import { Trouble } from './question.ts';

type Line = Record<string, unknown>;
type Result = { field: string; value: string }[];

const functionLog = ({ deployment }: Context) => `/aws/lambda/${deployment.functionName}`;

/** Lines arrive within a minute or so. */
const EVERY_MS = 5000;

/** Runs a query once over the last minutes. @returns its rows, by the names of their fields */
async function runQuery(
  context: Context,
  logGroupNames: string[],
  queryString: string,
  late: () => Trouble,
): Promise<Record<string, string>[]> {
  const { call } = context.aws;
  const now = Math.floor(Date.now() / 1000);
  const { queryId } = await call('logs', 'StartQuery', {
    logGroupNames,
    queryString,
    startTime: now - 900,
    endTime: now + 60,
  });
  const results = await poll(
    context,
    async () => {
      const { status, results } = await call('logs', 'GetQueryResults', { queryId });
      if (['Failed', 'Cancelled', 'Timeout'].includes(status))
        throw new Trouble(`A query of CloudWatch Logs Insights ended as ${status}.`, 'Ask again.');
      return status === 'Complete' ? (results as Result[]) : undefined;
    },
    1000,
    late,
  );
  return results.map((row) => Object.fromEntries(row.map(({ field, value }) => [field, value])));
}

/** The function's lines of these invocations, as soon as all are there. */
export async function newestLines(context: Context, requestIds: string[]): Promise<Line[]> {
  const query = `fields @message | filter function_request_id in ${JSON.stringify(requestIds)}`;
  const late = () =>
    new Trouble(
      `The log group ${functionLog(context)} has no line of the request ${requestIds[0]}.`,
      "Check that the function's role may write to it (logs:CreateLogStream, logs:PutLogEvents), and ask again.",
    );
  return poll(
    context,
    async () => {
      const rows = await runQuery(context, [functionLog(context)], query, late);
      const lines = rows.map((row) => JSON.parse(row['@message'] ?? '{}') as Line);
      return lines.length >= requestIds.length ? lines : undefined;
    },
    EVERY_MS,
    late,
  );
}

/** The query of docs/operate.md that joins the log of the API and that of the function. */
function queryOfRunbook(): string {
  const page = readFileSync(new URL('../../docs/operate.md', import.meta.url), 'utf8');
  return /^fields coalesce[^`]+/m.exec(page)?.[0].trim() ?? '';
}

export const logLine: Check = {
  name: 'log line',
  seconds: 120,
  actions: ['logs:StartQuery', 'logs:GetQueryResults'],
  async run(context) {
    const { requestId } = context.invoked;
    const [line] = await newestLines(context, [requestId]);
    const metrics = (line?.['_aws'] as { CloudWatchMetrics?: unknown[] } | undefined)?.CloudWatchMetrics ?? [];
    if (metrics.length === 0)
      throw new Trouble(
        'The log line of the function has no metrics.',
        'The function that is deployed is another one, or its log format is JSON: it must be text.',
      );
    return { ok: `the line of request ${requestId} is in the log, with its metrics` };
  },
};

export const runbookQuery: Check = {
  name: 'log query',
  seconds: 150,
  actions: ['logs:StartQuery', 'logs:GetQueryResults'],
  async run(context) {
    const { resources } = context.deployment;
    const accessLog = resources.find(
      ({ type, physicalId }) => type === 'AWS::Logs::LogGroup' && /vendedlogs\/(http|rest)-api/.test(physicalId),
    );
    if (!accessLog) return { skipped: 'this stack has no API, and so no access log' };
    if (!context.apiAnswered) return { skipped: 'no request went through the API to the function' };
    const late = () =>
      new Trouble(
        `The query of docs/operate.md finds no request in both ${functionLog(context)} and ${accessLog.physicalId}.`,
        'Check in the access log that its lines come and have functionRequestId.',
      );
    const joined = await poll(
      context,
      async () => {
        const rows = await runQuery(context, [functionLog(context), accessLog.physicalId], queryOfRunbook(), late);
        return rows.find(({ httpStatus, ended }) => httpStatus && ended);
      },
      EVERY_MS,
      late,
    );
    return {
      ok: `the query of the runbook joins both logs: latest() takes the value of the line that has it (${joined['httpStatus']}, ${joined['ended']})`,
    };
  },
};
