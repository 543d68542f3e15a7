/** The core: one question, one stable answer. It knows nothing of HTTP, AWS or Middy, and declares what it needs of them. */

import type { LiveMigration } from '#contract';
import type { Call } from './call.ts';
import { Failure } from './failure.ts';
import type { Question } from './question.ts';

const limits = {
  /** Other keys that are tried for one question: a secret that changes all the time would have no end. */
  renewals: 2,
};

/**
 * Asks Atlas, with credentials that the core only hands over.
 *
 * @throws Failure any of the names that begin with `Atlas`, `ProjectNotFound`, `LiveMigrationNotFound`
 */
export type AskAtlas<Credentials> = (
  question: Question,
  credentials: Credentials,
  call: Call,
) => Promise<LiveMigration>;

/** Where credentials come from. Both may throw `SecretUnavailable` or `SecretInvalid`. */
export type CredentialsSource<Credentials> = {
  /** @returns the credentials for a project: the same object for as long as the secret's text is the same */
  current(groupId: string, call: Call): Promise<Credentials>;
  /**
   * Reads the secret again because Atlas refused what was in it.
   *
   * @returns other credentials than the refused ones, undefined where the secret has no others
   */
  renewed(groupId: string, refused: Credentials, call: Call): Promise<Credentials | undefined>;
};

/** @throws Failure one of the closed list */
export type AnswerQuestion = (question: Question, call: Call) => Promise<LiveMigration>;

/**
 * A refused key stops the question, unless the secret holds another one by now: it may have been rotated, even twice while
 * one question is answered.
 *
 * @param askAtlas fails with `AtlasCredentialsRejected` where Atlas refuses the credentials
 */
export function createAnswerQuestion<Credentials>(
  credentials: CredentialsSource<Credentials>,
  askAtlas: AskAtlas<Credentials>,
): AnswerQuestion {
  return async (question, call) => {
    let current = await credentials.current(question.groupId, call);
    for (let renewals = 0; ; renewals += 1) {
      try {
        return await askAtlas(question, current, call);
      } catch (error) {
        const isRefused = error instanceof Failure && error.name === 'AtlasCredentialsRejected';
        if (!isRefused || renewals === limits.renewals) throw error;
        const renewed = await credentials.renewed(question.groupId, current, call);
        if (!renewed) throw error;
        current = renewed;
      }
    }
  };
}
