/** The one stable document, made of whatever Atlas sends for a live migration. */

import type { LiveMigration, LiveMigrationStatus } from '#contract';
import { isObject } from '../json.ts';
import { Failure } from './failure.ts';
import type { Question } from './question.ts';

/** The statuses that Atlas gives. */
export const knownStatuses = ['NEW', 'WORKING', 'FAILED', 'COMPLETE', 'EXPIRED'] as const;

/** The statuses that don't change any more. */
export const terminalStatuses: readonly LiveMigrationStatus[] = ['FAILED', 'COMPLETE', 'EXPIRED'];

/** An int64 above 2^53 was already rounded by JSON.parse, so null is returned. */
function safeNumber(value: unknown): number | null {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Math.abs(number) <= Number.MAX_SAFE_INTEGER ? number : null;
}

/** The project's source document shows a bare string where the published type has a list. */
function hostNames(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((host) => typeof host === 'string');
}

/**
 * Turns Atlas's entity (already out of any envelope) into the document. No field of the entity is required, and
 * fields that aren't known are ignored; see "Return One Migration Job" in the Atlas Administration API.
 *
 * @throws Failure `AtlasUnexpectedAnswer` where the value is no entity, or the entity of another live migration.
 */
export function toLiveMigration(entity: unknown, { groupId, liveMigrationId }: Question): LiveMigration {
  if (!isObject(entity)) {
    throw new Failure('AtlasUnexpectedAnswer', "Atlas's answer is not a JSON object.");
  }
  const { _id, status: reported, readyForCutover, lagTimeSeconds, migrationHosts } = entity;
  const known = knownStatuses.find((word) => word === reported);
  // Other services say {"status": "ok"}.
  if (_id == null && !known) {
    throw new Failure(
      'AtlasUnexpectedAnswer',
      "Atlas's answer is not a live migration: it has neither an _id nor one of the known statuses.",
    );
  }
  if (_id != null && (typeof _id !== 'string' || _id.toLowerCase() !== liveMigrationId)) {
    throw new Failure('AtlasUnexpectedAnswer', 'Atlas answered with another live migration than the one asked for.');
  }

  const status = known ?? 'UNKNOWN';
  return {
    id: liveMigrationId,
    groupId,
    status,
    reportedStatus: typeof reported === 'string' ? reported : null,
    terminal: terminalStatuses.includes(status),
    readyForCutover: typeof readyForCutover === 'boolean' ? readyForCutover : null,
    lagTimeSeconds: safeNumber(lagTimeSeconds),
    migrationHosts: hostNames(migrationHosts),
  };
}
