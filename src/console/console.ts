/**
 * ROOM, read first. The gate's own console: what an admin may ask of it and have it do, statement by statement.
 * It runs in the primary, which alone knows all workers; the worker that has the session only passes on.
 * Rule: each statement is judged anew: who is no admin any more, signed in no more, or here by a token that has
 * expired, is told nothing.
 */
import type { Answered, Described } from '../answers/view.ts'
import { literal } from '../cluster/paste.ts'
import { wordsOf } from '../cluster/refusals.ts'
import { isAdmin } from '../config/console_settings.ts'
import { asFailure, Failure } from '../failure.ts'
import type { LiveEvent } from '../telemetry/who_is_in.ts'
import { type Changes, openChanges } from './changes.ts'
import { type Begin, type By, does } from './does.ts'
import { type Asker, answerDriver } from './drivers.ts'
import { type Doing, type Parsed, parseStatement } from './grammar.ts'
import { HELP } from './help.ts'
import type { ConsoleParts } from './parts.ts'
import { nameOf } from './settings.ts'
import { SOURCES, show } from './shows.ts'

/** A statement, as a worker passes it on. */
export interface ConsoleQuestion {
  /** Of the session that it comes from. */
  session: string
  statement: string
  /** Undefined: only what it would show is asked for. */
  parameters: readonly (string | undefined)[] | undefined
  inTransaction: boolean
}

/** Plain data, for it may cross to another process. */
export type ConsoleAnswer =
  | { ok: true; answered: Answered }
  | { ok: true; described: Described }
  | { ok: false; refused: Refused }

/** A failure, taken apart. */
export type Refused = Pick<Failure, 'code' | 'values' | 'detail'>

export interface Console {
  /** Never rejects. @param worker - the number of whose session it is */
  ask(worker: number, question: ConsoleQuestion): Promise<ConsoleAnswer>
  /** The configuration was read again, without being told so here. */
  reloaded(who: string): void
}

/** The name of the node in the audit stream and in SHOW SESSIONS. */
export const CONSOLE_NODE = 'console'
const ANSWER_MS = 10_000
const NOTHING_SAID = { statement: '', address: '', session: '', cluster: '' }

type Parts = ConsoleParts & { changes: Changes }

export function openConsole(given: ConsoleParts): Console {
  const parts = { ...given, changes: openChanges(given) }
  return {
    reloaded: (who) => void parts.changes.note(who, { ...NOTHING_SAID, change: 'reload' }),
    async ask(worker, question) {
      const work = (begin: Begin) => answerTo(worker, question, parts, begin)
      const told = ({ message }: Failure) =>
        parts.log.warn(
          { request: question.session },
          `the console gave up on a statement, and then: ${message}`,
        )
      const answer = await inTime(work, (thrown) => told(spoken(thrown, question, parts))).catch(
        (thrown: unknown) => refused(spoken(thrown, question, parts)),
      )
      if (question.parameters !== undefined) {
        const result = answer.ok ? 'ok' : 'refused'
        parts.count({ name: 'console_statement', kind: kindOf(question.statement), result })
      }
      return answer
    },
  }
}

/**
 * What has not begun by then is not done any more; what has may still be.
 * @param later - is told why something failed of which nobody hears any more.
 * @throws Failure `console_timeout`, `console_unsure`
 */
async function inTime<T>(
  work: (begin: Begin) => Promise<T>,
  later: (thrown: unknown) => void,
): Promise<T> {
  const late = new AbortController()
  const over = Promise.withResolvers<never>()
  let hasBegun = false
  const timer = setTimeout(() => {
    late.abort(new Failure(hasBegun ? 'console_unsure' : 'console_timeout'))
    over.reject(late.signal.reason)
  }, ANSWER_MS)
  const working = work(() => {
    late.signal.throwIfAborted()
    hasBegun = true
  })
  working.catch((thrown) => late.signal.aborted && later(thrown))
  try {
    return await Promise.race([working, over.promise])
  } finally {
    clearTimeout(timer)
  }
}

/** For the metrics: of few kinds, whatever is said. */
function kindOf(statement: string): string {
  const [first = ''] = statement.split(/\W/, 1)
  const word = first.toLowerCase()
  return KINDS.has(word) ? word : 'other'
}

const KINDS = new Set([
  'show',
  'set',
  'reset',
  'revoke',
  'cancel',
  'drain',
  'undrain',
  'reload',
  'help',
  'select',
])

