/** Tags: how the parameter writes them, and what takes them. */

import type { Part, Tag } from './cloudformation.ts';

/** The name and the value of a tag, without blanks around them. */
export const splitTag = (pair: string): [name: string, value: string] => {
  const [name = '', ...value] = pair.split('=');
  return [name.trim(), value.join('=').trim()];
};

/** The types of our resources that take no tags. */
const untaggable = [
  'AWS::Lambda::Permission',
  'AWS::ApiGateway::Resource',
  'AWS::ApiGateway::Method',
  'AWS::ApiGateway::Deployment',
];

/** Puts the tags on every resource of a part that takes them. */
export const tag = (part: Part, tagList: Tag[]): Part => {
  for (const { Type, Properties } of Object.values(part.Resources ?? {}))
    if (tagList.length > 0 && !untaggable.includes(Type)) Properties['Tags'] = tagList;
  return part;
};
