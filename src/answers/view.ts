/**
 * What the gate itself answers a statement with: named columns with their types, and rows of values.
 * https://www.postgresql.org/docs/18/datatype.html
 */

/** As PostgreSQL names its types. */
export type ColumnType = 'text' | 'int8' | 'float8' | 'bool' | 'timestamptz'

export interface Column {
  name: string
  type: ColumnType
}

/** A moment is in milliseconds since the epoch. `undefined` is NULL. */
export type Value = string | number | boolean | undefined

export interface View {
  columns: readonly Column[]
  /** In the columns' order. */
  rows: readonly (readonly Value[])[]
}

/** What one statement came to. */
export interface Answered {
  /** Undefined where it shows nothing. */
  view?: View | undefined
  /** CommandComplete's. */
  tag: string
  /** Said before it, as a NOTICE. */
  notice?: string | undefined
}

/** What a statement would come to, without being run. */
export interface Described {
  columns?: readonly Column[] | undefined
  /** How many parameters it has, all of them text. */
  parameters: number
}
