/** Reads how long Atlas asks to wait, in whole seconds from 1 to a day. */

/** "Retry after 0 seconds" was recorded: without a floor, that is a busy loop. No bucket takes a day to fill. */
const bounded = (seconds: number) => Math.min(Math.max(1, Math.ceil(seconds)), 86_400);

/**
 * @param header `Retry-After`: seconds or a date (RFC 9110, section 10.2.3)
 * @param now milliseconds since the epoch
 * @returns undefined where there is none that can be read
 */
export function retryAfter(header: string | undefined, now: number): number | undefined {
  const text = header ?? '';
  const inSeconds = Number(text || Number.NaN);
  // "120, 120" where a proxy joined two headers, "60s" with a unit.
  const digits = Number(/^\d+/.exec(text)?.[0] ?? Number.NaN);
  const untilDate = (Date.parse(text) - now) / 1000;
  const seconds = [inSeconds, digits, untilDate].find(Number.isFinite);
  return seconds === undefined ? undefined : bounded(seconds);
}

/**
 * What the parameters of an error document say, whose places mean something else with each code: path, seconds, …; or
 * path, requests, minutes.
 *
 * @returns 1 for every other code: what no code defines is not read
 */
export function retryAfterOf(errorCode: string | null, parameters: unknown): number {
  const at = (place: number): number => {
    const value: unknown = Array.isArray(parameters) ? parameters[place] : undefined;
    return typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN;
  };
  const seconds = { RATE_LIMITED_TOKEN_BUCKET: at(1), RATE_LIMITED: 60 * at(2) }[errorCode ?? ''] ?? Number.NaN;
  return Number.isFinite(seconds) ? bounded(seconds) : 1;
}
