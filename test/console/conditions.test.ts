/** WHERE of a view, over rows with a value of each type. */
import { expect, it } from 'vitest'
import { type Condition, conditionOf } from '../../src/console/conditions.ts'
import type { Column } from '../../src/console/views.ts'
import { asFailure } from '../../src/failure.ts'

const COLUMNS: Column[] = [
  { name: 'who', type: 'text' },
  { name: 'at', type: 'timestamptz' },
  { name: 'ms', type: 'float8' },
  { name: 'count', type: 'int8' },
  { name: 'on', type: 'bool' },
]
const NOW = Date.UTC(2026, 10, 23, 11, 0)
const ROWS = [
  ['ada', Date.UTC(2026, 10, 23, 10, 2, 30), 1.5, 10, true],
  ['carl', Date.UTC(2026, 10, 22, 10, 2), 20, 9, false],
  ['nobody', undefined, undefined, undefined, false],
] as const

it.each<[...Condition, string[]]>([
  ['who', '=', 'carl', ['carl']],
  ['who', '>', 'b', ['carl', 'nobody']],
  ['on', '=', 'true', ['ada']],
  ['ms', '<', '2', ['ada']],
  ['count', '>=', '9', ['ada', 'carl']],
  ['count', '=', '9', ['carl']],
  ['at', '>=', '2026-11-23 10:02', ['ada']],
  ['at', '<', '2026-11-23T10:02Z', ['carl']],
  ['at', '>=', '2026-11-23 11:02:30+01', ['ada']],
  ['at', '>', '2026-11-23 11:02:30+0100', []],
  ['at', '=', '2026-11-22 10:02:00', ['carl']],
  ['at', '>=', '10:02', ['ada']],
  ['at', '>=', 'today', ['ada']],
  ['at', '>=', 'Yesterday', ['ada', 'carl']],
  ['at', '<=', 'yesterday 10:02', ['carl']],
  ['at', '<', '2026-11-23', ['carl']],
])('%s %s %s', (column, operator, value, found) => {
  const fits = conditionOf([column, operator, value], COLUMNS, NOW)
  expect(ROWS.filter((row) => fits(row)).map(([who]) => who)).toEqual(found)
})

it.each<[...Condition, string]>([
  ['at', '=', 'tomorrow', 'write a time like 2026-01-31 10:02, 10:02 or yesterday, not "tomorrow"'],
  ['at', '=', '', 'write a time like 2026-01-31 10:02, 10:02 or yesterday, not ""'],
  [
    'at',
    '=',
    '2026-13-01',
    'write a time like 2026-01-31 10:02, 10:02 or yesterday, not "2026-13-01"',
  ],
  ['ms', '>', 'much', 'write a number, not "much"'],
  ['ms', '>', ' ', 'write a number, not " "'],
  ['colour', '=', 'red', 'column "colour" does not exist'],
])('%s %s %j: %s', (column, operator, value, message) => {
  const thrown = (() => {
    try {
      return conditionOf([column, operator, value], COLUMNS, NOW)
    } catch (failure) {
      return failure
    }
  })()
  expect(asFailure(thrown).message).toBe(message)
})
