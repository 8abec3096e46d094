/** Tables of the report, in Markdown, and the numbers in their cells. */
import type { Summary } from './rounds.ts'

export interface Table {
  title: string
  /** What was run, as one could type it; and what there is to know about it. */
  commands: string[]
  notes?: string[]
  head: string[]
  rows: string[][]
}

export function render({ title, commands, notes = [], head, rows }: Table): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  const ruler = line(head.map((_, column) => (column < NAMES ? '---' : '---:')))
  const run = commands.length === 0 ? [] : ['```sh not-run', ...commands, '```', '']
  const said = notes.length === 0 ? [] : [notes.join(' '), '']
  return [`### ${title}`, '', ...run, ...said, line(head), ruler, ...rows.map(line)].join('\n')
}

/** Columns in front that hold words: the peer and its two legs. */
const NAMES = 3

/** `17.3 ±4%`: three digits and the spread. */
export function cell(summary: Summary): string {
  return `${digits(summary.median)} ±${Math.round(summary.spread * 100)}%`
}

/** `1.43 ±4%`. */
export function ratioCell(summary: Summary): string {
  return `${summary.median.toFixed(2)} ±${Math.round(summary.spread * 100)}%`
}

/** Three digits, and all of those before the point. */
export function digits(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  return value.toPrecision(3)
}
