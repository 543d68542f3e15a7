/** Memories of limited size. */

const limits = {
  /** Entries kept at once, such as the secrets of projects or the answers about live migrations. */
  entries: 1000,
};

/** Sets a map entry. Above the limit, drops the map's first entry, which is the one that was set longest ago. */
export function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > limits.entries) map.delete(map.keys().next().value ?? '');
}
