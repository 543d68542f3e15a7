/** The commands that `npm start` offers, each with its whole URL, so that people and programs can copy them. */

import { demoGroupId, demoIds } from '../embedded/demo-migrations.ts';
import { failuresOnDemand } from '../embedded/failures-on-demand.ts';
import { functionName } from '../embedded/lambda-invoke.ts';

/** Up to the id of the live migration. */
export const baseOf = (http: string, groupId = demoGroupId) => `${http}/groups/${groupId}/liveMigrations`;

/** @param invoke the Lambda invoke endpoint */
export const waitCommand = (invoke: string) =>
  `npm run wait${invoke === 'http://127.0.0.1:3002' ? '' : ` -- --endpoint ${invoke}`}`;

/**
 * @param http the HTTP API
 * @param invoke the Lambda invoke endpoint
 */
export const allCommands = (http: string, invoke: string) => {
  const url = (id: string, group?: string) => `${baseOf(http, group)}/${id}`;
  const { completes, fails, expires } = demoIds;
  return `Run these commands several times: a demo migration starts with the first request for it.

  # NEW, WORKING with falling lag, ready for cutover, COMPLETE after two minutes
  curl ${url(completes)}
  # fails after 20 seconds
  curl ${url(fails)}
  # ready for cutover; the cutover is never started, so it expires after 30 seconds
  curl ${url(expires)}
  # start a new one: with eight other first digits, an id is another live migration of the same kind
  curl ${url(`$(date +%s | tail -c 9)${completes.slice(8)}`)}
  # follow a new one to its end, in another terminal
  ${waitCommand(invoke)}
  # indented; and with envelope=true, which changes nothing in the answer
  curl '${url(completes)}?pretty=true'
  curl '${url(completes)}?envelope=true'
  # another Lambda's direct invocation
  curl -d '{"groupId":"${demoGroupId}","liveMigrationId":"${completes}"}' ${invoke}/2015-03-31/functions/${functionName}/invocations

Each failure that a caller can get, always with these ids (AtlasTimedOut takes eight seconds):

${Object.entries(failuresOnDemand)
  .map(([name, { groupId, liveMigrationId }]) => `  # ${name}\n  curl ${url(liveMigrationId, groupId)}\n`)
  .join('')}`;
};
