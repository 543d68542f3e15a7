/** The mechanism of sharing by itself, under arbitrary interleavings of callers, clocks, delays, deaths and failures of the store. */

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createSharing, type Share } from '../lib/sharing/sharing.ts';
import type { Entry, Store } from '../lib/sharing/store.ts';
import { runs } from './support/runs.ts';

// Time is the tests' own, so that minutes of waiting take none.
beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const workMs = 4000;
const leaseMs = 5000;
const invocationMs = 19_500;

type Item = { entry?: Entry; lease?: { owner: string; until: number } };
type Faults = { delays: number[]; fails: boolean[] };

/** A store as DynamoDB is: conditional writes, and readings that may be late by one write unless they are consistent. */
function modelStore({ delays, fails }: Faults): Store {
  let item: Item = {};
  let before: Item = {};
  let calls = 0;
  const step = async <T>(make: () => T): Promise<T> => {
    const call = calls;
    calls += 1;
    await pause((delays[call % delays.length] ?? 1) / 2);
    if (fails[call % fails.length]) throw new Error('The store fails.');
    const made = make();
    await pause((delays[call % delays.length] ?? 1) / 2);
    return made;
  };
  const write = (next: Item) => {
    before = item;
    item = next;
  };
  return {
    read: (_key, consistent) => step(() => (consistent ? item : before)),
    lease: (_key, { owner, now, until, latest, seen }) =>
      step(() => {
        const isFree = !item.lease || item.lease.until <= now || item.lease.until > latest;
        if (!isFree || item.entry?.id !== seen) return false;
        write({ ...item, lease: { owner, until } });
        return true;
      }),
    release: (_key, { owner, now, text, late }) =>
      step(() => {
        const isMine = item.lease?.owner === owner && item.lease.until >= now;
        const made = text === undefined ? item.entry : { id: owner, text };
        if (isMine) write(made ? { entry: made } : {});
        else if (late && made && item.entry?.id === late.id) write({ ...item, entry: made });
      }),
  };
}

/** What a caller keeps of its uses of the store. */
function storeUse() {
  let delayMs = 0;
  return {
    delayedMs: () => delayMs,
    onStore: (ms: number) => {
      delayMs += ms;
    },
  };
}

type Caller = { environment: number; at: number };
type Work = { ms: number; dies: boolean };
type Run = { callers: Caller[]; skews: number[]; works: Work[]; freshMs: number; storesLate?: boolean } & Faults;

/** Lets all callers ask, and tells what came of it: for each caller, and for each piece of work. */
async function simulate({ callers, skews, works, freshMs, storesLate = false, ...faults }: Run) {
  vi.setSystemTime(1_000_000_000_000);
  const start = Date.now();
  const store = modelStore(faults);
  const environments = skews.map((skew) => {
    const now = () => Date.now() + skew;
    return { now, share: createSharing(Promise.resolve(store), { now, sleep: pause }), dead: false };
  });
  const done: { from: number; to: number; died: boolean }[] = [];
  const alive = new Set<object>();
  let together = 0;

  const ask = async ({ environment, at }: Caller) => {
    await pause(at);
    const it = environments[environment % environments.length];
    if (!it || it.dead) return undefined;
    const began = Date.now();
    const beganThere = it.now();
    const answer = it.share({
      key: 'key',
      workMs: () => workMs,
      leaseMs,
      storesLate,
      msLeft: () => Math.max(0, began + invocationMs - Date.now()),
      judge: ({ text }) => {
        const askedAt = Number(text);
        return askedAt >= beganThere - freshMs && askedAt <= it.now() + 1000 ? askedAt : undefined;
      },
      work: async () => {
        const { ms = 1, dies = false } = works[done.length % works.length] ?? {};
        const me = { from: Date.now(), to: Number.POSITIVE_INFINITY, died: dies };
        done.push(me);
        const askedAt = it.now();
        alive.add(me);
        together = Math.max(together, alive.size);
        await pause(ms);
        alive.delete(me);
        if (dies) {
          it.dead = true;
          await new Promise(() => undefined);
        }
        me.to = Date.now();
        return { value: askedAt, text: String(askedAt) };
      },
      ...storeUse(),
    });
    const result = await Promise.race([answer, pause(60_000)]);
    if (it.dead) return undefined;
    return { began, ended: Date.now(), askedAt: result && result.value - (it.now() - Date.now()), from: result?.from };
  };

  const asking = Promise.all(callers.map(ask));
  await vi.runAllTimersAsync();
  const answers = (await asking).filter((answer) => answer !== undefined);
  return { start, answers, works: done, together };
}

