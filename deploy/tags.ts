/** Tags: how the parameter writes them, and what takes them. */

import type { Part, Tag } from './cloudformation.ts';

/** The name and the value of a tag, without blanks around them. */
export const splitTag = (pair: string): [name: string, value: string] => {
  const [name = '', ...value] = pair.split('=');
  return [name.trim(), value.join('=').trim()];
};

/** The types of our resources that get no tags of their own. */
const untagged = [
  'AWS::Lambda::Permission',
  'AWS::ApiGateway::Resource',
  'AWS::ApiGateway::Method',
  'AWS::ApiGateway::Deployment',
  // Only commercial regions take them; CloudFormation hands the tags of the stack on where it can.
  'AWS::CloudWatch::Dashboard',
  'AWS::Logs::MetricFilter',
];

/** Puts the tags on the other resources of a part. */
export const tag = (part: Part, tagList: Tag[]): Part => {
  for (const { Type, Properties } of Object.values(part.Resources ?? {}))
    if (tagList.length > 0 && !untagged.includes(Type)) Properties['Tags'] = tagList;
  return part;
};
