/**
 * A text of SQL becomes its statements, without the comments around them.
 * https://www.postgresql.org/docs/18/sql-syntax-lexical.html
 * Rule: a semicolon inside of a quote or of a comment ends nothing.
 */
import { Failure } from '../failure.ts'

/** One thing after the other; what none of these fits is a character by itself. */
const PART =
  /(?<space>\s+)|(?<line>--[^\n]*)|(?<open>\/\*)|(?<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?<end>;)|(?<quote>['"])|(?<other>[^\s'"/;-]+|[\s\S])/gy

/** Empty ones are left out. @throws Failure `answer_syntax` for a quote or a comment without its end */
export function splitStatements(sql: string): string[] {
  const statements: string[] = []
  let current = ''
  const part = new RegExp(PART)
  while (part.lastIndex < sql.length) {
    const at = part.lastIndex
    const { groups = {} } = part.exec(sql) ?? {}
    if (groups['quote'] !== undefined) throw unended('quoted text', sql.slice(at))
    if (groups['open'] !== undefined) {
      part.lastIndex = endOfComment(sql, at)
      current += ' '
    } else if (groups['space'] !== undefined || groups['line'] !== undefined) current += ' '
    else if (groups['end'] !== undefined) {
      statements.push(current)
      current = ''
    } else current += sql.slice(at, part.lastIndex)
  }
  return [...statements, current].map((each) => each.trim()).filter((each) => each !== '')
}

/** They may be nested. */
function endOfComment(sql: string, start: number): number {
  const mark = /\/\*|\*\//g
  mark.lastIndex = start
  for (let depth = 0; ; ) {
    const found = mark.exec(sql)
    if (found === null) throw unended('comment', sql.slice(start))
    depth += found[0] === '/*' ? 1 : -1
    if (depth === 0) return mark.lastIndex
  }
}

function unended(what: string, rest: string): Failure {
  const near = rest.slice(0, NEAR_CHARACTERS_MAX)
  return new Failure('answer_syntax', { values: { problem: `unterminated ${what}`, near } })
}

const NEAR_CHARACTERS_MAX = 40
