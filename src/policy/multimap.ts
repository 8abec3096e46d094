/** Several values under one key. Rule: a key without values is not there. */

export function putUnder<T>(map: Map<string, T[]>, key: string, value: T): void {
  const there = map.get(key)
  if (there === undefined) map.set(key, [value])
  else there.push(value)
}

/** @returns the one that was taken out; undefined where there is none */
export function takeFrom<T>(
  map: Map<string, T[]>,
  key: string,
  isIt: (value: T) => boolean,
): T | undefined {
  const there = map.get(key)
  const at = there?.findIndex(isIt) ?? -1
  if (there === undefined || at < 0) return undefined
  const [taken] = there.splice(at, 1)
  if (there.length === 0) map.delete(key)
  return taken
}
