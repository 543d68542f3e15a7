/**
 * The sample project of `npm start`. The end of an id says how its live migration goes; its first eight digits
 * are free, so that another one of the same kind can begin at any time.
 */

import { randomBytes } from 'node:crypto';
import type { Migration, Projects } from './atlas.ts';

export const demoGroupId = '5f1b2c3d4e5f6a7b8c9d0e1f';
export const demoIds = {
  completes: '7e68e12770616e75e6df43d0',
  fails: '7e68e12770616e75e6df43d1',
  expires: '7e68e12770616e75e6df43d2',
};

/** NEW, then WORKING while the lag falls, ready for cutover, the cutover itself, and COMPLETE after two minutes. */
const completes: Migration = (seconds) => {
  const job = { migrationHosts: 'vm001.example.com' };
  if (seconds < 10) return { ...job, status: 'NEW' };
  if (seconds < 85) {
    // It falls every ten seconds, so that the README can show what is answered after about 40.
    return { ...job, status: 'WORKING', readyForCutover: false, lagTimeSeconds: Math.ceil((85 - seconds) / 10) * 120 };
  }
  if (seconds < 105) return { ...job, status: 'WORKING', readyForCutover: true, lagTimeSeconds: 1 };
  if (seconds < 120) return { ...job, status: 'WORKING', lagTimeSeconds: null };
  return { ...job, status: 'COMPLETE', lagTimeSeconds: null };
};

const fails: Migration = (seconds) => {
  const job = { migrationHosts: ['vm001.example.com', 'vm002.example.com'] };
  if (seconds < 5) return { ...job, status: 'NEW' };
  if (seconds < 20) {
    return { ...job, status: 'WORKING', readyForCutover: false, lagTimeSeconds: 60 + Math.floor(seconds * 30) };
  }
  return { ...job, status: 'FAILED' };
};

/** The cutover is never started. In Atlas, the migration expires after 120 hours; here, after half a minute. */
const expires: Migration = (seconds) => {
  const job = { migrationHosts: ['vm003.example.com'] };
  return seconds < 30
    ? { ...job, status: 'WORKING', readyForCutover: true, lagTimeSeconds: 2 }
    : { ...job, status: 'EXPIRED', readyForCutover: false };
};

const kinds: Record<string, Migration> = {
  [demoIds.completes]: completes,
  [demoIds.fails]: fails,
  [demoIds.expires]: expires,
};

/** @returns the id of a live migration of the same kind, which begins with the first question about it */
export const anotherDemoId = (id: string) => randomBytes(4).toString('hex') + id.slice(8);

export const demoProjects: Projects = {
  [demoGroupId]: (id) => {
    const kind = Object.keys(kinds).find((known) => known.slice(8) === id.slice(8)) ?? '';
    const migration = kinds[kind];
    return migration && ((seconds) => ({ _id: id, ...migration(seconds) }));
  },
};
