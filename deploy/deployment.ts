/**
 * What serverless.yml takes from here: the defaults of the parameters, and what follows from their values, which are
 * validated before anything is deployed.
 */

import { alarms } from './alarms.ts';
import { answerTable } from './answer-table.ts';
import type { Api } from './api.ts';
import { caFileOfFunction } from './ca-file.ts';
import type { Part } from './cloudformation.ts';
import { dashboard } from './dashboard.ts';
import { functionNameOf, functionRole } from './function-role.ts';
import { httpApi } from './http-api.ts';
import { logEncryption } from './log-groups.ts';
import { type Stages, validate, warningsOf } from './parameter-rules.ts';
import { parameterNames, readValues, type Settings, type Texts } from './parameters.ts';
import { restApi } from './rest-api.ts';
import { splitTag, tag } from './tags.ts';
import { waiting } from './waiting.ts';

export { defaults } from './parameters.ts';

/** What osls hands to a function in a file that serverless.yml names. */
type Osls = {
  options: { param?: string | string[] };
  resolveVariable(variable: string): Promise<unknown>;
  resolveConfigurationProperty(path: string[]): Promise<unknown>;
};

function apiOf(settings: Settings): Api {
  if (settings.api === 'none') return { events: [], part: {} };
  return settings.api === 'http' ? httpApi(settings) : restApi(settings);
}

/** What of serverless.yml follows from the parameters. */
export async function deployment({ options, resolveVariable, resolveConfigurationProperty }: Osls) {
  const resolve = async (variable: string) => String(await resolveVariable(variable)).trim();
  const texts = {} as Texts;
  for (const name of parameterNames) texts[name] = await resolve(`param:${name}, ''`);
  const given = [options.param ?? []].flat().map((pair) => pair.replace(/=.*/s, ''));
  const stages = ((await resolveConfigurationProperty(['params'])) ?? {}) as Stages;
  const region = await resolve('self:provider.region');
  const stage = await resolve('sls:stage');
  const service = `${await resolve('self:service')}-${stage}`;
  const problems = validate(texts, given, stages, { region, functionName: functionNameOf(service) });
  if (problems.length > 0) {
    const error = new Error(`the parameters are not valid: ${problems.join('; ')}.`);
    // osls prints the stack, which says nothing to the reader.
    error.stack = error.message;
    throw error;
  }

  const values = readValues(texts);
  const { subnetIds, securityGroupIds, reservedConcurrency, logRetentionDays } = values;
  const tags = Object.fromEntries(values.tags.map(splitTag));
  const tagList = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  const tagged = (part: Part) => tag(part, tagList);
  const settings = { ...values, service, stage, tagList };
  const api = apiOf(settings);
  const table = answerTable(settings);
  return {
    events: api.events,
    httpApi: api.httpApi ?? {},
    logs: api.logs ?? {},
    api: tagged(api.part),
    answerTable: tagged(table.part),
    answerTableName: table.name,
    warnings: warningsOf(texts),
    caFile: values.caFile,
    caFileOfFunction: values.caFile ? caFileOfFunction : null,
    functionRole: tagged(functionRole(settings, table.rights)),
    waiting: tagged(waiting(settings)),
    alarms: tagged(alarms(settings, api)),
    dashboard: tagged(dashboard(settings, api)),
    tags,
    tagList,
    functionLogGroup: { Tags: tagList, ...logEncryption(settings) },
    vpc: subnetIds.length > 0 ? { subnetIds, securityGroupIds } : null,
    tracing: values.tracing === 'true',
    reservedConcurrency: reservedConcurrency ? Number(reservedConcurrency) : null,
    logRetentionInDays: Number(logRetentionDays),
  };
}
