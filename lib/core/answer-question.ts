/** The core: one question, one stable answer. It knows nothing of HTTP, AWS or Middy. */

import type { LiveMigration } from '#contract';
import type { AskAtlas } from '../atlas/client.ts';
import type { CredentialsStore } from '../secret/store.ts';
import type { Call } from './call.ts';
import { Failure } from './failure.ts';
import type { Question } from './question.ts';

/** @throws Failure one of the closed list */
export type GetLiveMigration = (question: Question, call: Call) => Promise<LiveMigration>;

/** A refused key stops the question after one fresh reading of the secret, which may have been rotated meanwhile. */
export function createGetLiveMigration(credentials: CredentialsStore, askAtlas: AskAtlas): GetLiveMigration {
  return async (question, call) => {
    const current = await credentials.current(question.groupId, call);
    try {
      return await askAtlas(question, current, call);
    } catch (error) {
      if (!(error instanceof Failure && error.name === 'AtlasCredentialsRejected')) throw error;
      const renewed = await credentials.renewed(question.groupId, current, call);
      if (!renewed) throw error;
      return askAtlas(question, renewed, call);
    }
  };
}