const delays = fc.array(fc.integer({ min: 2, max: 120 }), { minLength: 1, maxLength: 20 });
const base = {
  callers: fc.array(fc.record({ environment: fc.nat(5), at: fc.nat(15_000) }), { minLength: 1, maxLength: 25 }),
  // Two clocks differ by a second at most.
  skews: fc.array(fc.integer({ min: -500, max: 500 }), { minLength: 1, maxLength: 6 }),
  freshMs: fc.integer({ min: 1000, max: 10_000 }),
  delays,
};
const aWork = fc.record({ ms: fc.integer({ min: 1, max: 3900 }), dies: fc.constant(false) });
const noFailures = fc.constant<boolean[]>([false]);

test('while the store works: one at a time, none too old, none too often, and everybody gets an answer', async () => {
  const all = fc.record({
    ...base,
    works: fc.array(aWork, { minLength: 1, maxLength: 10 }),
    fails: noFailures,
  });
  await fc.assert(
    fc.asyncProperty(all, async (run) => {
      const { answers, works, together } = await simulate(run);
      expect(together).toBe(1);
      expect(answers).toHaveLength(run.callers.length);
      for (const { began, askedAt, from } of answers) {
        expect(['work', 'memory', 'store']).toContain(from);
        expect(askedAt).toBeGreaterThanOrEqual(began - run.freshMs - 1000);
      }
      const starts = works.map(({ from }) => from).sort((one, other) => one - other);
      for (const [at, from] of starts.slice(1).entries()) {
        expect(from - (starts[at] ?? 0)).toBeGreaterThan(run.freshMs - 1000);
      }
    }),
    runs(60),
  );
});

test('where some die while they work: the others get an answer in their time, none too old', async () => {
  const works = fc.array(fc.record({ ms: fc.integer({ min: 1, max: 3900 }), dies: fc.boolean() }), {
    minLength: 1,
    maxLength: 10,
  });
  let count = 0;
  await fc.assert(
    fc.asyncProperty(fc.record({ ...base, works, fails: noFailures }), async (run) => {
      const { answers } = await simulate(run);
      count += answers.length;
      for (const { began, ended, askedAt, from } of answers) {
        expect(['work', 'memory', 'store']).toContain(from);
        expect(ended - began).toBeLessThanOrEqual(invocationMs + 500);
        expect(askedAt).toBeGreaterThanOrEqual(began - run.freshMs - 1000);
      }
    }),
    runs(60),
  );
  expect(count).toBeGreaterThan(0);
});

test.each([false, true])(
  'where work is slower than its lease: everybody gets an answer, none too old (late results are stored: %s)',
  async (storesLate) => {
    const works = fc.array(fc.record({ ms: fc.integer({ min: 1, max: 12_000 }), dies: fc.boolean() }), {
      minLength: 1,
      maxLength: 10,
    });
    await fc.assert(
      fc.asyncProperty(fc.record({ ...base, works, fails: noFailures }), async (run) => {
        const { answers } = await simulate({ ...run, storesLate });
        for (const { began, askedAt, from } of answers) {
          expect(['work', 'memory', 'store']).toContain(from);
          expect(askedAt).toBeGreaterThanOrEqual(began - run.freshMs - 1000);
        }
      }),
      runs(60),
    );
  },
);

test.each([
  [false, 2],
  [true, 1],
])('a result that comes after its lease (it is stored: %s) is worked for %i times', async (storesLate, times) => {
  // The second caller comes when the first one has just ended, after its lease.
  const { works } = await simulate({
    callers: [
      { environment: 0, at: 0 },
      { environment: 1, at: 6500 },
    ],
    skews: [0, 0],
    works: [{ ms: 6000, dies: false }],
    freshMs: 10_000,
    delays: [2],
    fails: [false],
    storesLate,
  });
  expect(works).toHaveLength(times);
});

