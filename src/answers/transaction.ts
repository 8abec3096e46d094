/**
 * Where a conversation stands between BEGIN and COMMIT. Nothing that the gate answers can be taken back, so
 * a transaction is no more than what drivers expect to hear.
 * https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY
 * Rule: after an error nothing is done before its end.
 */
import { Failure } from '../failure.ts'
import type { TransactionStatus } from '../wire/answer_messages.ts'

export interface Transaction {
  readonly status: TransactionStatus
  /**
   * @returns the tag, where the statement is about the transaction itself
   * @throws Failure `answer_transaction_failed`
   */
  hear(statement: string): string | undefined
  failed(): void
}

const BEGINS = /^(?:begin|start\s+transaction)\b/i
const COMMITS = /^(?:commit|end)(?:\s+(?:work|transaction))?$/i
const ROLLS_BACK = /^(?:rollback|abort)(?:\s+(?:work|transaction))?$/i

export function isAboutTransaction(statement: string): boolean {
  return [BEGINS, COMMITS, ROLLS_BACK].some((each) => each.test(statement))
}

export function openTransaction(): Transaction {
  let status: TransactionStatus = 'I'
  return {
    get status() {
      return status
    },
    hear(statement) {
      const before = status
      if (COMMITS.test(statement) || ROLLS_BACK.test(statement)) {
        status = 'I'
        return before === 'E' || ROLLS_BACK.test(statement) ? 'ROLLBACK' : 'COMMIT'
      }
      if (status === 'E') throw new Failure('answer_transaction_failed')
      if (!BEGINS.test(statement)) return undefined
      status = 'T'
      return 'BEGIN'
    },
    failed() {
      if (status === 'T') status = 'E'
    },
  }
}
