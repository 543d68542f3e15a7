/** Memories of limited size. */

const limits = {
  /** Entries kept at once, such as the secrets of projects or the answers about live migrations. */
  entries: 1000,
};

/** Sets an entry of a map, whose first entry is the one not set for longest, and drops that one where there are too many. */
export function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > limits.entries) map.delete(map.keys().next().value ?? '');
}
