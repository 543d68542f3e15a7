/**
 * Work that many processes want done is done by one of them; the others get its result. A result is an entry in a store that
 * all of them read. A process that finds no entry that is good enough takes a lease on the key, works, and writes an entry;
 * a process that finds another's lease waits and reads again. The caller defines the work, and decides which entries are
 * good enough.
 */

import { randomUUID } from 'node:crypto';
import { remember } from '../remember.ts';
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
  /** Between two readings of a caller that waits; grows to the second figure, since a partition allows 3,000 reads a second. */
  pollMs: 100,
  longestPollMs: 300,
  /** A broken item may refuse every lease although no process holds one. */
  refusals: 3,
};

/** The clocks of two processes may differ by this many milliseconds. */
export const clockToleranceMs = 1000;

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
  /** Gives the lease back, with an entry whose id is the owner, or without one. Where it has ended, nothing happens. */
  release(
    key: string,
    lease: { owner: string; now: number; text: string | undefined },
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

/** Work that may be shared, as one caller sees it. */
export type Task<T> = Caller & {
  key: string;
  /** Milliseconds that are kept for the work while the caller waits, and that a lease lasts. */
  workMs: number;
  leaseMs: number;
  /** @returns undefined where the entry is not good enough for this caller */
  judge(entry: Entry): T | undefined;
  /** Does the work. What it throws stays with this caller; what it returns is shared. */
  work(): Promise<{ value: T; text: string }>;
};

export type Result<T> = { value: T; from: 'work' | 'memory' | 'store'; id: string };

class TooLate extends Error {
  override readonly name = 'TimeoutError';
}

/**
 * @param opening the store, which is opened while the rest of the process starts
 * @returns a function that does a task or takes its result from memory or the store; a failure of the store is never one of
 *   the caller
 */
export function createSharing(opening: Promise<Store>, clock: Clock) {
  const memory = new Map<string, Entry>();
  /** The work of this process by key; each promise tells whether there is an entry of it. */
  const underWay = new Map<string, Promise<boolean>>();
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
  const useStore = async <R>(
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

  /** What the store may use of a caller that has not worked yet. */
  const spareBeforeWork = ({ msLeft, workMs }: Task<unknown>) =>
    Math.max(msLeft() - workMs, Math.min(limits.graceMs, msLeft() / 2));

  /** Waits until there is a result, or until this caller has the lease or should work without one. */
  const waitOrLease = async <T>(task: Task<T>, owner: string): Promise<Result<T> | 'leased' | 'alone'> => {
    const { key, leaseMs } = task;
    let awaited: { until: number; seen: string | undefined } | undefined;
    let pollMs = limits.pollMs;
    for (let consistent = false, refusals = 0; refusals < limits.refusals; consistent = true) {
      const held = await useStore(task, spareBeforeWork(task), (store, signal) => store.read(key, consistent, signal));
      if (!held) return 'alone';
      const { entry, lease } = held;
      // The reply to the lease was lost: the store's second attempt found the first one's.
      if (lease?.owner === owner) return 'leased';
      const value = entry && task.judge(entry);
      if (entry && value !== undefined) {
        remember(memory, key, entry);
        return { value, from: 'store', id: entry.id };
      }

      const now = clock.now();
      const latest = now + leaseMs + clockToleranceMs;
      const spareMs = task.msLeft() - task.workMs;
      if (lease && lease.until > now && lease.until <= latest) {
        if (spareMs < pollMs) return 'alone';
        awaited = { until: lease.until, seen: entry?.id };
        refusals = 0;
        await clock.sleep(pollMs * (0.5 + Math.random() / 2));
        pollMs = Math.min(pollMs * 1.2, limits.longestPollMs);
        continue;
      }
      // The holder gave the lease back early, without an entry: its work failed in a way that is not shared. If each of those who
      // waited took the lease now, they would fail one after the other; so they work at once, without one.
      const wasGivenBack = awaited && !lease && awaited.until > now && awaited.seen === entry?.id;
      if (wasGivenBack || spareMs < 0) return 'alone';
      const wanted = { owner, now, until: now + leaseMs, latest, seen: entry?.id };
      const isTaken = await useStore(task, spareBeforeWork(task), (store, signal) => store.lease(key, wanted, signal));
      if (isTaken === undefined) return 'alone';
      if (isTaken) return 'leased';
      refusals += 1;
    }
    return 'alone';
  };

  /** @param owner of a lease; undefined where this caller has none */
  const work = async <T>(task: Task<T>, owner?: string): Promise<Result<T>> => {
    const release = async (text?: string) => {
      if (owner === undefined) return;
      const lease = { owner, now: clock.now(), text };
      await useStore(task, task.msLeft() + limits.graceMs, (store, signal) => store.release(task.key, lease, signal));
    };
    try {
      const { value, text } = await task.work();
      const id = owner ?? randomUUID();
      remember(memory, task.key, { id, text });
      await release(text);
      return { value, from: 'work', id };
    } catch (error) {
      await release();
      throw error;
    }
  };

  const lead = async <T>(task: Task<T>): Promise<Result<T>> => {
    const owner = randomUUID();
    const found = await waitOrLease(task, owner);
    if (typeof found === 'object') return found;
    return work(task, found === 'leased' ? owner : undefined);
  };

  /** @throws what the work throws, and nothing else */
  return async function share<T>(task: Task<T>): Promise<Result<T>> {
    const { key } = task;
    for (;;) {
      const entry = memory.get(key);
      const value = entry && task.judge(entry);
      if (entry && value !== undefined) return { value, from: 'memory', id: entry.id };
      const others = underWay.get(key);
      if (!others) break;
      const tooLate = () => new TooLate();
      const hasEntry = await within(task.msLeft() - task.workMs, tooLate, () => others).catch(() => false);
      if (!hasEntry) return work(task);
    }
    const leading = lead(task);
    const hasEntry = leading.then(
      () => true,
      () => false,
    );
    underWay.set(key, hasEntry);
    void hasEntry.then(() => underWay.delete(key));
    return leading;
  };
}

export type Share = ReturnType<typeof createSharing>;
