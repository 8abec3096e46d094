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

export function wholeAnswer({ view, tag, notice }: Answered): Buffer[] {
  return [
    ...noticed(notice),
    ...(view === undefined ? [] : [columnsOf(view), ...rowsOf(view)]),
    commandComplete(tag),
  ]
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

export function rowsOf({ columns, rows }: View, formats: readonly Format[] = []): Buffer[] {
  return rows.map((row) =>
    dataRow(columns.map(({ type }, at) => encoded(row[at], type, formatAt(formats, at)))),
  )
}