// The work is shorter than its lease, and takes most of it: a lease that is shorter than the work shows here.
test.each([500, 1500, 2100, 3000, 3900])(
  'a token that takes %i ms, and then an answer that takes as long: six environments ask for one token, and all get their answers',
  async (ms) => {
    for (const aboutOne of [true, false]) {
      const stores = new Map<string, Store>();
      const storeOf = (key: string) => {
        const known = stores.get(key) ?? modelStore({ delays: [20], fails: [false] });
        stores.set(key, known);
        return known;
      };
      const store: Store = {
        read: (key, ...rest) => storeOf(key).read(key, ...rest),
        lease: (key, ...rest) => storeOf(key).lease(key, ...rest),
        release: (key, ...rest) => storeOf(key).release(key, ...rest),
      };
      const start = Date.now();
      const count = { tokens: 0, questions: 0 };
      const answers = Array.from({ length: 6 }, async (_, environment) => {
        const share = createSharing(Promise.resolve(store), { now: () => Date.now(), sleep: pause });
        const caller = { msLeft: () => Math.max(0, start + invocationMs - Date.now()), leaseMs, ...storeUse() };
        const work = async (figure: keyof typeof count) => {
          count[figure] += 1;
          await pause(ms);
          return { value: figure, text: figure };
        };
        const token = () =>
          share({
            ...caller,
            key: 'token',
            workMs: () => 2 * workMs,
            storesLate: true,
            judge: ({ text }) => text,
            work: () => work('tokens'),
          });
        return share({
          ...caller,
          key: aboutOne ? 'answer' : `answer ${environment}`,
          workMs: () => 2 * workMs,
          judge: ({ text }) => text,
          prepare: async () => void (await token()),
          work: () => work('questions'),
        });
      });
      await vi.runAllTimersAsync();
      expect(await Promise.all(answers)).toHaveLength(6);
      expect(count).toEqual({ tokens: 1, questions: aboutOne ? 1 : 6 });
      expect(Date.now() - start).toBeLessThan(invocationMs);
    }
  },
);

test('what has to be there before the work is asked for before the lease begins, and once', async () => {
  const store = modelStore({ delays: [2], fails: [false] });
  const share = createSharing(Promise.resolve(store), { now: () => Date.now(), sleep: pause });
  const lease = vi.spyOn(store, 'lease');
  let prepared = 0;
  const result = share({
    key: 'key',
    workMs: () => workMs,
    leaseMs,
    msLeft: () => invocationMs,
    judge: () => undefined,
    prepare: async () => {
      expect(lease).not.toHaveBeenCalled();
      prepared += 1;
      await pause(3900);
    },
    work: async () => ({ value: 'made', text: 'made' }),
    ...storeUse(),
  });
  await vi.runAllTimersAsync();
  expect(await result).toMatchObject({ from: 'work' });
  expect(prepared).toBe(1);
  expect(lease).toHaveBeenCalledTimes(1);
});