async function answerTo(
  worker: number,
  { session, statement, parameters, inTransaction }: ConsoleQuestion,
  parts: Parts,
  begin: Begin,
): Promise<ConsoleAnswer> {
  const event = adminOf(worker, session, parts)
  const asker = { user: event.User, database: event.Database, version: parts.version }
  const parsed = parseStatement(statement, parameters ?? 'described')
  if (parameters === undefined) return { ok: true, described: described(statement, parsed, asker) }
  if (parsed === undefined) return { ok: true, answered: driven(statement, asker) }
  const said = parsed.statement
  if (said.kind === 'help') return { ok: true, answered: { view: HELP, tag: 'HELP' } }
  if (said.kind === 'show') {
    if (said.view === 'CLUSTER SETTING')
      return { ok: true, answered: await showSetting(said.name, parts) }
    return { ok: true, answered: { ...(await show(said, parts)), tag: 'SHOW' } }
  }
  if (inTransaction)
    throw new Failure('console_in_transaction', { values: { statement: NAMES[said.kind] } })
  const by: By = { event, statement: withValues(statement, parameters), begin }
  return { ok: true, answered: await does(said, by, parts) }
}

/** What a statement is called in an error. */
export const NAMES: Record<Doing['kind'], string> = {
  set: 'SET CLUSTER SETTING',
  reset: 'RESET CLUSTER SETTING',
  revoke: 'REVOKE',
  cancel: 'CANCEL SESSION',
  drain: 'DRAIN NODE',
  undrain: 'UNDRAIN NODE',
  reload: 'RELOAD',
}

/** @throws Failure `console_denied`, `console_expired` */
function adminOf(worker: number, session: string, { known, config, now }: Parts): LiveEvent {
  const { console: own, clusters } = config()
  const found = known.whoIsIn.event(session)
  const isIn = found?.event.Node === CONSOLE_NODE && found.worker === worker
  if (!isIn || own === undefined || !isAdmin(found.event.User, found.event.Cluster, own))
    throw new Failure('console_denied', {
      values: { database: found?.event.Database ?? own?.database ?? '' },
    })
  const { TokenExpiry, Cluster } = found.event
  const { trust } = clusters.find(({ name }) => name === Cluster) ?? {}
  const untilMs = TokenExpiry * 1000 + (trust?.clockToleranceMs ?? 0)
  // Whatever the cluster's sessions may do: whoever leads the gate does so by a token that is good now.
  if (TokenExpiry !== 0 && now() >= untilMs) throw new Failure('console_expired')
  return found.event
}

function described(statement: string, parsed: Parsed | undefined, asker: Asker): Described {
  if (parsed === undefined)
    return { columns: driven(statement, asker).view?.columns, parameters: 0 }
  const { statement: said, parameters } = parsed
  if (said.kind === 'help') return { columns: HELP.columns, parameters }
  return { columns: said.kind === 'show' ? SOURCES[said.view].columns : undefined, parameters }
}

/** @throws Failure `answer_unsupported` */
function driven(statement: string, asker: Asker): Answered {
  const answered = answerDriver(statement, asker)
  if (answered !== undefined) return answered
  const what = statement.replace(/\s+/g, ' ').slice(0, SHOWN_CHARACTERS_MAX)
  throw new Failure('answer_unsupported', { values: { what } })
}

const SHOWN_CHARACTERS_MAX = 60

/** As if they had been said in their places: whoever reads it later on has nothing else. */
function withValues(statement: string, parameters: readonly (string | undefined)[]): string {
  return statement.replace(/'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\d+)/g, (found, number?: string) => {
    const value = number === undefined ? undefined : parameters[Number(number) - 1]
    return value === undefined ? found : literal(value)
  })
}

async function showSetting(name: string, parts: Parts): Promise<Answered> {
  const where = [['variable', '=', nameOf(name, parts)]] as const
  const said = {
    kind: 'show',
    view: 'CLUSTER SETTINGS',
    name: '',
    where,
    limit: undefined,
  } as const
  return { view: (await show(said, parts)).view, tag: 'SHOW' }
}

/** What is told to a client of a failure that may be the state's, or the configuration's. */
function spoken(thrown: unknown, { session }: ConsoleQuestion, { log, known }: Parts): Failure {
  const failure = asFailure(thrown)
  const { code } = failure
  const about = { request: session, user: known.whoIsIn.event(session)?.event.User }
  if (failure.row.sqlstate === DENIED.row.sqlstate)
    log.warn({ ...about, failure: code }, `the console refused a statement: ${failure.message}`)
  else if (failure.log !== undefined && TOLD.has(code))
    log.warn({ ...about, failure: code }, `the console: ${failure.log}`)
  if (failure.row.sqlstate !== USAGE.row.sqlstate && failure.code !== 'node_refused') return failure
  const problem = failure.code === 'node_refused' ? wordsOf(failure) : failure.message
  return new Failure('console_value', { values: { problem }, cause: failure })
}

const USAGE = new Failure('usage')
const DENIED = new Failure('console_denied')
/** Of what the client hears nothing. */
const TOLD = new Set<Failure['code']>(['internal_error', 'console_unsure'])

function refused({ code, values, detail }: Failure): ConsoleAnswer {
  return { ok: false, refused: { code, values, detail } }
}
