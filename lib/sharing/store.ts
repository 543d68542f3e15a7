/**
 * The store of shared entries, and how much of a caller's time it may use: a store that is slow or fails delays a caller by
 * so much at most, and fails none.
 */

import { within } from '../within.ts';

const limits = {
  /** One call of the store, with its own second attempt. */
  storeMs: 2200,
  /** The most that the store may delay one caller; a call counts as late after the second figure. */
  budgetMs: 2700,
  usualMs: 100,
  /** A caller without time may still use this much, so that it can read an entry and give a lease back. */
  graceMs: 200,
  /** With less time than this, a silent store may still be healthy. */
  leastStoreMs: 1000,
  /** After a failure, the store is left alone for this long. */
  pauseMs: 10_000,
};

/** A result in the store. The id tells it from each other entry under its key. */
export type Entry = { id: string; text: string };

export type Store = {
  /** @param consistent whether every write before it must be seen; it costs twice as much then */
  read(
    key: string,
    consistent: boolean,
    signal: AbortSignal,
  ): Promise<{ entry?: Entry; lease?: { owner: string; until: number } }>;
  /**
   * Takes the lease from `now` on, unless another has it or the entry is no longer the one that was seen. A lease that ends
   * after `latest` can't be right, and counts as none.
   *
   * @returns whether it was taken
   */
  lease(
    key: string,
    lease: { owner: string; now: number; until: number; latest: number; seen: string | undefined },
    signal: AbortSignal,
  ): Promise<boolean>;
  /**
   * Gives the lease back, with an entry whose id is the owner, or without one. Where it has ended, nothing happens; but with
   * `late`, the entry is stored where the one that was seen is still there, and another's lease stays.
   */
  release(
    key: string,
    lease: { owner: string; now: number; text: string | undefined; late: { id: string | undefined } | undefined },
    signal: AbortSignal,
  ): Promise<void>;
};

/** Milliseconds since the epoch, and a pause. */
export type Clock = { now(): number; sleep(ms: number): Promise<void> };

export type Caller = {
  /** Milliseconds that it has. */
  msLeft(): number;
  /** Milliseconds that the store has delayed this caller by so far. */
  delayedMs(): number;
  /** Called after each use of the store, with the delay, and with the error where there was one. */
  onStore(delayMs: number, failure?: unknown): void;
};

export class TooLate extends Error {
  override readonly name = 'TimeoutError';
}

/** @param opening the store, which is opened while the rest of the process starts */
export function createStoreAccess(opening: Promise<Store>, clock: Clock) {
  let pausedAt = Number.NEGATIVE_INFINITY;
  opening.catch(() => undefined);

  const isPaused = () => {
    const age = clock.now() - pausedAt;
    return age >= 0 && age < limits.pauseMs;
  };

  /**
   * @param spareMs milliseconds of the caller's time that the store may use
   * @returns undefined where the store can't be used; that is never the caller's failure
   */
  const useWithin = async <R>(
    { delayedMs, onStore }: Caller,
    spareMs: number,
    use: (store: Store, signal: AbortSignal) => Promise<R>,
  ): Promise<R | undefined> => {
    const budgetMs = Math.min(limits.storeMs, limits.budgetMs - delayedMs());
    if (isPaused() || budgetMs <= 0) return undefined;
    const start = clock.now();
    const done = (failure?: unknown) => onStore(Math.max(0, clock.now() - start - limits.usualMs), failure);
    const tooLate = () => new TooLate();
    try {
      const result = await within(Math.min(budgetMs, spareMs), tooLate, async (signal) => use(await opening, signal));
      done();
      return result;
    } catch (error) {
      // Too little time: the store may be healthy.
      if (error instanceof TooLate && spareMs < Math.min(budgetMs, limits.leastStoreMs)) return undefined;
      pausedAt = clock.now();
      done(error);
      return undefined;
    }
  };

  return {
    /** Uses the store for a caller that keeps so many milliseconds for its work. @returns undefined where it can't be used */
    beforeWork<R>(caller: Caller, workMs: number, use: (store: Store, signal: AbortSignal) => Promise<R>) {
      const spareMs = Math.max(caller.msLeft() - workMs, Math.min(limits.graceMs, caller.msLeft() / 2));
      return useWithin(caller, spareMs, use);
    },
    /** The same for a caller that has done its work. */
    afterWork: <R>(caller: Caller, use: (store: Store, signal: AbortSignal) => Promise<R>) =>
      useWithin(caller, caller.msLeft() + limits.graceMs, use),
  };
}
