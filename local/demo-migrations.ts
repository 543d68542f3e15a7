/** The made project and its live migrations that `npm start` shows. */

import type { Migration } from './embedded-atlas.ts';

export const demoGroupId = '5f1b2c3d4e5f6a7b8c9d0e1f';
export const demoIds = {
  completes: '7e68e12770616e75e6df43d0',
  fails: '7e68e12770616e75e6df43d1',
  expires: '7e68e12770616e75e6df43d2',
};

/** NEW, then WORKING while the lag falls, ready for cutover, the cutover itself, and COMPLETE after two minutes. */
const completes: Migration = (seconds) => {
  const job = { _id: demoIds.completes, migrationHosts: 'vm001.example.com' };
  if (seconds < 10) return { ...job, status: 'NEW' };
  if (seconds < 85) {
    return { ...job, status: 'WORKING', readyForCutover: false, lagTimeSeconds: Math.ceil((85 - seconds) * 12) };
  }
  if (seconds < 105) return { ...job, status: 'WORKING', readyForCutover: true, lagTimeSeconds: 1 };
  if (seconds < 120) return { ...job, status: 'WORKING', lagTimeSeconds: null };
  return { ...job, status: 'COMPLETE', lagTimeSeconds: null };
};

const fails: Migration = (seconds) => {
  const job = { _id: demoIds.fails, migrationHosts: ['vm001.example.com', 'vm002.example.com'] };
  if (seconds < 5) return { ...job, status: 'NEW' };
  if (seconds < 20) {
    return { ...job, status: 'WORKING', readyForCutover: false, lagTimeSeconds: 60 + Math.floor(seconds * 30) };
  }
  return { ...job, status: 'FAILED' };
};

/** Nobody starts the cutover: in Atlas that takes 120 hours, here half a minute. */
const expires: Migration = (seconds) => {
  const job = { _id: demoIds.expires, migrationHosts: ['vm003.example.com'] };
  return seconds < 30
    ? { ...job, status: 'WORKING', readyForCutover: true, lagTimeSeconds: 2 }
    : { ...job, status: 'EXPIRED', readyForCutover: false };
};

export const demoProjects = {
  [demoGroupId]: { [demoIds.completes]: completes, [demoIds.fails]: fails, [demoIds.expires]: expires },
};
