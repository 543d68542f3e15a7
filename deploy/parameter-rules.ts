// @ts-nocheck
/** Finds all that is wrong with the parameters: each by itself, together with the others, and under another stage. */

import { list, parameters } from './parameters.ts';

const isFilled = (text) => list(text).length > 0;

/** Names everything that is wrong. */
export function findProblems(values, given, { region, functionName }) {
  const unknown = new Set(given.filter((name) => !Object.hasOwn(parameters, name)));
  const problems = [...unknown].map((name) => `there is no parameter ${name}`);
  for (const [name, { isGood, rule }] of Object.entries(parameters)) {
    if (!isGood(values[name])) problems.push(`${name} ${rule}`);
  }
  if (Boolean(values.jwtIssuer) !== isFilled(values.jwtAudience)) {
    problems.push('jwtIssuer and jwtAudience are needed together');
  }
  if (functionName.length > 64) {
    problems.push(
      `the stage is too long: ${functionName} has ${functionName.length} characters, of which Lambda takes 64`,
    );
  }
  const { api } = values;
  if (api === 'private' && !isFilled(values.vpcEndpointIds)) problems.push('api private needs vpcEndpointIds');
  if (api !== 'private' && isFilled(values.vpcEndpointIds)) problems.push('vpcEndpointIds need api private');
  for (const name of ['jwtIssuer', 'jwtAudience', 'jwtScopes', 'corsOrigins'])
    if (api !== 'http' && isFilled(values[name])) problems.push(`${name} needs api http`);
  if (isFilled(values.jwtScopes) && !values.jwtIssuer) problems.push('jwtScopes need jwtIssuer');
  if (['http', 'none'].includes(api) && isFilled(values.callerAccountIds)) {
    problems.push('callerAccountIds need api rest or private');
  }
  for (const name of ['atlasSecretId', 'kmsKeyArn', 'alarmTopicArn', 'eventBusName']) {
    const [, of = region] = /^arn:[\w-]+:\w+:([\w-]+):/.exec(values[name]) ?? [];
    if (of !== region) {
      problems.push(`${name} is in ${of}, and the deployment in ${region}: they must be in the same region`);
    }
  }
  if (isFilled(values.subnetIds) !== isFilled(values.securityGroupIds)) {
    problems.push('subnetIds and securityGroupIds are needed together');
  }
  return problems;
}

/** What is wrong under one stage of params; a variable of serverless is left to it. */
export const findProblemsOfStage = ([stage, ofStage]) =>
  Object.entries(ofStage ?? {})
    .map(([name, value]) => ({
      stage,
      text: String(value ?? '').trim(),
      ...parameters[name],
      rule: `${name} ${parameters[name]?.rule}`,
    }))
    .filter(({ text, isGood }) => isGood && !text.includes('${') && !isGood(text));
