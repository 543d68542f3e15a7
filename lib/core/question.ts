/** What a caller may ask, validated before anything leaves the function. */

import { Failure } from './failure.ts';

/** One question: which live migration of which project. The flags are forwarded to Atlas where they are given. */
export type Question = {
  /** 24 lower-case hexadecimal digits. */
  groupId: string;
  /** 24 lower-case hexadecimal digits. */
  liveMigrationId: string;
  pretty?: boolean;
  envelope?: boolean;
};

/** The fields of the question as they came in, not yet validated. */
export type Fields = { [field in keyof Question]?: unknown } & {
  /** The path that the ids stood in, in every form that it came in. */
  paths?: unknown[];
};

const flags = ['pretty', 'envelope'] as const;

/**
 * Validates the fields of a request. Ids are in lower case, as Atlas writes them, and without percent-encoding, which they
 * never need: both would bypass an access policy on the path. Flags are `true` or `false` in any case.
 *
 * @throws Failure `InvalidRequest`, which lists every field at fault.
 */
export function readQuestion(fields: Fields): Question {
  const errors: { field: string; detail: string }[] = [];

  const id = (field: 'groupId' | 'liveMigrationId'): string => {
    const value = fields[field];
    if (typeof value === 'string' && /^[0-9a-f]{24}$/.test(value)) return value;
    errors.push({ field, detail: value === undefined ? 'is missing' : 'must be 24 hexadecimal digits in lower case' });
    return '';
  };

  if (fields.paths?.some((path) => typeof path === 'string' && path.includes('%')))
    errors.push({ field: 'path', detail: 'must hold no %, since ids need no encoding' });
  const question: Question = { groupId: id('groupId'), liveMigrationId: id('liveMigrationId') };
  for (const field of flags) {
    const value = fields[field];
    if (value === undefined) continue;
    if (typeof value === 'string' && /^(true|false)$/i.test(value)) question[field] = value.toLowerCase() === 'true';
    else errors.push({ field, detail: 'must be true or false' });
  }

  if (errors.length > 0) {
    const sentence = errors.map(({ field, detail }) => `${field} ${detail}`).join(', ');
    throw new Failure('InvalidRequest', `The request is not valid: ${sentence}.`, { errors });
  }
  return question;
}
