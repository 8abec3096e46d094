/**
 * Which roles groups may become: a name, or behind a slash a regular expression that must describe the
 * whole name, in the form of the identity map's. https://github.com/google/re2/wiki/Syntax
 * Rule: as in the identity map, a pattern that is not anchored is refused: `/team` would let in
 * `not_a_team` as well.
 */
import { compile, howToAnchor, isAnchored } from './identity_map.ts'
import { normalizeUsername } from './username.ts'

export interface RolePattern {
  /** As it is written. */
  text: string
  /** Stands for the one role of that name. */
  literal: boolean
  /**
   * @param foldCase - towards CockroachDB, whose names have no case: `name` comes in lower case then, however the
   *   pattern is written.
   */
  matches(name: string, foldCase: boolean): boolean
}

export type ParsedRolePattern = { ok: true; pattern: RolePattern } | { ok: false; problem: string }

export function parseRolePattern(text: string): ParsedRolePattern {
  if (text === '') return { ok: false, problem: 'a role has a name; write it, or a /^pattern$' }
  if (!text.startsWith('/')) {
    const folded = normalizeUsername(text)
    const matches = (name: string, foldCase: boolean) => name === (foldCase ? folded : text)
    return { ok: true, pattern: { text, literal: true, matches } }
  }
  const pattern = text.slice(1)
  const regexp = compile(pattern)
  if (typeof regexp === 'string') return { ok: false, problem: regexp }
  const folded = compile(pattern, true)
  if (typeof folded === 'string') return { ok: false, problem: folded }
  if (!isAnchored(pattern))
    return { ok: false, problem: `the pattern is not anchored: ${howToAnchor(pattern)}` }
  const matches = (name: string, foldCase: boolean) =>
    (foldCase ? folded : regexp).matcher(name).matches()
  return { ok: true, pattern: { text, literal: false, matches } }
}
