/**
 * The identity map: which database users a principal of an issuer may be. One rule a line, in the
 * form of pg_ident: map name (the issuer), principal or /regular expression, user.
 * https://www.cockroachlabs.com/docs/stable/sso-sql
 * https://www.postgresql.org/docs/18/auth-username-maps.html
 * The one rule: a pattern describes the whole principal or is refused. Unanchored, it lets in
 * whoever can get a name that contains a match.
 */
import { RE2JS } from 're2js'
import { indexByLiterals, type RequiredLiterals, requiredLiterals } from './literal_index.ts'
import { normalizeUsername } from './username.ts'

/** The longest principal to look up, in UTF-8; the caller refuses longer ones. */
export const PRINCIPAL_BYTES_MAX = 1024

export interface IdentityMapOptions {
  /** Towards CockroachDB, whose names have no case. PostgreSQL keeps `Alice` and `alice` apart. */
  foldCase: boolean
  allowUnanchored: boolean
}

export interface IdentityMapProblem {
  line: number
  text: string
}

export interface IdentityMap {
  lookup(mapName: string, principal: string): IdentityMapMatch
  /** Lines that map something. */
  lineCount: number
}

export interface IdentityMapMatch {
  /** The map name has lines, whether or not one matches. */
  found: boolean
  /** In the order of the lines, each once. */
  users: string[]
  /** The numbers of the lines that matched, for the decision record. */
  lines: number[]
}

export type ParsedIdentityMap =
  | { ok: true; map: IdentityMap; lines: readonly IdentityMapLine[] }
  | { ok: false; problems: IdentityMapProblem[] }

/** A line as it is written, for who looks at a map and not up in it. */
export interface IdentityMapLine {
  number: number
  mapName: string
  user: string
  /** A pattern that may match a part of a principal. */
  unanchored: boolean
}

interface LiteralLine {
  number: number
  mapName: string
  user: string
  identity: string
}

interface PatternLine {
  number: number
  mapName: string
  user: string
  regexp: RE2JS
  whole: boolean
  required: RequiredLiterals
}

type Line = LiteralLine | PatternLine

/** Every problem of the text at once, or the map. */
export function parseIdentityMap(text: string, options: IdentityMapOptions): ParsedIdentityMap {
  const lines: Line[] = []
  const problems: IdentityMapProblem[] = []
  for (const [at, raw] of text.split('\n').entries()) {
    const number = at + 1
    const line = (raw.split('#', 1)[0] ?? '').trim()
    if (line === '') continue
    const parsed = parseLine(number, line, options)
    if ('problems' in parsed) {
      for (const problem of parsed.problems) problems.push({ line: number, text: problem })
    } else lines.push(parsed)
  }
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, map: openMap(lines, options.foldCase), lines: lines.map(describeLine) }
}

function describeLine(line: Line): IdentityMapLine {
  const { number, mapName, user } = line
  return { number, mapName, user, unanchored: 'whole' in line && !line.whole }
}

function parseLine(
  number: number,
  line: string,
  options: IdentityMapOptions,
): Line | { problems: string[] } {
  const [mapName, identity, user, ...more] = line.split(/[\t\f\r ]+/)
  if (mapName === undefined || identity === undefined || user === undefined || more.length > 0) {
    return { problems: [`unable to parse line ${number}: ${JSON.stringify(line)}`] }
  }
  if (!identity.startsWith('/')) {
    if (user.includes(FIRST_GROUP)) return { problems: [noSubexpressions(number)] }
    return { number, mapName, user, identity }
  }

  const pattern = identity.slice(1)
  const regexp = compile(pattern)
  if (typeof regexp === 'string') return { problems: [`unable to parse line ${number}: ${regexp}`] }
  const whole = isAnchored(pattern)
  const problems: string[] = []
  if (user.includes(FIRST_GROUP) && regexp.groupCount() === 0) {
    problems.push(noSubexpressions(number))
  }
  if (!whole && !options.allowUnanchored) {
    problems.push(`pattern on line ${number} is not anchored: ${howToAnchor(pattern)}`)
  }
  if (problems.length > 0) return { problems }
  return { number, mapName, user, regexp, whole, required: requiredLiterals(pattern, whole) }
}

