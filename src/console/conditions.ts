/**
 * WHERE of a view: which rows fit. Times are those that PostgreSQL takes, in UTC where they don't say another
 * offset: `2026-01-31 10:02`, `10:02` of today, `yesterday`.
 * https://www.postgresql.org/docs/18/datatype-datetime.html
 * Rule: what can't be compared is an error, and no row that is missing.
 */
import { Failure } from '../failure.ts'
import type { Column, Value } from './views.ts'

/** The longer ones first: one is the beginning of another. */
export const OPERATORS = ['<=', '>=', '<', '>', '='] as const
export type Operator = (typeof OPERATORS)[number]

export type Condition = readonly [column: string, operator: Operator, value: string]

type Fits = (row: readonly Value[]) => boolean

const HOLDS: Record<Operator, (order: number) => boolean> = {
  '=': (order) => order === 0,
  '<': (order) => order < 0,
  '>': (order) => order > 0,
  '<=': (order) => order <= 0,
  '>=': (order) => order >= 0,
}

/**
 * @param nowMs - which day is today
 * @throws Failure `console_not_found` for a column that is not there, `console_value`
 */
export function conditionOf(
  [name, operator, wanted]: Condition,
  columns: readonly Column[],
  nowMs: number,
): Fits {
  const at = columns.findIndex((each) => each.name === name)
  const type = columns[at]?.type
  if (type === undefined)
    throw new Failure('console_not_found', { values: { what: 'column', name } })
  const holds = HOLDS[operator]
  if (type === 'text' || type === 'bool')
    return (row) => holds(inOrder(String(row[at] ?? ''), wanted))
  const value = type === 'timestamptz' ? momentOf(wanted, nowMs) : numberOf(wanted)
  return (row) => {
    const own = row[at]
    return own !== undefined && holds(inOrder(Number(own), value))
  }
}

function inOrder<T extends string | number>(one: T, other: T): number {
  if (one === other) return 0
  return one < other ? -1 : 1
}

function numberOf(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (!Number.isNaN(value)) return value
  throw wrong(`write a number, not ${JSON.stringify(text.slice(0, 40))}`)
}

const DAY_MS = 86_400_000
const MOMENT =
  /^(?:(?<day>\d{4}-\d\d-\d\d|today|yesterday)[T ]?)?(?<time>\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?<offset>Z|[+-]\d\d(?::?\d\d)?)?$/i

/** @returns milliseconds since the epoch. */
function momentOf(text: string, nowMs: number): number {
  const { day = 'today', time = '00:00', offset = 'Z' } = MOMENT.exec(text)?.groups ?? {}
  const back = { today: 0, yesterday: DAY_MS }[day.toLowerCase()]
  const date = back === undefined ? day : new Date(nowMs - back).toISOString().slice(0, 10)
  const ms = Date.parse(`${date}T${time}${offset.replace(/^([+-]\d\d)$/, '$1:00')}`)
  if (text !== '' && MOMENT.test(text) && !Number.isNaN(ms)) return ms
  const shown = JSON.stringify(text.slice(0, 40))
  throw wrong(`write a time like 2026-01-31 10:02, 10:02 or yesterday, not ${shown}`)
}

function wrong(problem: string): Failure {
  return new Failure('console_value', { values: { problem } })
}
