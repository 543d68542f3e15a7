/** Validates the parameters: each by itself, together with the others, and under another stage. */

import { isFilled, type ParameterName, parameterNames, parameters, type Texts } from './parameters.ts';

/** What serverless.yml has under `params`. */
export type Stages = Record<string, Record<string, unknown> | null>;
type Target = { region: string; functionName: string };

const isParameter = (name: string): name is ParameterName => Object.hasOwn(parameters, name);

/** What is wrong with one value. */
function problemsOf(name: ParameterName, text: string): string[] {
  const { isValid, rule, faultOf } = parameters[name];
  return isValid(text) ? [] : [`${name} ${faultOf?.(text) ?? rule}`];
}

/** The rules between the parameters. */
function problemsBetween(texts: Texts, { region, functionName }: Target): string[] {
  const problems: string[] = [];
  if (Boolean(texts.jwtIssuer) !== isFilled(texts.jwtAudience)) {
    problems.push('jwtIssuer and jwtAudience are needed together');
  }
  if (functionName.length > 64) {
    problems.push(
      `the stage is too long: ${functionName} has ${functionName.length} characters, of which Lambda takes 64`,
    );
  }
  const variables = ['atlasSecretId', 'atlasBaseUrl', 'httpsProxy', 'noProxy'] as const;
  const characters = variables.reduce((sum, name) => sum + texts[name].length, 0);
  // All variables of a function have 4,096 with their names; the others need less than 300.
  if (characters > 3700) {
    problems.push(`${variables.join(', ')} have ${characters} characters together, of which Lambda takes 3700`);
  }
  const { api } = texts;
  if (api === 'private' && !isFilled(texts.vpcEndpointIds)) problems.push('api private needs vpcEndpointIds');
  if (api !== 'private' && isFilled(texts.vpcEndpointIds)) problems.push('vpcEndpointIds need api private');
  for (const name of ['jwtIssuer', 'jwtAudience', 'jwtScopes', 'corsOrigins'] as const)
    if (api !== 'http' && isFilled(texts[name])) problems.push(`${name} needs api http`);
  if (isFilled(texts.jwtScopes) && !texts.jwtIssuer) problems.push('jwtScopes need jwtIssuer');
  if (['http', 'none'].includes(api) && isFilled(texts.callerAccountIds)) {
    problems.push('callerAccountIds need api rest or private');
  }
  if (texts.tableKmsKeyArn && Number(texts.freshnessSeconds) === 0) {
    problems.push('tableKmsKeyArn needs freshnessSeconds above 0: without it, there is no table');
  }
  const keys = ['kmsKeyArn', 'logsKmsKeyArn', 'tableKmsKeyArn'] as const;
  for (const name of ['atlasSecretId', ...keys, 'alarmTopicArn', 'eventBusName'] as const) {
    const [, of = region] = /^arn:[\w-]+:\w+:([\w-]+):/.exec(texts[name]) ?? [];
    if (of !== region) {
      problems.push(`${name} is in ${of}, and the deployment in ${region}: they must be in the same region`);
    }
  }
  if (isFilled(texts.subnetIds) !== isFilled(texts.securityGroupIds)) {
    problems.push('subnetIds and securityGroupIds are needed together');
  }
  return problems;
}

/** What is wrong under one stage; a variable of serverless is left to it, and a file to the deployment of that stage. */
const problemsUnder = (values: Record<string, unknown>) =>
  Object.entries(values).flatMap(([name, value]) => {
    const text = String(value ?? '').trim();
    return isParameter(name) && name !== 'caFile' && !text.includes('${') ? problemsOf(name, text) : [];
  });

/** What is not wrong, and will not do what people expect. */
export function warningsOf({ noProxy }: Texts): string[] {
  const block = noProxy.split(/[\s,]+/).find((entry) => /^[\da-f.:]+\/\d+$/i.test(entry));
  return block
    ? [
        `noProxy has the CIDR block ${block}, which is ignored: Node.js knows only ranges, such as 10.0.0.0-10.255.255.255.`,
      ]
    : [];
}

/**
 * @param texts the values for the stage that is deployed
 * @param given the names of the parameters that the command line gives
 * @param stages what is wrong under another stage would be noticed too late, and a name that is wrong is not used at all
 * @returns everything that is wrong
 */
export function validate(texts: Texts, given: string[], stages: Stages, target: Target): string[] {
  const names = [...given, ...Object.values(stages).flatMap((values) => Object.keys(values ?? {}))];
  const unknown = new Set(names.filter((name) => !isParameter(name)));
  const problems = [
    ...[...unknown].map((name) => `there is no parameter ${name}`),
    ...parameterNames.flatMap((name) => problemsOf(name, texts[name])),
    ...problemsBetween(texts, target),
  ];
  const ofStages = Object.entries(stages).flatMap(([stage, values]) =>
    problemsUnder(values ?? {})
      .filter((problem) => !problems.includes(problem))
      .map((problem) => `under ${stage}, ${problem}`),
  );
  return [...problems, ...ofStages];
}
