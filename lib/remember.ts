/** Memories of limited size. */

export const limits = {
  /** Entries kept at once, such as the secrets of projects or the answers about live migrations. */
  entries: 1000,
};

/** Sets an entry of a map, and moves it to the end. Above the limit, the first one goes, which was set longest ago. */
export function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > limits.entries) map.delete(map.keys().next().value ?? '');
}
