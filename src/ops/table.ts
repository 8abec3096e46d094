/**
 * A table that can be read by everybody: a caption, headings with a scope, and on a narrow screen each row
 * by itself, each of its cells behind the heading's name. https://www.w3.org/WAI/tutorials/tables/
 * Rule: there are roles beside the elements, since browsers forget a table that is laid out otherwise.
 */
import { type Content, type Html, html } from './html.ts'
import { counted } from './words.ts'

export interface Column<T> {
  name: string
  of(row: T): Content
  /** `head`: what the row is about. `number`: to the right. */
  kind?: 'head' | 'number'
}

export interface Table<T> {
  caption: string
  columns: readonly Column<T>[]
  rows: readonly T[]
  /** Said in the place of a table without rows. */
  none: string
}

/** However many nodes a name stands for. */
const ROWS_MAX = 200

export function table<T>({ caption, columns, rows, none }: Table<T>): Html {
  if (rows.length === 0) return html`<p class="none">${none}</p>`
  const more = rows.length - ROWS_MAX
  return html`<table role="table">
<caption>${caption}</caption>
<thead role="rowgroup"><tr role="row">${columns.map(heading)}</tr></thead>
<tbody role="rowgroup">
${rows.slice(0, ROWS_MAX).map((row) => html`<tr role="row">${columns.map((column) => cell(column, row))}</tr>\n`)}</tbody>
</table>${more > 0 && html`<p class="none">And ${counted(more, 'more row')}, which are not shown.</p>`}`
}

function heading<T>({ name, kind }: Column<T>): Html {
  return html`<th role="columnheader" scope="col" class="${kind}">${name}</th>`
}

function cell<T>({ name, of, kind }: Column<T>, row: T): Html {
  const value = html`<span class="value">${of(row)}</span>`
  if (kind === 'head')
    return html`<th role="rowheader" scope="row" data-label="${name}">${value}</th>`
  return html`<td role="cell" class="${kind}" data-label="${name}">${value}</td>`
}
