/** Counts what an answer costs upstream: requests and connections, which are the same on every machine. */

import { type Contender, startContender } from './contender.ts';
import { table } from './figures.ts';
import type { Target } from './targets.ts';
import type { Traffic, Upstream } from './upstream.ts';

const burst = 20;

const situations = ['cold', 'warm', `burst of ${burst} cold`, `burst of ${burst} warm`] as const;

/** What the servers see of a contender in each situation: of its first call, its second, and calls made all at once. */
export async function countTraffic(contender: Contender, { trafficOf }: Upstream): Promise<Record<string, Traffic>> {
  // What is asked while the process loads counts as cold: the count begins before it can have asked anything.
  const coldAndWarm = async (make: (running: ReturnType<typeof startContender>) => Promise<unknown>) => {
    const running = startContender(contender);
    const cold = await trafficOf(() => make(running));
    const warm = await trafficOf(() => make(running));
    await running.end();
    return [cold, warm];
  };
  const alone = await coldAndWarm(({ inTurn }) => inTurn(1));
  const together = await coldAndWarm(({ atOnce }) => atOnce(burst));
  const traffic = [...alone, ...together];
  return Object.fromEntries(situations.map((situation, at) => [situation, traffic[at] as Traffic]));
}

/** What a warm answer writes to the log. */
export async function countLog(contender: Contender) {
  const running = startContender(contender);
  await running.inTurn(1);
  const log = await running.log(100);
  await running.end();
  return log;
}

/** What the product may cost: requests exactly, connections at most. */
const budget: Record<(typeof situations)[number], Traffic> = {
  cold: { atlasRequests: 2, atlasConnections: 1, secretReads: 1, secretConnections: 1 },
  warm: { atlasRequests: 1, atlasConnections: 0, secretReads: 0, secretConnections: 0 },
  // One challenge for all; its connection is one of theirs.
  [`burst of ${burst} cold`]: {
    atlasRequests: burst + 1,
    atlasConnections: burst,
    secretReads: 1,
    secretConnections: 1,
  },
  [`burst of ${burst} warm`]: { atlasRequests: burst, atlasConnections: 0, secretReads: 0, secretConnections: 0 },
};

const figures: [keyof Traffic, string, Pick<Target, 'exactly'>][] = [
  ['atlasRequests', 'requests to Atlas', { exactly: true }],
  ['atlasConnections', 'new connections to Atlas', {}],
  ['secretReads', 'requests to Secrets Manager', { exactly: true }],
  ['secretConnections', 'new connections to Secrets Manager', {}],
];

export const trafficTargets = (found: Record<string, Traffic>): Target[] =>
  situations.flatMap((situation) =>
    figures.map(([key, name, how]) => ({
      what: `${situation}: ${name}`,
      wanted: budget[situation][key],
      found: found[situation]?.[key] ?? Number.NaN,
      ...how,
    })),
  );

export const trafficTable = (traffic: Record<string, Record<string, Traffic>>) =>
  table(
    'Requests and connections',
    ['Atlas', 'connections', 'secret', 'connections'],
    Object.entries(traffic).flatMap(([name, bySituation]) =>
      Object.entries(bySituation).map(([situation, seen]) => [
        `${name}, ${situation}`,
        ...figures.map(([key]) => seen[key]),
      ]),
    ),
  );
