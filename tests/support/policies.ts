/** IAM policies: what they allow, as AWS decides it, as far as the policies here need it. */

import type { Condition, Statement } from '../../deploy/cloudformation.ts';

/** A policy as a file has it; a statement of a key's policy names who it is for. */
export type PolicyStatement = Statement & { Principal?: { Service?: string; AWS?: string } };

export type Request = {
  action: string;
  resource: string;
  /** The name of a service that asks; left out: an identity of the account. */
  service?: string;
  context?: Record<string, string>;
};

const list = <T>(value: T | T[]): T[] => [value].flat() as T[];

/** With `*` for any text and `?` for any character. */
const matches = (pattern: string, text: string) => {
  const escaped = pattern.replace(/[\\^$.+()[\]{}|]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's').test(text);
};

const operators: Record<string, (wanted: string, text: string) => boolean> = {
  StringEquals: (wanted, text) => wanted === text,
  StringLike: matches,
  ArnEquals: matches,
  ArnLike: matches,
};

const holds = (condition: Condition, context: Record<string, string>) =>
  Object.entries(condition).every(([operator, keys]) =>
    Object.entries(keys).every(([key, wanted]) => {
      const compare = operators[operator];
      if (!compare) throw new Error(`the operator ${operator} is not known here`);
      const text = context[key];
      return text !== undefined && list(wanted).some((one) => compare(String(one), text));
    }),
  );

const isFor = ({ Principal }: PolicyStatement, service: string | undefined) =>
  !Principal || (service ? Principal.Service === service : Principal.AWS === '*');

/** Whether a policy allows a request: a statement must, and none may deny it. */
export function allows(statements: PolicyStatement[], { action, resource, service, context = {} }: Request) {
  const effects = statements
    .filter(
      (statement) =>
        isFor(statement, service) &&
        list(statement.Action).some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
        list(statement.Resource).some((pattern) => matches(String(pattern), resource)) &&
        holds(statement.Condition ?? {}, context),
    )
    .map(({ Effect }) => Effect);
  return effects.length > 0 && effects.every((effect) => effect === 'Allow');
}
