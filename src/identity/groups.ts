/**
 * The groups of a token, or of its issuer's userinfo, read as CockroachDB reads them
 * (pkg/ccl/jwtauthccl): a list, or a text with commas or spaces.
 */
import { normalizeUsername } from './username.ts'

/**
 * @param value - of the claim, or of the userinfo's key.
 * @returns undefined where there is no list of groups: then userinfo is asked.
 */
export function readGroups(value: unknown, foldCase: boolean): string[] | undefined {
  const listed = typeof value === 'string' ? split(value) : value
  if (!Array.isArray(listed)) return undefined
  const names = listed.flatMap(text).map((name) => name.trim())
  const groups = new Set(foldCase ? names.map(normalizeUsername) : names)
  groups.delete('')
  return [...groups]
}

function split(list: string): string[] {
  return list.split(list.includes(',') ? ',' : /\s+/)
}

/** A number that JavaScript can't hold exactly is dropped: it may have been another group's. */
function text(element: unknown): string[] {
  if (typeof element === 'string') return [element]
  const exact = typeof element === 'number' && Math.abs(element) <= Number.MAX_SAFE_INTEGER
  return exact ? [String(element)] : []
}
