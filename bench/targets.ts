/** What the product has to reach, and whether it does. */

import { table } from './figures.ts';

/** The figure is good when it is at most the wanted one, or exactly it where more and less are both wrong. */
export type Target = { what: string; wanted: number; found: number; exactly?: boolean; unit?: string };

export const isReached = ({ wanted, found, exactly }: Target): boolean =>
  exactly ? found === wanted : found <= wanted;

const text = (value: number, unit = '') => `${Number.isInteger(value) ? value : value.toFixed(3)}${unit}`;

const wantedText = ({ wanted, exactly, unit }: Target) => `${exactly ? '' : '<= '}${text(wanted, unit)}`;

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
