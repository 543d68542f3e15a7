/**
 * Work that many processes want done is done by one of them; the others get its result. A result is an entry in a store that
 * all of them read. A process that finds no entry that is good enough takes a lease on the key, works, and writes an entry;
 * a process that finds another's lease waits and reads again. The caller defines the work, and decides which entries are
 * good enough.
 */

import { randomUUID } from 'node:crypto';
import { remember } from '../remember.ts';
import { within } from '../within.ts';
import { type Caller, type Clock, createStoreAccess, type Entry, type Store, TooLate } from './store.ts';

const limits = {
  /** Between two readings of a caller that waits; grows to the second figure, since a partition allows 3,000 reads a second. */
  pollMs: 100,
  longestPollMs: 300,
  /** A broken item may refuse every lease although no process holds one. */
  refusals: 3,
};

/** The clocks of two processes may differ by this many milliseconds. */
export const clockToleranceMs = 1000;

/** Work that may be shared, as one caller sees it. */
export type Task<T> = Caller & {
  key: string;
  /** Milliseconds that are kept for the work, and for what has to be prepared, while the caller waits. */
  workMs(): number;
  /** Milliseconds that a lease lasts: longer than the work may take. */
  leaseMs: number;
  /** Whether a result that comes after the lease has ended is stored, where there is no newer one. */
  storesLate?: boolean;
  /** @returns undefined where the entry is not good enough for this caller */
  judge(entry: Entry): T | undefined;
  /** Gets what the work needs before the lease begins. What it throws stays with this caller. */
  prepare?(): Promise<void>;
  /** Does the work. What it throws stays with this caller; what it returns is shared. */
  work(): Promise<{ value: T; text: string }>;
};

/** From where a caller works: with a lease or without one, and the id of the entry that it saw last. */
type Place = { isLeased: boolean; seen?: { id: string | undefined } };

export type Result<T> = { value: T; from: 'work' | 'memory' | 'store'; id: string };

/**
 * @param opening the store, which is opened while the rest of the process starts
 * @returns a function that does a task or takes its result from memory or the store; a failure of the store is never one of
 *   the caller
 */
export function createSharing(opening: Promise<Store>, clock: Clock) {
  const memory = new Map<string, Entry>();
  /** The work of this process by key; each promise tells whether there is an entry of it. */
  const underWay = new Map<string, Promise<boolean>>();
  const store = createStoreAccess(opening, clock);

  /** What an entry is worth to a caller: undefined where there is none, or it is not good enough. */
  const judged = <T>(task: Task<T>, entry: Entry | undefined) => {
    const value = entry && task.judge(entry);
    return entry && value !== undefined ? { value, id: entry.id } : undefined;
  };

  /** Waits until there is a result, or until this caller has the lease or should work without one. */
  const waitOrLease = async <T>(task: Task<T>, owner: string): Promise<Result<T> | Place> => {
    const { key, leaseMs } = task;
    let { prepare } = task;
    let place: Place = { isLeased: false };
    let awaited: { until: number; seen: string | undefined } | undefined;
    let pollMs = limits.pollMs;
    for (let consistent = false, refusals = 0; refusals < limits.refusals; consistent = true) {
      const workMs = task.workMs();
      const read = await store.beforeWork(task, workMs, (opened, signal) => opened.read(key, consistent, signal));
      if (!read) return place;
      const { entry, lease } = read;
      place = { isLeased: false, seen: { id: entry?.id } };
      // The reply to the lease was lost: the store's second attempt found the first one's.
      if (lease?.owner === owner) return { ...place, isLeased: true };

      const found = judged(task, entry);
      if (entry && found) {
        remember(memory, key, entry);
        return { ...found, from: 'store' };
      }

      const now = clock.now();
      const latest = now + leaseMs + clockToleranceMs;
      const spareMs = task.msLeft() - workMs;
      if (lease && lease.until > now && lease.until <= latest) {
        if (spareMs < pollMs) return place;
        awaited = { until: lease.until, seen: entry?.id };
        refusals = 0;
        await clock.sleep(pollMs * (0.5 + Math.random() / 2));
        pollMs = Math.min(pollMs * 1.2, limits.longestPollMs);
      } else {
        // The holder gave the lease back early, without an entry: its work failed in a way that is not shared. If each of those
        // who waited took the lease now, they would fail one after the other; so they work at once, without one.
        const wasGivenBack = awaited && !lease && awaited.until > now && awaited.seen === entry?.id;
        if (wasGivenBack || spareMs < 0) return place;
        if (prepare) {
          await prepare();
          prepare = undefined;
          continue;
        }
        const wanted = { owner, now, until: now + leaseMs, latest, seen: entry?.id };
        const isTaken = await store.beforeWork(task, workMs, (opened, signal) => opened.lease(key, wanted, signal));
        if (isTaken !== false) return { ...place, isLeased: isTaken === true };
        refusals += 1;
      }
    }
    return place;
  };

  const work = async <T>(task: Task<T>, owner: string, { isLeased, seen }: Place): Promise<Result<T>> => {
    const late = task.storesLate ? seen : undefined;
    const release = async (text?: string) => {
      if (!isLeased && !(late && text !== undefined)) return;
      const lease = { owner, now: clock.now(), text, late };
      await store.afterWork(task, (opened, signal) => opened.release(task.key, lease, signal));
    };
    try {
      const { value, text } = await task.work();
      remember(memory, task.key, { id: owner, text });
      await release(text);
      return { value, from: 'work', id: owner };
    } catch (error) {
      await release();
      throw error;
    }
  };

  const lead = async <T>(task: Task<T>): Promise<Result<T>> => {
    const owner = randomUUID();
    const found = await waitOrLease(task, owner);
    return 'value' in found ? found : work(task, owner, found);
  };

  /** @throws what the work throws, and nothing else */
  return async function share<T>(task: Task<T>): Promise<Result<T>> {
    const { key } = task;
    for (;;) {
      const found = judged(task, memory.get(key));
      if (found) return { ...found, from: 'memory' };
      const others = underWay.get(key);
      if (!others) break;
      const tooLate = () => new TooLate();
      const hasEntry = await within(task.msLeft() - task.workMs(), tooLate, () => others).catch(() => false);
      if (!hasEntry) return work(task, randomUUID(), { isLeased: false });
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
