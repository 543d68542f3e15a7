/** Summarizes measurements: the median and the 95th percentile, and a table of them. */

export type Figure = { what: string; count: number; p50: number; p95: number };

/** The smallest of the values that at least this share of them do not exceed. */
export function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export const figure = (what: string, values: number[]): Figure => ({
  what,
  count: values.length,
  p50: percentile(values, 0.5),
  p95: percentile(values, 0.95),
});

/**
 * Measures all contenders in turn, round by round, so that noise hits all alike; each round begins with another one.
 *
 * @returns what was measured of each, by its name
 */
export async function inTurns<C extends { name: string }, T>(
  rounds: number,
  contenders: C[],
  measure: (contender: C) => Promise<T>,
): Promise<Record<string, T[]>> {
  const measured: Record<string, T[]> = Object.fromEntries(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const first = round % contenders.length;
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      measured[contender.name]?.push(await measure(contender));
    }
  }
  return measured;
}

/** @param rows cells; the first column is set left, the others right */
export function table(title: string, head: string[], rows: (string | number)[][]): string {
  const cells = [[title, ...head], ...rows.map((row) => row.map(String))];
  const widths = cells.reduce<number[]>((most, row) => row.map((cell, at) => Math.max(most[at] ?? 0, cell.length)), []);
  const lines = cells.map((row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  '),
  );
  const [heading = '', ...others] = lines;
  return [heading, '-'.repeat(heading.length), ...others].map((line) => line.trimEnd()).join('\n');
}

export const figuresTable = (title: string, figures: Figure[], digits: number) =>
  table(
    title,
    ['times', 'p50', 'p95'],
    figures.map(({ what, count, p50, p95 }) => [what, count, p50.toFixed(digits), p95.toFixed(digits)]),
  );
