/**
 * What can be said to the console: SHOW, SET and RESET CLUSTER SETTING, REVOKE, CANCEL SESSION, DRAIN NODE,
 * RELOAD, HELP. docs/console.md describes them. Pure.
 * Rule: a text that is no statement is an error; nothing is guessed.
 */
import { Failure } from '../failure.ts'
import { type Condition, OPERATORS } from './conditions.ts'
import { type Parameters, readWords, type Words } from './words.ts'

export const VIEWS = [
  'SESSIONS',
  'NODES',
  'ISSUERS',
  'KEYS',
  'CERTIFICATES',
  'STATS',
  'CLUSTER SETTINGS',
  'CLUSTER SETTING',
  'ACCESS',
  'THROTTLED',
  'REFUSALS',
  'REVOCATIONS',
  'CHANGES',
  'VERSION',
] as const

export type ViewName = (typeof VIEWS)[number]

export interface Show {
  kind: 'show'
  view: ViewName
  /** Of `SHOW CLUSTER SETTING name`. */
  name: string
  where: readonly Condition[]
  limit: number | undefined
}

/** As a revocation of the shared state names it. */
export interface Revoke {
  kind: 'revoke'
  what: 'token' | 'digest' | 'session' | 'subject' | 'issuer'
  issuer: string
  value: string
  /** Seconds since the epoch: what was issued before. */
  before: number | undefined
  why: string
}

export interface Drain {
  kind: 'drain' | 'undrain'
  node: string
  /** Where it is in one alone, it need not be said. */
  cluster: string | undefined
}

/** What changes something. */
export type Doing =
  | { kind: 'set'; name: string; value: string }
  | { kind: 'reset'; name: string }
  | Revoke
  | { kind: 'cancel'; session: string }
  | Drain
  | { kind: 'reload' }

export type Statement = Show | Doing | { kind: 'help' }

export interface Parsed {
  statement: Statement
  /** How many parameters it takes. */
  parameters: number
}

const FIRST = [
  'SHOW',
  'SET',
  'RESET',
  'REVOKE',
  'CANCEL',
  'DRAIN',
  'UNDRAIN',
  'RELOAD',
  'HELP',
] as const

/** @returns undefined for what begins like no statement of the console's. */
export function parseStatement(text: string, given: Parameters): Parsed | undefined {
  const words = readWords(text, given)
  const first = FIRST.find((keyword) => words.may(keyword))
  const statement = first && PARSERS[first](words)
  if (statement === undefined) return undefined
  words.end()
  return { statement, parameters: words.parameters() }
}

const PARSERS: Record<(typeof FIRST)[number], (words: Words) => Statement | undefined> = {
  SHOW: show,
  SET(words) {
    if (!words.may('CLUSTER', 'SETTING')) return undefined
    const name = words.name()
    if (!words.mayMark('=')) words.must('TO')
    if (words.may('DEFAULT')) return { kind: 'reset', name }
    return { kind: 'set', name, value: words.value() }
  },
  RESET: (words) =>
    words.may('CLUSTER', 'SETTING') ? { kind: 'reset', name: words.name() } : undefined,
  REVOKE: revoke,
  CANCEL(words) {
    words.must('SESSION')
    return { kind: 'cancel', session: words.text() }
  },
  DRAIN: (words) => drain('drain', words),
  UNDRAIN: (words) => drain('undrain', words),
  RELOAD: () => ({ kind: 'reload' }),
  HELP: () => ({ kind: 'help' }),
}

function drain(kind: Drain['kind'], words: Words): Drain {
  words.must('NODE')
  const node = words.text()
  return { kind, node, cluster: words.may('CLUSTER') ? words.text() : undefined }
}

/** Other names are of a server's settings, which drivers ask for. */
function show(words: Words): Show | { kind: 'help' } | undefined {
  // psql takes the word alone for itself.
  if (words.may('HELP')) return { kind: 'help' }
  const view = VIEWS.find((each) => words.may(...each.split(' ')))
  if (view === undefined) return undefined
  const name = view === 'CLUSTER SETTING' ? words.name() : ''
  const where: Condition[] = []
  if (words.may('WHERE'))
    do {
      const column = words.name().toLowerCase()
      const operator = words.oneMark(OPERATORS)
      where.push([column, operator, words.value()])
      if (where.length > CONDITIONS_MAX)
        throw value(`WHERE takes at most ${CONDITIONS_MAX} conditions`)
    } while (words.may('AND'))
  const limit = words.may('LIMIT') ? words.valueAs(count) : undefined
  return { kind: 'show', view, name, where, limit }
}

/** Each of them looks at each row. */
const CONDITIONS_MAX = 16

function count(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw value(`LIMIT takes a number of rows, not ${JSON.stringify(text.slice(0, 40))}`)
}

function revoke(words: Words): Revoke {
  const kind = words.oneOf(['TOKEN', 'DIGEST', 'SESSION', 'SUBJECT', 'ISSUER'])
  const what = kind.toLowerCase() as Revoke['what']
  const first = (what === 'digest' ? words.textAs(digest) : words.text()) ?? ''
  const said = { kind: 'revoke', what, issuer: '', value: first, why: '' } as const
  const found: Revoke = { ...said, before: undefined }
  if (what === 'issuer') Object.assign(found, { issuer: first, value: '' })
  if (what === 'subject') words.must('ISSUER')
  // Whose token: its id may be somebody else's token's as well.
  if (what === 'subject' || (what === 'token' && words.may('ISSUER')))
    found.issuer = words.textAs(issuer) ?? ''
  const byAge = what === 'issuer' || what === 'subject'
  if (byAge && words.may('BEFORE')) found.before = words.textAs(moment)
  if (words.may('REASON')) found.why = words.text()
  return found
}

function digest(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase()
  throw value('a digest is 64 hexadecimal digits: token_digest of SHOW SESSIONS')
}

/** Without one it would be everybody's. */
function issuer(text: string): string {
  if (text !== '') return text
  throw value('ISSUER takes no empty name')
}

/** With an offset or a Z: a time without one is another moment elsewhere. */
const MOMENT = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)$/

function moment(text: string): number {
  const iso = text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')
  const ms = MOMENT.test(text) ? Date.parse(iso) : Number.NaN
  if (!Number.isNaN(ms)) return ms / 1000
  throw value(`write a time like 2026-01-31T12:00:00Z, not ${JSON.stringify(text.slice(0, 40))}`)
}

function value(problem: string): Failure {
  return new Failure('console_value', { values: { problem } })
}
