/**
 * Lines of the log and of the audit stream: whatever is in them, each is one line of JSON that a terminal can
 * show, and says what it was given, but for tokens and what is under a secret's name.
 */
import fc from 'fast-check'
import { openAudit } from '../../src/telemetry/audit.ts'
import { shownTo } from '../../src/telemetry/line.ts'
import { openLog } from '../../src/telemetry/log.ts'
import { anyCharacters, anyJson, oddText } from './made_up.ts'
import { must, mustEqual, type Target, target } from './target.ts'

const TOKEN = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLXRoYXQtbm9ib2R5LXNob3VsZA'
const SECRET = 'hunter2-the-secret'
const NOW_MS = 1_800_000_000_123

const piece = fc.oneof(
  { weight: 4, arbitrary: oddText },
  { weight: 1, arbitrary: anyCharacters(4) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      ...[TOKEN, TOKEN, `${TOKEN}=`, TOKEN.slice(0, 40), 'eyJhbGciOiJub25lIn0.e30.', 'key', 'ey'],
      ...['Bearer ', 'they.are.here', 'keyserver1.example.com', 'eyeglasses.example.com', '.', '-'],
      ...['\n', '\t', '\u0001', '\\', '\\n', '\\u000', '"', '\u2028', '\u009b', '\u{e0041}', 'é'],
    ),
  },
)
const told = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(''))
const members = fc
  .dictionary(fc.oneof(oddText, told), fc.oneof(told, anyJson()), { maxKeys: 4 })
  .map((all) => named(all) as Record<string, unknown>)

/** Node 24's JSON.parse now and then reads a member's name that is escaped as another one: here, none is. */
function named(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(named)
  if (typeof value !== 'object' || value === null) return value
  const plain = (name: string) => name.replace(/[^ !#-[\]-~]/g, '_')
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [plain(name), named(each)]))
}

/** A word from where a header in base64url begins, with two parts behind it. */
function hidden(word: string): string {
  for (let at = 0; at < word.length; at++) {
    const rest = word.slice(at)
    if (!/^[\w-]{12,}(?:\.[\w-]*){2,}$/.test(rest)) continue
    const begins = Buffer.from(rest.slice(0, 12), 'base64url').toString('latin1')
    if (/^\{(?:"[ -~]|[ \t\r\n]\s*(?:"[ -~]|$))/.test(begins)) return `${word.slice(0, at)}[token]`
  }
  return word
}

function withoutTokens(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/[\w.-]+/g, hidden)
  if (Array.isArray(value)) return value.map(withoutTokens)
  if (typeof value !== 'object' || value === null) return value
  const all = Object.entries(value).map((pair) => pair.map(withoutTokens))
  return Object.fromEntries(all) as unknown
}

/** One line, that nothing obeys, and that is JSON. */
function read(lines: readonly string[]): Record<string, unknown> {
  mustEqual(lines.length, 1, 'lines')
  const [line = ''] = lines
  const inside = line.slice(0, -1)
  must(line.endsWith('\n') && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(inside), 'what is shown', line)
  must(!/eyJhbGciOiJFUzI1NiJ9\.eyJ\w*\./.test(inside), 'a token is shown', line)
  return JSON.parse(line) as Record<string, unknown>
}

const lines = target('telemetry/line', members, (all) => {
  const out: string[] = []
  const text = JSON.stringify(all)
  shownTo({ write: (line) => void out.push(line) }).write(`${text}\n`)
  const found = read(out)
  mustEqual(found, withoutTokens(JSON.parse(text)), 'what the line says')
  // Who reads it and writes it on changes nothing.
  const again: string[] = []
  shownTo({ write: (line) => void again.push(line) }).write(out[0] ?? '')
  mustEqual(again, out, 'shown again')
})

const audits = target('telemetry/audit', fc.tuple(members, fc.nat(63)), ([all, worker]) => {
  const out: string[] = []
  const audit = openAudit({ write: (line) => void out.push(line) }, () => NOW_MS)
  audit.write(worker, { EventType: 'login_decision', ...all } as never)
  const head = { channel: 'SESSIONS', Timestamp: NOW_MS * 1_000_000, InstanceID: worker }
  const event = withoutTokens(JSON.parse(JSON.stringify({ EventType: 'login_decision', ...all })))
  mustEqual(read(out), { ...head, ...(event as object) }, 'the event')
})

const NAMES = ['password', 'token', 'key', 'secret', 'authorization']
const secretAt = fc.record({
  name: fc.constantFrom(...NAMES),
  below: fc.option(fc.oneof(fc.constant('about'), oddText), { nil: undefined }),
})

const logs = target('telemetry/log', fc.tuple(members, told, secretAt), ([all, text, at]) => {
  const out: string[] = []
  const log = openLog({ write: (line) => void out.push(line) }, 'debug', () => NOW_MS)
  const secret =
    at.below === undefined ? { [at.name]: SECRET } : { [at.below]: { [at.name]: SECRET } }
  log.warn({ ...all, ...secret }, text)
  const found = read(out)
  must(!JSON.stringify(found).includes(SECRET), 'a secret is shown', out)
  mustEqual([found['level'], found['time']], ['warn', new Date(NOW_MS).toISOString()], 'its head')
  mustEqual(found['msg'], withoutTokens(text), 'the sentence')
})

export const telemetryTargets: Target[] = [lines, audits, logs]
