/**
 * A view of the console, column by column. docs/console.md has a table for each of them.
 * Rule: columns keep their names and types; new ones come behind the others.
 */
import type { Column, ColumnType, Value, View } from '../answers/view.ts'

export type { Column, ColumnType, Value, View }

/** One column: its name, its type, and how a row's value is had. */
export type Shown<T> = readonly [name: string, type: ColumnType, of: (each: T) => Value]

export function viewOf<T>(shown: readonly Shown<T>[], things: readonly T[]): View {
  return {
    columns: columnsOf(shown),
    rows: things.map((each) => shown.map(([, , of]) => of(each))),
  }
}

export function columnsOf(shown: readonly Shown<never>[]): Column[] {
  return shown.map(([name, type]) => ({ name, type }))
}
