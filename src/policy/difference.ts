/**
 * What has come and what has gone between two lists of rows, which are kept in one order.
 * Rule: a row that stands where it stood, from the beginning or from the end, costs one comparison, and any
 * other one a look-up.
 */
import { putUnder, takeFrom } from './multimap.ts'

export interface Difference<T> {
  gone: readonly T[]
  come: readonly T[]
}

/** @param keyOf - the same for rows that are the same */
export function difference<T>(
  before: readonly T[],
  after: readonly T[],
  isSame: (one: T, other: T) => boolean,
  keyOf: (row: T) => string,
): Difference<T> {
  const shorter = Math.min(before.length, after.length)
  let head = 0
  while (head < shorter && isSame(before[head] as T, after[head] as T)) head++
  let tail = 0
  const [last, end] = [before.length - 1, after.length - 1]
  while (tail < shorter - head && isSame(before[last - tail] as T, after[end - tail] as T)) tail++
  const left = new Map<string, T[]>()
  for (const row of before.slice(head, before.length - tail)) putUnder(left, keyOf(row), row)
  const come = after
    .slice(head, after.length - tail)
    .filter((row) => takeFrom(left, keyOf(row), (other) => isSame(other, row)) === undefined)
  return { gone: [...left.values()].flat(), come }
}
