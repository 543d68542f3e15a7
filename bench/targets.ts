/** What the product has to reach, and whether it does. */

import { table } from './figures.ts';

/** The figure is good when it is at most the wanted one; or at least, or exactly it, where the target says so. */
export type Target = {
  what: string;
  wanted: number;
  found: number;
  exactly?: boolean;
  atLeast?: boolean;
  unit?: string;
};

export const isReached = ({ wanted, found, exactly, atLeast }: Target): boolean =>
  exactly ? found === wanted : atLeast ? found >= wanted : found <= wanted;

const text = (value: number, unit = '') => `${Number.isInteger(value) ? value : value.toFixed(3)}${unit}`;

const wantedText = ({ wanted, exactly, atLeast, unit }: Target) =>
  `${exactly ? '' : atLeast ? '>= ' : '<= '}${text(wanted, unit)}`;

export const sentence = (target: Target) =>
  `${target.what}: ${text(target.found, target.unit)} instead of ${wantedText(target)}`;

export const targetsTable = (targets: Target[]) =>
  table(
    'Target',
    ['wanted', 'found', 'reached'],
    targets.map((target) => [
      target.what,
      wantedText(target),
      text(target.found, target.unit),
      isReached(target) ? 'yes' : 'NO',
    ]),
  );
