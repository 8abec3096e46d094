/** What was compared, as tables for docs/compatibility.md, between the two marks there. */
import { DIFFERENCES } from './differences.ts'
import type { Compared } from './section.ts'

export const BEGIN = '<!-- written by npm run compat, from here -->'
export const END = '<!-- to here -->'

/** Of what programs print; those that use them leave it out. */
const PROGRAMS = [
  {
    what: 'latencies, rates and elapsed times that pgbench prints',
    why: 'they are times; its counts are compared, and every row of its tables',
  },
  {
    what: '`\\restrict` in dumps, and the name and time at the head of an archive',
    why: 'pg_dump makes them anew for each dump',
  },
  {
    what: 'the port in messages, and in the URL of JDBC',
    why: 'a gate has its own',
  },
  {
    what: 'what pg_basebackup copies, but for the names of its files',
    why: 'a running server’s files have moved on from one run to the next',
  },
]

/** What each server made of each thing, in the order of its first mention. */
export type Results = Map<string, Compared[]>

export function tables(results: Results): string {
  const servers = [...results.keys()]
  const things = new Set([...results.values()].flatMap((rows) => rows.map(({ what }) => what)))
  const cell = (server: string, thing: string) => {
    const found = results.get(server)?.find(({ what }) => what === thing)
    if (found === undefined) return '–'
    const { count, differences } = found
    return differences.length === 0 ? `alike: ${count}` : `**${differences.length} different**`
  }
  const compared = [...things].map((thing) => [
    thing,
    ...servers.map((server) => cell(server, thing)),
  ])
  const permitted = [...Object.values(DIFFERENCES), ...PROGRAMS].map(({ what, why }) => [what, why])
  return [
    table(['compared', ...servers], compared),
    'What differs all the same, and is left out of the comparison:',
    table(['what', 'why'], permitted),
  ].join('\n\n')
}

/** @returns the document with the tables in the place of those that it has. */
export function withTables(document: string, text: string): string {
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`the document has no ${BEGIN} … ${END}`)
  return `${document.slice(0, from)}${BEGIN}\n\n${text}\n\n${document.slice(to)}`
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
