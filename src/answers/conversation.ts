/**
 * A client's statements and what they are answered, message by message.
 * https://www.postgresql.org/docs/18/protocol-flow.html
 * Rule: after an error in the extended protocol nothing is heard but the next Sync.
 */
import { asFailure, Failure } from '../failure.ts'
import { EMPTY_QUERY, readyForQuery } from '../wire/answer_messages.ts'
import { errorResponse } from '../wire/server_messages.ts'
import type { StatementMessage } from '../wire/statement_messages.ts'
import { ExtendedProtocol } from './extended.ts'
import { wholeAnswer } from './messages.ts'
import { splitStatements } from './split.ts'
import { openTransaction } from './transaction.ts'
import type { Answered, Described } from './view.ts'

/** Who knows the answers. What is thrown goes to the client in its words. */
export interface Answering {
  /** Without running it. */
  describe(statement: string): Promise<Described>
  /** @param parameters - undefined is NULL. */
  run(statement: string, parameters: Parameters, inTransaction: boolean): Promise<Answered>
}

export type Parameters = readonly (string | undefined)[]

export interface Conversation {
  /**
   * What is said to a message, in order. Nothing is run before what came out earlier was taken, and the next
   * message is heard when this one's answer is over.
   */
  hear(said: StatementMessage): AsyncGenerator<Buffer>
}

/** In one message of the simple protocol. */
export const STATEMENTS_MAX = 32

export function openConversation(answering: Answering): Conversation {
  const transaction = openTransaction()
  const run = async (sql: string, parameters: Parameters): Promise<Answered> => {
    const tag = transaction.hear(sql)
    if (tag !== undefined) return { tag }
    return await answering.run(sql, parameters, transaction.status !== 'I')
  }
  const extended = new ExtendedProtocol(run, answering.describe)
  const ready = () => readyForQuery(transaction.status)
  let skipping = false

  const refused = (thrown: unknown): Buffer => {
    transaction.failed()
    const { row, message, detail, hint } = asFailure(thrown)
    return errorResponse({ severity: 'ERROR', sqlstate: row.sqlstate, message, detail, hint })
  }
  async function* simple(sql: string): AsyncGenerator<Buffer> {
    try {
      const each = splitStatements(sql)
      if (each.length > STATEMENTS_MAX)
        throw new Failure('answer_statements', { values: { most: STATEMENTS_MAX } })
      if (each.length === 0) yield EMPTY_QUERY
      for (const statement of each) yield* wholeAnswer(await run(statement, []))
    } catch (thrown) {
      yield refused(thrown)
    }
    yield ready()
  }
  return {
    async *hear(said) {
      if (said.kind === 'sync') {
        skipping = false
        if (transaction.status === 'I') extended.endPortals()
        yield ready()
      } else if (skipping) return
      else if (said.kind === 'query') {
        extended.forgetUnnamed()
        yield* simple(said.sql)
      } else
        try {
          yield* await extended.hear(said)
        } catch (thrown) {
          skipping = true
          yield refused(thrown)
        }
    },
  }
}
