/** Reads how long Atlas asks to wait. */

/**
 * How long Atlas asks to wait: `Retry-After` is seconds or a date (RFC 9110, section 10.2.3); the second parameter of the
 * token bucket's error document is seconds.
 *
 * @param now milliseconds since the epoch, for a `Retry-After` that is a date
 * @returns whole seconds from 1 to a day
 */
export function retryAfterSeconds(header: string | undefined, parameters: unknown, now: number): number {
  const text = header ?? '';
  const fromHeader = Number(text || Number.NaN);
  // "120, 120" where a proxy joined two headers, "60s" with a unit.
  const fromDigits = Number(/^\d+/.exec(text)?.[0] ?? Number.NaN);
  const fromDate = (Date.parse(text) - now) / 1000;
  const fromBody = Array.isArray(parameters) ? Number(parameters[1] ?? Number.NaN) : Number.NaN;
  const seconds = [fromHeader, fromDigits, fromDate, fromBody].find(Number.isFinite) ?? 1;
  // "Retry after 0 seconds" was recorded: without a floor, that is a busy loop. No bucket takes a day to fill.
  return Math.min(Math.max(1, Math.ceil(seconds)), 86_400);
}
