/**
 * The extended protocol: statements that are prepared, and portals in which they are run.
 * https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 * Rule: a client keeps a bounded number of either and of rows, and a portal runs its statement once.
 */
import { Failure } from '../failure.ts'
import {
  BIND_COMPLETE,
  CLOSE_COMPLETE,
  commandComplete,
  EMPTY_QUERY,
  type Format,
  PARSE_COMPLETE,
  PORTAL_SUSPENDED,
  parameterDescription,
} from '../wire/answer_messages.ts'
import type { StatementMessage } from '../wire/statement_messages.ts'
import type { Answering, Parameters } from './conversation.ts'
import { columnsOf, noticed, rowsOf } from './messages.ts'
import { splitStatements } from './split.ts'
import { isAboutTransaction } from './transaction.ts'
import { formatAt, TEXT_OID, TEXT_OIDS } from './values.ts'
import type { Answered, Column, Described, View } from './view.ts'

interface Prepared {
  /** Empty: the empty query. */
  sql: string
  /** Of its parameters, as the client declared them. */
  types: readonly number[]
  described: Described
}

interface Portal extends Prepared {
  parameters: Parameters
  formats: readonly Format[]
  /** What is still to be sent, once it was run. */
  left?: { rows: View['rows']; columns: readonly Column[]; tag: string }
}

type Said<K extends StatementMessage['kind']> = Extract<StatementMessage, { kind: K }>
type Run = (sql: string, parameters: Parameters) => Promise<Answered>

/** Of each kind that a client may keep. */
const KEPT_MAX = 100
/** That wait in all of a client's portals: two answers' as large as they get. */
export const ROWS_KEPT_MAX = 20_000
const NO_TEXT = 'a parameter in binary that is no text'

export class ExtendedProtocol {
  readonly #run: Run
  readonly #describe: Answering['describe']
  readonly #statements = new Map<string, Prepared>()
  readonly #portals = new Map<string, Portal>()

  constructor(run: Run, describe: Answering['describe']) {
    this.#run = run
    this.#describe = describe
  }

  /** What is said to it. @throws Failure, behind which nothing is heard but a Sync */
  async hear(said: StatementMessage): Promise<Iterable<Buffer>> {
    switch (said.kind) {
      case 'parse':
        return await this.#parse(said)
      case 'bind':
        return this.#bind(said)
      case 'describe':
        return this.#described(said)
      case 'execute':
        return await this.#execute(said)
      case 'close':
        if (said.what === 'portal') this.#portals.delete(said.name)
        else this.#statements.delete(said.name)
        return [CLOSE_COMPLETE]
      default:
        return []
    }
  }

  /** Their transaction is over. */
  endPortals(): void {
    this.#portals.clear()
  }

  /** A simple Query takes its place. */
  forgetUnnamed(): void {
    this.#statements.delete('')
    this.#portals.delete('')
  }

  async #parse(said: Said<'parse'>): Promise<Buffer[]> {
    const [sql = '', ...more] = splitStatements(said.sql)
    if (more.length > 0) throw new Failure('answer_several')
    if (said.name !== '' && this.#statements.has(said.name))
      throw new Failure('answer_prepared_twice', { values: { name: said.name } })
    const isOwn = sql === '' || isAboutTransaction(sql)
    const described = isOwn ? { parameters: 0 } : await this.#describe(sql)
    keep(this.#statements, said.name, { sql, types: said.types, described })
    return [PARSE_COMPLETE]
  }

  #bind({ portal, statement, formats, parameters, results }: Said<'bind'>): Buffer[] {
    const prepared = find(this.#statements, statement, 'answer_no_statement')
    const wanted = prepared.described.parameters
    if (parameters.length !== wanted)
      throw new Failure('answer_parameters', { values: { given: parameters.length, wanted } })
    const texts = parameters.map((value, at) => {
      // Of text both formats are the same bytes.
      if (formatAt(formats, at) === 1 && !TEXT_OIDS.has(prepared.types[at] ?? 0))
        throw new Failure('answer_unsupported', { values: { what: NO_TEXT } })
      return value?.toString('utf8')
    })
    keep(this.#portals, portal, { ...prepared, parameters: texts, formats: results })
    return [BIND_COMPLETE]
  }

  #described({ what, name }: Said<'describe' | 'close'>): Buffer[] {
    if (what === 'portal') {
      const { described, formats } = find(this.#portals, name, 'answer_no_portal')
      return [columnsOf(described, formats)]
    }
    const { described, types } = find(this.#statements, name, 'answer_no_statement')
    const wanted = Array.from({ length: described.parameters }, (_, at) => types[at] || TEXT_OID)
    return [parameterDescription(wanted), columnsOf(described)]
  }

  async #execute({ portal: name, rows: most }: Said<'execute'>): Promise<Iterable<Buffer>> {
    const portal = find(this.#portals, name, 'answer_no_portal')
    if (portal.sql === '') return [EMPTY_QUERY]
    let notice: string | undefined
    if (portal.left === undefined) {
      const answered = await this.#run(portal.sql, portal.parameters)
      const { rows = [], columns = [] } = answered.view ?? {}
      portal.left = { rows, columns, tag: answered.tag }
      notice = answered.notice
    }
    const { left, formats } = portal
    const rows = most > 0 ? left.rows.slice(0, most) : left.rows
    left.rows = left.rows.slice(rows.length)
    this.#boundRows(name)
    return portion({ rows, columns: left.columns }, formats, notice, left)
  }

  /** @throws Failure `answer_rows_kept`, and that portal is gone */
  #boundRows(portal: string): void {
    let kept = 0
    for (const { left } of this.#portals.values()) kept += left?.rows.length ?? 0
    if (kept <= ROWS_KEPT_MAX) return
    this.#portals.delete(portal)
    throw new Failure('answer_rows_kept', { values: { most: ROWS_KEPT_MAX } })
  }
}

function* portion(
  rows: View,
  formats: readonly Format[],
  notice: string | undefined,
  left: NonNullable<Portal['left']>,
): Generator<Buffer> {
  yield* noticed(notice)
  yield* rowsOf(rows, formats)
  yield left.rows.length > 0 ? PORTAL_SUSPENDED : commandComplete(left.tag)
}

function keep<T>(kept: Map<string, T>, name: string, value: T): void {
  if (!kept.has(name) && kept.size >= KEPT_MAX) throw new Failure('answer_too_many')
  kept.set(name, value)
}

/** @throws Failure of that code */
function find<T>(
  kept: ReadonlyMap<string, T>,
  name: string,
  code: 'answer_no_statement' | 'answer_no_portal',
): T {
  const found = kept.get(name)
  if (found !== undefined) return found
  throw new Failure(code, { values: { name } })
}
