/**
 * A statement of the console, word by word: names, quoted texts, numbers, parameters and marks.
 * https://www.postgresql.org/docs/18/sql-syntax-lexical.html
 * Rule: whoever reads says what it wants next; what else stands there is told with its place.
 */
import { Failure } from '../failure.ts'

type Word =
  | { kind: 'name'; text: string }
  | { kind: 'text'; text: string }
  | { kind: 'number'; text: string }
  | { kind: 'parameter'; number: number }
  | { kind: 'mark'; text: string }

/** What statements' parameters are: their values, or, where a statement is only described, nothing yet. */
export type Parameters = readonly (string | undefined)[] | 'described'

export interface Words {
  /** Takes a keyword, in any case, if it is next. */
  may(...keywords: string[]): boolean
  /** @throws Failure `answer_syntax` */
  must(keyword: string): void
  /** One of these keywords. @throws Failure `answer_syntax` */
  oneOf<K extends string>(keywords: readonly K[]): K
  mayMark(mark: string): boolean
  /** One of these, the longer ones first. @throws Failure `answer_syntax` */
  oneMark<M extends string>(marks: readonly M[]): M
  /** A text in quotes, or a parameter. @throws Failure `answer_syntax`, `console_value` */
  text(): string
  /** One that has to be more than any text; a parameter that is not given yet is undefined, and not read. */
  textAs<T>(read: (text: string) => T): T | undefined
  /** A name, or a text in either kind of quotes. @throws Failure `answer_syntax` */
  name(): string
  /** A value: text, number, word or parameter. @throws Failure `answer_syntax` */
  value(): string
  valueAs<T>(read: (text: string) => T): T | undefined
  /** @throws Failure `answer_syntax` where something is left */
  end(): void
  /** How many parameters there were: the highest of their numbers. */
  parameters(): number
}

const WORD =
  /\s*(?:(?<name>[A-Za-z_][\w.$]*(?:-[\w.$]+)*)|(?<text>'(?:[^']|'')*')|(?<quoted>"(?:[^"]|"")*")|(?<number>[+-]?\d[\w.]*)|\$(?<parameter>\d{1,4})|(?<mark>[^\s]))/gy

const TEXTS = ['text', 'parameter'] as const
const VALUES = [...TEXTS, 'number', 'name'] as const

export function readWords(statement: string, parameters: Parameters): Words {
  const words = [...statement.matchAll(WORD)].map(({ groups = {} }) => wordOf(groups))
  let at = 0
  let highest = 0
  const unexpected = () => syntax(words[at])
  const may = (...keywords: string[]) => {
    const are = keywords.every((keyword, each) => isKeyword(words[at + each], keyword))
    if (are) at += keywords.length
    return are
  }
  const mayMark = (mark: string) => {
    const word = words[at]
    const is = word?.kind === 'mark' && word.text === mark
    if (is) at++
    return is
  }
  /** A mark of more than one character is so many words. */
  const marked = (mark: string) => {
    const next = [...mark].every((each, further) => {
      const word = words[at + further]
      return word?.kind === 'mark' && word.text === each
    })
    if (next) at += mark.length
    return next
  }
  /** @returns undefined for a parameter that is not given yet */
  const take = (...kinds: Word['kind'][]): string | undefined => {
    const word = words[at]
    if (word === undefined || !kinds.includes(word.kind)) throw unexpected()
    at++
    if (word.kind !== 'parameter') return word.text
    highest = Math.max(highest, word.number)
    return parameter(word.number, parameters)
  }
  /** Drivers that put values into the text write them in parentheses, and with their type. */
  const typed = (...kinds: Word['kind'][]): string | undefined => {
    const inParentheses = mayMark('(')
    const text = take(...kinds)
    if (mayMark(':') && mayMark(':')) take('name')
    if (inParentheses && !mayMark(')')) throw unexpected()
    return text
  }
  return {
    may,
    must(keyword) {
      if (!may(keyword)) throw unexpected()
    },
    oneOf(keywords) {
      const found = keywords.find((keyword) => may(keyword))
      if (found === undefined) throw unexpected()
      return found
    },
    mayMark,
    oneMark(marks) {
      const found = marks.find((mark) => marked(mark))
      if (found === undefined) throw unexpected()
      return found
    },
    text: () => typed(...TEXTS) ?? '',
    textAs: (read) => given(typed(...TEXTS), read),
    name: () => take('name', 'text', 'parameter') ?? '',
    value: () => typed(...VALUES) ?? '',
    valueAs: (read) => given(typed(...VALUES), read),
    end() {
      if (at < words.length) throw unexpected()
    },
    parameters: () => highest,
  }
}

function wordOf(groups: Record<string, string | undefined>): Word {
  const { name, text, quoted, number, parameter, mark = '' } = groups
  if (name !== undefined) return { kind: 'name', text: name }
  if (text !== undefined) return { kind: 'text', text: text.slice(1, -1).replaceAll("''", "'") }
  // What PostgreSQL would take for a name is one here as well, and no keyword.
  if (quoted !== undefined) return { kind: 'text', text: quoted.slice(1, -1).replaceAll('""', '"') }
  if (number !== undefined) return { kind: 'number', text: number }
  if (parameter !== undefined) return { kind: 'parameter', number: Number(parameter) }
  return { kind: 'mark', text: mark }
}

function isKeyword(word: Word | undefined, keyword: string): boolean {
  return word?.kind === 'name' && word.text.toUpperCase() === keyword
}

function given<T>(text: string | undefined, read: (text: string) => T): T | undefined {
  return text === undefined ? undefined : read(text)
}

function parameter(number: number, parameters: Parameters): string | undefined {
  if (parameters === 'described') return undefined
  const value = parameters[number - 1]
  if (value !== undefined) return value
  throw new Failure('console_value', { values: { problem: `parameter $${number} is NULL` } })
}

function syntax(word: Word | undefined): Failure {
  const near = word === undefined ? 'the end' : shown(word).slice(0, NEAR_CHARACTERS_MAX)
  return new Failure('answer_syntax', { values: { problem: 'syntax error', near } })
}

function shown(word: Word): string {
  return word.kind === 'parameter' ? `$${word.number}` : word.text
}

const NEAR_CHARACTERS_MAX = 40
