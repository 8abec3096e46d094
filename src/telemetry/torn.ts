/**
 * What is left of a line in whose midst the gate, its disk or its machine stopped.
 * Rule: it begins as ours do, could go on as JSON (RFC 8259) and never comes to its end, so that nobody can
 * take it for an event: a whole one that has something behind it is none of these, nor are other words.
 */
import type { Line } from './lines.ts'
import { readObject } from './seal.ts'

const BEGINS = '{"channel":"SESSIONS","Timestamp":'
const TIMED = /^\d*(?:,|$)/
/** Only the first name is this: in a text its quotes are escaped. */
const CHANNEL = '"channel":'

export function isTorn({ bytes, tooLong }: Line): boolean {
  if (tooLong) return false
  let end = bytes.length
  // What a loss of power may leave in the place of bytes that were not on the disk yet.
  while (end > 0 && bytes[end - 1] === 0) end--
  const text = bytes.toString('latin1', 0, end)
  if (text.length <= BEGINS.length) return BEGINS.startsWith(text)
  const isOurs = text.startsWith(BEGINS) && TIMED.test(text.slice(BEGINS.length))
  return isOurs && text.lastIndexOf(CHANNEL) <= 1 && couldGoOn(text)
}

/** Up to the last brace, bracket or comma outside of a text it can be ended; what comes then is the begin of one member. */
function couldGoOn(text: string): boolean {
  let closing = ''
  let [last, at] = ['', -1]
  for (const { 0: found, index } of text.matchAll(TEXT_OR_MARK)) {
    if (found.startsWith('"')) continue
    if (found === '{') closing = `}${closing}`
    else if (found === '[') closing = `]${closing}`
    else if (found !== ',') closing = closing.slice(1)
    if (closing === '' || closing.length > DEPTH_MAX) return false
    ;[last, at] = [found, index]
  }
  const inObject = closing.startsWith('}')
  const filler = last !== ',' ? '' : inObject ? '"":0' : '0'
  if (readObject(`${text.slice(0, at + 1)}${filler}${closing}`) === undefined) return false
  const member = last === '}' || last === ']' ? NOTHING : inObject ? MEMBER : VALUE
  return member.test(text.slice(at + 1))
}

const DEPTH_MAX = 8
/** A text of JSON, which ends or not; or what holds values together outside of one. */
const TEXT_OR_MARK = /"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|[{}[\],]/gs
const NOTHING = /^$/
const BEGUN = String.raw`"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?)|-?(?:\d[\d.e+-]*)?|t|tr|tru|true|f|fa|fal|fals|false|n|nu|nul|null`
const VALUE = new RegExp(`^(?:${BEGUN})$`, 's')
const MEMBER = new RegExp(`^(?:|"\\w*|"\\w+":?|"\\w+":(?:${BEGUN}))$`, 's')
