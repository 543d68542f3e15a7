/** CloudFormation's own specification of resources: what properties each type has, and of what types they are. */

import { loadAwsServiceSpec } from '@aws-cdk/aws-service-spec';
import type { Resource } from '../../deploy/cloudformation.ts';

export const isIntrinsic = (value: unknown) =>
  typeof value === 'object' &&
  value !== null &&
  Object.keys(value).length === 1 &&
  /^(Ref|Fn::\w+)$/.test(Object.keys(value)[0] ?? '');

type PropertyType = { type: string; element?: PropertyType; types?: PropertyType[]; reference?: { $ref: string } };
type Properties = Record<string, { type: PropertyType; required?: boolean }>;

/** @returns what finds the problems of some resources, and whether a type takes tags: it takes a second to read */
export const readSpecification = async () => {
  const db = await loadAwsServiceSpec();
  const problems: string[] = [];

  const fits = (value: unknown, type: PropertyType, path: string): string[] => {
    if (isIntrinsic(value)) return [];
    const wrong = [`${path}: ${JSON.stringify(value)} is no ${type.type}`];
    switch (type.type) {
      case 'string':
      case 'date-time':
        return typeof value === 'string' ? [] : wrong;
      case 'integer':
        return Number.isInteger(value) ? [] : wrong;
      case 'number':
        return typeof value === 'number' ? [] : wrong;
      case 'boolean':
        return typeof value === 'boolean' ? [] : wrong;
      case 'json':
        return typeof value === 'object' || typeof value === 'string' ? [] : wrong;
      case 'array':
        return Array.isArray(value)
          ? value.flatMap((item, index) => fits(item, type.element ?? { type: 'json' }, `${path}[${index}]`))
          : wrong;
      case 'map':
        return typeof value === 'object' && value !== null
          ? Object.entries(value).flatMap(([key, item]) =>
              fits(item, type.element ?? { type: 'json' }, `${path}.${key}`),
            )
          : wrong;
      case 'tag':
        return [];
      case 'ref':
        return fitsAll(
          value,
          db.get('typeDefinition', type.reference?.$ref ?? '').properties as unknown as Properties,
          path,
        );
      case 'union': {
        const tries = (type.types ?? []).map((one) => fits(value, one, path));
        return tries.find((found) => found.length === 0) ?? tries[0] ?? wrong;
      }
      default:
        return [`${path}: unknown type ${type.type} in the specification`];
    }
  };

  const fitsAll = (value: unknown, properties: Properties, path: string): string[] => {
    if (typeof value !== 'object' || value === null) return [`${path}: not an object`];
    const missing = Object.entries(properties).filter(
      ([name, { required }]) => required && !Object.hasOwn(value, name),
    );
    return [
      ...missing.map(([name]) => `${path}.${name} is missing`),
      ...Object.entries(value).flatMap(([name, item]) => {
        const property = properties[name];
        return property ? fits(item, property.type, `${path}.${name}`) : [`${path}.${name}: there is no such property`];
      }),
    ];
  };

  const typeNamed = (Type: string) => db.lookup('resource', 'cloudFormationType', 'equals', Type)[0];

  const problemsOf = ({ Resources }: { Resources: Record<string, Resource> }) => {
    for (const [name, { Type, Properties }] of Object.entries(Resources)) {
      const known = typeNamed(Type);
      problems.push(
        ...(known
          ? fitsAll(Properties, known.properties as unknown as Properties, name)
          : [`${name}: there is no type ${Type}`]),
      );
    }
    return problems.splice(0);
  };
  const takesTags = (Type: string) => Object.hasOwn(typeNamed(Type)?.properties ?? {}, 'Tags');
  return { problemsOf, takesTags };
};
