/**
 * A client's statements and what they are answered, message by message.
 * https://www.postgresql.org/docs/18/protocol-flow.html
 * Rule: after an error in the extended protocol nothing is heard but the next Sync.
 */
import { asFailure } from '../failure.ts'
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
  /** What is said to a message, in order. Called again when it has resolved. */
  hear(said: StatementMessage): Promise<Buffer[]>
}

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
  const simple = async (sql: string): Promise<Buffer[]> => {
    const said: Buffer[] = []
    try {
      const each = splitStatements(sql)
      if (each.length === 0) said.push(EMPTY_QUERY)
      for (const statement of each) said.push(...wholeAnswer(await run(statement, [])))
    } catch (thrown) {
      said.push(refused(thrown))
    }
    return [...said, ready()]
  }
  return {
    async hear(said) {
      if (said.kind === 'sync') {
        skipping = false
        if (transaction.status === 'I') extended.endPortals()
        return [ready()]
      }
      if (skipping) return []
      if (said.kind === 'query') {
        extended.forgetUnnamed()
        return await simple(said.sql)
      }
      try {
        return await extended.hear(said)
      } catch (thrown) {
        skipping = true
        return [refused(thrown)]
      }
    },
  }
}
