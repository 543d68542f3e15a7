// @ts-nocheck
/**
 * What serverless.yml takes from here: the defaults of the parameters, and what follows from their values, which are
 * checked before anything is deployed.
 */

import { alarms } from './alarms.ts';
import { answerTable } from './answer-table.ts';
import { dashboard } from './dashboard.ts';
import { functionRole } from './function-role.ts';
import { httpApi } from './http-api.ts';
import { findProblems, findProblemsOfStage } from './parameter-rules.ts';
import { list, parameters } from './parameters.ts';
import { restApi } from './rest-api.ts';
import { splitTag, tag } from './tags.ts';
import { waiting } from './waiting.ts';

export { defaults } from './parameters.ts';

/** The forms of the API. */
const forms = { http: httpApi, rest: restApi, private: restApi, none: () => ({ events: [], part: {} }) };

/** What of serverless.yml follows from the values. */
export async function deployment({ options, resolveVariable, resolveConfigurationProperty }) {
  const values = {};
  for (const name of Object.keys(parameters)) values[name] = String(await resolveVariable(`param:${name}, ''`)).trim();
  const given = [options.param ?? []].flat().map((pair) => pair.split('=')[0]);
  // What is wrong under another stage would be noticed too late; a name that is wrong is not used at all.
  const stages = Object.entries((await resolveConfigurationProperty(['params'])) ?? {});
  for (const [, ofStage] of stages) given.push(...Object.keys(ofStage ?? {}));

  const region = await resolveVariable('self:provider.region');
  const functionName = `${await resolveVariable('self:service')}-${await resolveVariable('sls:stage')}-getLiveMigration`;
  const problems = findProblems(values, given, { region, functionName });
  problems.push(
    ...stages
      .flatMap(findProblemsOfStage)
      .filter(({ rule }) => !problems.includes(rule))
      .map(({ stage, rule }) => `under ${stage}, ${rule}`),
  );
  if (problems.length > 0) {
    const error = new Error(`the parameters are not valid: ${problems.join('; ')}.`);
    // osls prints the stack, which says nothing to the reader.
    error.stack = error.message;
    throw error;
  }

  const lists = Object.fromEntries(
    Object.keys(parameters)
      .filter((name) => parameters[name].isList)
      .map((name) => [name, list(values[name])]),
  );
  const { subnetIds, securityGroupIds } = lists;
  const { reservedConcurrency, logRetentionDays } = values;
  const tags = Object.fromEntries(lists.tags.map((pair) => splitTag(pair)));
  const tagList = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  const tagged = (part) => tag(part, tagList);
  const api = forms[values.api]({ ...values, ...lists, tagList });
  const table = answerTable(values);
  return {
    events: api.events,
    httpApi: api.httpApi ?? {},
    logs: api.logs ?? {},
    api: tagged(api.part),
    answerTable: tagged(table.part),
    answerTableName: table.name,
    functionRole: tagged(functionRole({ ...values, ...lists }, table.rights)),
    waiting: tagged(waiting(values)),
    alarms: tagged(alarms(values, api)),
    dashboard: tagged(dashboard(values, api)),
    tags,
    tagList,
    vpc: subnetIds.length > 0 ? { subnetIds, securityGroupIds } : null,
    reservedConcurrency: reservedConcurrency ? Number(reservedConcurrency) : null,
    logRetentionInDays: Number(logRetentionDays),
  };
}
