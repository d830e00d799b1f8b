/** `next`, but made of the parts of `previous` wherever they are equal: what did not change is not drawn again. */
export function share<T>(previous: unknown, next: T): T {
  if (Object.is(previous, next)) return next;
  if (!isObject(previous) || !isObject(next) || Array.isArray(previous) !== Array.isArray(next)) return next;
  const shared: Record<string, unknown> = {};
  const keys = Object.keys(next);
  let same = keys.length === Object.keys(previous).length;
  for (const key of keys) {
    shared[key] = share(previous[key], next[key]);
    same &&= key in previous && Object.is(shared[key], previous[key]);
  }
  if (same) return previous as T;
  return (Array.isArray(next) ? Object.values(shared) : shared) as T;
}

/** As `share`, for rows that may have moved: each is compared with the earlier row of the same key. */
export function shareRows<T>(previous: readonly T[], next: readonly T[], keyOf: (row: T) => string): readonly T[] {
  const known = new Map(previous.map((row) => [keyOf(row), row]));
  const rows = next.map((row) => share(known.get(keyOf(row)), row));
  const same = rows.length === previous.length && rows.every((row, i) => Object.is(row, previous[i]));
  return same ? previous : rows;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