test('where the store fails now and then, or hangs: everybody gets an answer, none too old', async () => {
  const hangs = fc.array(fc.oneof(fc.integer({ min: 2, max: 120 }), fc.constant(1_000_000)), {
    minLength: 1,
    maxLength: 20,
  });
  const fails = fc.array(fc.boolean(), { minLength: 1, maxLength: 20 });
  const works = fc.array(aWork, { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(fc.record({ ...base, works, delays: hangs, fails }), async (run) => {
      const { answers } = await simulate(run);
      expect(answers).toHaveLength(run.callers.length);
      for (const { began, askedAt, from } of answers) {
        expect(['work', 'memory', 'store']).toContain(from);
        expect(askedAt).toBeGreaterThanOrEqual(began - run.freshMs - 1000);
      }
    }),
    runs(60),
  );
});

describe('one caller', () => {
  const clock = { now: () => Date.now(), sleep: pause };
  const noFaults = { delays: [2], fails: [false] };
  /** Asks once; whatever is not given is as it usually is. */
  function ask(share: Share, { lives = invocationMs, takes = 100, throws = undefined as Error | undefined } = {}) {
    const end = Date.now() + lives;
    const failures: unknown[] = [];
    let delayMs = 0;
    const result = share({
      key: 'key',
      workMs: () => workMs,
      leaseMs,
      msLeft: () => Math.max(0, end - Date.now()),
      judge: ({ text }) => (Number(text) >= end - lives - 5000 ? text : undefined),
      work: async () => {
        await pause(takes);
        if (throws) throw throws;
        return { value: 'made', text: String(Date.now()) };
      },
      delayedMs: () => delayMs,
      onStore: (ms, failure) => {
        delayMs += ms;
        failures.push(failure);
      },
    });
    return { result, failures };
  }
  const hangs = async () => new Promise<never>(() => undefined);

  test('that has no time left gives its lease back in a moment or not at all, and says nothing of the store', async () => {
    const store = { ...modelStore(noFaults), release: hangs };
    const share = createSharing(Promise.resolve(store), clock);
    const error = new Error('The work failed.');
    const { result, failures } = ask(share, { lives: workMs + 10, takes: workMs, throws: error });
    const start = Date.now();
    const outcome = expect(result).rejects.toBe(error);
    await vi.runAllTimersAsync();
    await outcome;
    expect(Date.now() - start).toBeLessThanOrEqual(workMs + 300);
    expect(failures.filter((failure) => failure !== undefined)).toEqual([]);
    // The store is not left alone for that.
    const read = vi.spyOn(store, 'read');
    const next = ask(share);
    await vi.runAllTimersAsync();
    expect(await next.result).toMatchObject({ from: 'work' });
    expect(read).toHaveBeenCalled();
  });

  test.each([
    [900, []],
    [1400, ['TimeoutError']],
  ])('with %i ms to spare says of a store that hangs: %j', async (spareMs, said) => {
    const store = { ...modelStore(noFaults), read: hangs };
    const { result, failures } = ask(createSharing(Promise.resolve(store), clock), { lives: workMs + spareMs });
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect(failures.map((failure) => (failure as Error).name)).toEqual(said);
  });

  test('is delayed by three seconds at most by a store that is slow in each call', async () => {
    // Each call is answered after 1.3 s: a reading, the lease, and the entry.
    const slow = modelStore({ delays: [1300], fails: [false] });
    const { result, failures } = ask(createSharing(Promise.resolve(slow), clock), { takes: 10 });
    const start = Date.now();
    const ended = result.then(() => Date.now());
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect((await ended) - start).toBeLessThanOrEqual(3100);
    expect(failures).toHaveLength(3);
  });

  test('that has used up its delay uses the store no more, and says so', async () => {
    const slow = modelStore({ delays: [1600], fails: [false] });
    const share = createSharing(Promise.resolve(slow), clock);
    const { result, failures } = ask(share, { takes: 10 });
    const start = Date.now();
    const ended = result.then(() => Date.now());
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect((await ended) - start).toBeLessThanOrEqual(3100);
    expect(failures.map((failure) => (failure as Error | undefined)?.name)).toEqual([undefined, 'TimeoutError']);
  });

  test.each([100, 600])('with %i ms in all gets its work done although the store hangs', async (lives) => {
    const store = { ...modelStore(noFaults), read: hangs };
    const { result } = ask(createSharing(Promise.resolve(store), clock), { lives, takes: 0 });
    const start = Date.now();
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect(Date.now() - start).toBeLessThan(lives);
  });

  test('with less time than the work may take works without a lease', async () => {
    const store = modelStore(noFaults);
    const lease = vi.spyOn(store, 'lease');
    const { result } = ask(createSharing(Promise.resolve(store), clock), { lives: workMs - 1 });
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect(lease).not.toHaveBeenCalled();
  });

  test('who has waited for others is refused a lease three times in a row before it works without one', async () => {
    let reads = 0;
    const store: Store = {
      ...modelStore(noFaults),
      // Another's lease is seen between two that are refused.
      read: async () => {
        reads += 1;
        const now = Date.now();
        return reads % 2 ? {} : { lease: { owner: 'another', until: now + 1 } };
      },
      lease: vi.fn(async () => reads > 10),
    };
    const { result } = ask(createSharing(Promise.resolve(store), clock));
    await vi.runAllTimersAsync();
    await result;
    expect(store.lease).toHaveBeenCalledTimes(6);
  });

  test('who is always refused a lease works without one after three refusals', async () => {
    const store: Store = { ...modelStore(noFaults), read: async () => ({}), lease: vi.fn(async () => false) };
    const { result } = ask(createSharing(Promise.resolve(store), clock));
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect(store.lease).toHaveBeenCalledTimes(3);
  });

  test('who waits for one that dies takes the lease after it, and does not work without one', async () => {
    let item: Awaited<ReturnType<Store['read']>> = { lease: { owner: 'dead', until: Date.now() + 3000 } };
    const store: Store = {
      ...modelStore(noFaults),
      read: async () => item,
      lease: vi.fn(async () => true),
      release: async () => undefined,
    };
    // DynamoDB deletes an item whose time is over.
    setTimeout(() => {
      item = {};
    }, 3500);
    const { result } = ask(createSharing(Promise.resolve(store), clock));
    await vi.runAllTimersAsync();
    expect(await result).toMatchObject({ from: 'work' });
    expect(store.lease).toHaveBeenCalledTimes(1);
  });

  test('whose clock was set back does not leave the store alone for longer', async () => {
    const store = modelStore(noFaults);
    const read = vi.spyOn(store, 'read').mockRejectedValueOnce(new Error('The store fails.'));
    const share = createSharing(Promise.resolve(store), clock);
    const first = ask(share, { throws: new Error('no entry') });
    const outcome = expect(first.result).rejects.toThrow();
    await vi.runAllTimersAsync();
    await outcome;
    vi.setSystemTime(Date.now() - 3_600_000);
    const second = ask(share);
    await vi.runAllTimersAsync();
    await second.result;
    expect(read).toHaveBeenCalledTimes(2);
  });
});
