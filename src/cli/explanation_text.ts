/**
 * An explanation as people read it, in lines of a terminal's width, and as machines do, in JSON.
 * Rule: names in it are other people's, so no character that a terminal would obey leaves here.
 */
import { FAILURES } from '../failure.ts'
import type { Check } from './explanation.ts'
import { failureOf, isCode, type Login, parted } from './explanation_login.ts'
import { instant } from './explanation_says.ts'
import { bold, printable, type World } from './terminal.ts'

export interface Explanation {
  login: Login
  checks: readonly Check[]
  /** What to do about a refusal. */
  todo: string | undefined
  /** What an explanation can't know, or had to assume. */
  notes: readonly string[]
}

const WIDTH = 80
const MARKS = { passed: '✓', failed: '✗', not_reached: '·' }
const NAME_WIDTH = 13
const TITLE_WIDTH = 18

export function toText({ login, checks, todo, notes }: Explanation, world: World): string {
  const title = (text: string) => bold(world, text.padEnd(TITLE_WIDTH))
  const told = (name: string, text: string) => `${title(name)}${wrap(text, TITLE_WIDTH)}\n`
  const judged = `${login.Result} at ${instant(login.JudgedMs / 1000)}`
  const parts = [
    ...checks.map(checkText),
    '\n',
    told('decision', login.Role === '' ? judged : `${judged}: ${login.Role}`),
    ...clientReads(login).map(([name, text]) => told(name, text)),
    ...(todo === undefined ? [] : [told('what to do', todo)]),
    ...notes.map((note) => told('note', note)),
  ]
  return parts.join('')
}

function checkText({ name, verdict, says, lines }: Check): string {
  const indent = NAME_WIDTH + 2
  const below = lines.map((line) => `${' '.repeat(indent)}${printable(line)}\n`).join('')
  return `${MARKS[verdict]} ${name.padEnd(NAME_WIDTH)}${wrap(says, indent)}\n${below}`
}

/** What stands on the client's screen; what the log alone knows comes after it. */
function clientReads(login: Login): [title: string, text: string][] {
  const failure = failureOf(login)
  if (failure === undefined || !isCode(failure.code)) return []
  const { code, why } = failure
  const { sqlstate } = FAILURES[code]
  const { message, reason } = parted(why)
  const { Detail } = login
  const detail: [string, string][] = Detail === '' ? [] : [['', `DETAIL: ${Detail}`]]
  const behind =
    Detail !== '' && reason.startsWith(Detail) ? reason.slice(Detail.length + 2) : reason
  const log: [string, string][] = behind === '' ? [] : [['the log says', behind]]
  return [['the client reads', `FATAL: ${message} (SQLSTATE ${sqlstate})`], ...detail, ...log]
}

export function toJson({ login, checks, todo, notes }: Explanation): string {
  const failure = failureOf(login)
  const Sqlstate = failure && isCode(failure.code) ? FAILURES[failure.code].sqlstate : ''
  const all = { ...login, Sqlstate, checks, todo, notes }
  const clean = (_key: string, value: unknown) =>
    typeof value === 'string' ? printable(value) : value
  return `${JSON.stringify(all, clean, 2)}\n`
}

/** Lines break between words; what is longer than a line stays whole, to be copied. */
function wrap(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of printable(text).split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`)
}