/** Stands in a user for the first capture group; only the first of several is replaced. */
const FIRST_GROUP = '\\1'

function noSubexpressions(number: number): string {
  return `saw \\1 substitution on line ${number}, but pattern contains no subexpressions`
}

/** The regular expression, or what is wrong with it. @param anyCase - letters have no case in it. */
export function compile(pattern: string, anyCase = false): RE2JS | string {
  try {
    return RE2JS.compile(pattern, anyCase ? RE2JS.CASE_INSENSITIVE : 0)
  } catch (thrown) {
    const problem = thrown instanceof Error ? thrown.message : String(thrown)
    const said = 'error parsing regexp: '
    return problem.startsWith(said) ? problem : said + problem
  }
}

/**
 * A look at the text alone. `^a|b$` and `^a\Q$` pass, and are harmless: what passes is matched
 * against the whole principal, whatever its anchors come to mean.
 */
export function isAnchored(pattern: string): boolean {
  return pattern.startsWith('^') && ENDS_ANCHORED.test(pattern)
}

const ENDS_ANCHORED = /(?<!\\)(?:\\\\)*\$$/

export function howToAnchor(pattern: string): string {
  if (pattern.endsWith('$/')) {
    return `the "/" at its end is part of the pattern; write "/${anchored(pattern.slice(0, -1))}"`
  }
  const plain = /^(\^?)([\w.@:-]+)(\$?)$/.exec(pattern)
  if (plain === null) {
    return `"/${pattern}" must begin with "^" and end with "$"; write "/${anchored(pattern)}"`
  }
  const [, begin, name, end] = plain
  const stranger = `${begin === '' ? 'evil-' : ''}${name}${end === '' ? '-evil' : ''}`
  return `"/${pattern}" would also match "${stranger}"; write "/${anchored(pattern)}"`
}

function anchored(pattern: string): string {
  const flags = /^\(\?[imsU-]+\)/.exec(pattern)?.[0] ?? ''
  const begun = pattern.slice(flags.length).replace(/^\^/, '')
  const body = ENDS_ANCHORED.test(begun) ? begun.slice(0, -1) : begun
  return body.includes('|') ? `^${flags}(?:${body})$` : `^${flags}${body}$`
}

function openMap(lines: readonly Line[], foldCase: boolean): IdentityMap {
  const finders = new Map<string, (principal: string) => Line[]>()
  for (const [mapName, own] of Map.groupBy(lines, (line) => line.mapName)) {
    finders.set(mapName, finderOf(own))
  }
  return {
    lineCount: lines.length,
    lookup(mapName, principal) {
      const candidates = finders.get(mapName)
      if (candidates === undefined) return { found: false, users: [], lines: [] }
      const users = new Set<string>()
      const matched: number[] = []
      for (const line of candidates(principal)) {
        const user = userOf(line, principal)
        if (user === '') continue
        users.add(foldCase ? normalizeUsername(user) : user)
        matched.push(line.number)
      }
      return { found: true, users: [...users], lines: matched }
    },
  }
}

/** The lines of one map name that may match a principal, in order. */
function finderOf(lines: readonly Line[]): (principal: string) => Line[] {
  const literals = Map.groupBy(
    lines.filter((line) => 'identity' in line),
    (line) => line.identity,
  )
  const patterns = indexByLiterals(lines.filter((line) => 'regexp' in line))
  return (principal) =>
    [...(literals.get(principal) ?? []), ...patterns(principal)].sort((a, b) => a.number - b.number)
}

/** The user that a candidate line makes of a principal; '' where it doesn't match. */
function userOf(line: Line, principal: string): string {
  if ('identity' in line) return line.user
  // Not testExact(): the automaton that it builds keeps up to 8 MB a pattern, filled by strangers.
  const matcher = line.regexp.matcher(principal)
  const matches = line.whole ? matcher.matches() : matcher.find()
  return matches ? line.user.replace(FIRST_GROUP, () => matcher.group(1) ?? '') : ''
}
