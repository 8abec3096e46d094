/**
 * What clients ask of a server when they begin, and settle for a session: psql, node-postgres, JDBC, psycopg,
 * SQLAlchemy. Answered from tables, as a PostgreSQL of these settings would; nothing is kept of what they set.
 * Rule: what is not here has no answer, so that nobody takes the console for a database.
 */
import type { Answered } from '../answers/view.ts'
import { Failure } from '../failure.ts'

/** Who asks, and whom. */
export interface Asker {
  user: string
  database: string
  /** Postern's. */
  version: string
}

/** Whose protocol and types the console speaks. */
const SERVER = '18.0'

/** What is told in ParameterStatus messages when a session begins. */
export function parametersOf(user: string): [name: string, value: string][] {
  return [
    ['server_version', `${SERVER} (Postern)`],
    ['server_encoding', 'UTF8'],
    ['client_encoding', 'UTF8'],
    ['application_name', ''],
    ['default_transaction_read_only', 'off'],
    ['in_hot_standby', 'off'],
    ['is_superuser', 'off'],
    ['session_authorization', user],
    ['DateStyle', 'ISO, MDY'],
    ['IntervalStyle', 'postgres'],
    ['TimeZone', 'UTC'],
    ['integer_datetimes', 'on'],
    ['standard_conforming_strings', 'on'],
    ['search_path', '""'],
  ]
}

/** Shown, and told to nobody who doesn't ask. */
const OTHERS: [name: string, value: string][] = [
  ['server_version_num', '180000'],
  ['transaction_isolation', 'read committed'],
  ['default_transaction_isolation', 'read committed'],
  ['transaction_read_only', 'off'],
  ['max_identifier_length', '63'],
  ['extra_float_digits', '1'],
  ['statement_timeout', '10s'],
]

/** What a session may set to whatever it likes: it changes nothing here. */
const SETTABLE = new Set([
  'application_name',
  'bytea_output',
  'client_min_messages',
  'datestyle',
  'extra_float_digits',
  'idle_in_transaction_session_timeout',
  'intervalstyle',
  'lock_timeout',
  'search_path',
  'standard_conforming_strings',
  'statement_timeout',
  'timezone',
])

type Answer = (found: RegExpExecArray, asker: Asker) => Answered | undefined

const select = (column: string, of: (asker: Asker) => string | undefined): Answer => {
  return (_, asker) => one(column, of(asker), 'SELECT 1')
}

const ANSWERS: readonly [RegExp, Answer][] = [
  [/^select (1)(?: as "?(\w+)"?)?$/, ([, , name]) => number(name ?? '?column?', 1)],
  [
    /^select (?:pg_catalog\.)?version\(\)$/,
    select('version', ({ version }) => `PostgreSQL ${SERVER} (Postern ${version})`),
  ],
  [
    /^select (?:pg_catalog\.)?current_database\(\)$/,
    select('current_database', ({ database }) => database),
  ],
  [
    /^select (current_user|session_user|user)$/,
    ([, name = ''], { user }) => one(name, user, 'SELECT 1'),
  ],
  [/^select (?:pg_catalog\.)?current_schema(?:\(\))?$/, select('current_schema', () => undefined)],
  [
    /^select (?:pg_catalog\.)?set_config\('search_path', *'[^']*', *(?:true|false)\)$/,
    select('set_config', () => ''),
  ],
  [
    /^show (?:session )?transaction isolation level$/,
    (_, asker) => setting('transaction_isolation', asker),
  ],
  [/^show (?:session )?time zone$/, (_, asker) => setting('timezone', asker)],
  [/^show "?(\w+)"?$/, ([, name = ''], asker) => setting(name, asker)],
  [/^set (?:session |local )?time zone (?:.+)$/, () => ({ tag: 'SET' })],
  [/^set session characteristics as transaction (?:.+)$/, () => ({ tag: 'SET' })],
  [/^set (?:session |local )?transaction (?:.+)$/, () => ({ tag: 'SET' })],
  [
    /^set (?:session |local )?(?:client_encoding *(?:=|to)|names) *(.+)$/,
    ([, encoding = '']) => encoded(encoding),
  ],
  [
    /^set (?:session |local )?(\w+) *(?:=|to) *.+$/,
    ([, name = '']) => (SETTABLE.has(name) ? { tag: 'SET' } : undefined),
  ],
  [
    /^reset (?:all|(\w+))$/,
    ([, name]) => (name === undefined || SETTABLE.has(name) ? { tag: 'RESET' } : undefined),
  ],
  [/^discard all$/, () => ({ tag: 'DISCARD ALL' })],
  [/^(?:unlisten \*|unlisten all)$/, () => ({ tag: 'UNLISTEN' })],
]

/** @returns undefined for what is not known */
export function answerDriver(statement: string, asker: Asker): Answered | undefined {
  const folded = statement.replace(/\s+/g, ' ').toLowerCase()
  for (const [form, answer] of ANSWERS) {
    const found = form.exec(folded)
    const said = found === null ? undefined : answer(found, asker)
    if (said !== undefined) return said
  }
  return undefined
}

function one(name: string, value: string | undefined, tag: string): Answered {
  return { view: { columns: [{ name, type: 'text' }], rows: [[value]] }, tag }
}

function number(name: string, value: number): Answered {
  return { view: { columns: [{ name, type: 'int8' }], rows: [[value]] }, tag: 'SELECT 1' }
}

function setting(name: string, { user }: Asker): Answered | undefined {
  const known = [...parametersOf(user), ...OTHERS]
  const found = known.find(([each]) => each.toLowerCase() === name)
  return found && one(found[0], found[1], 'SHOW')
}

/** Whatever a client would rather have, it gets UTF-8. */
function encoded(encoding: string): Answered {
  if (/^['"]?(?:utf-?8|unicode)['"]?$/.test(encoding)) return { tag: 'SET' }
  const problem = `the console speaks UTF8 alone, not ${encoding.slice(0, 40)}`
  throw new Failure('console_value', { values: { problem } })
}
