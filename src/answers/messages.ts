/** Views as messages: their columns, their rows, and all of an answer by the simple protocol. */
import { SUCCESSFUL } from '../failure_answers.ts'
import {
  commandComplete,
  dataRow,
  type Format,
  NO_DATA,
  rowDescription,
} from '../wire/answer_messages.ts'
import { noticeResponse } from '../wire/server_messages.ts'
import { encoded, fieldsOf, formatAt } from './values.ts'
import type { Answered, Described, View } from './view.ts'

export function* wholeAnswer({ view, tag, notice }: Answered): Generator<Buffer> {
  yield* noticed(notice)
  if (view !== undefined) {
    yield columnsOf(view)
    yield* rowsOf(view)
  }
  yield commandComplete(tag)
}

export function noticed(message: string | undefined): Buffer[] {
  if (message === undefined) return []
  return [noticeResponse({ severity: 'NOTICE', sqlstate: SUCCESSFUL, message })]
}

export function columnsOf(
  { columns }: Pick<Described, 'columns'>,
  formats: readonly Format[] = [],
): Buffer {
  return columns === undefined ? NO_DATA : rowDescription(fieldsOf(columns, formats))
}

/** One after the other: nobody has all of them in memory as bytes. */
export function* rowsOf(
  { columns, rows }: View,
  formats: readonly Format[] = [],
): Generator<Buffer> {
  for (const row of rows)
    yield dataRow(columns.map(({ type }, at) => encoded(row[at], type, formatAt(formats, at))))
}
