/**
 * A line of the log or of the audit stream, as it may be shown: without a character that a terminal obeys,
 * or that some take for the end of a line, and without a token that somebody put in the wrong place.
 * Rule: what is inside a JSON text is escaped as JSON escapes it, so nothing is lost but the token.
 */
import type { DestinationStream } from './log.ts'

const PLAIN = /^[ -~]*\n$/
/** Controls beyond those that JSON escapes itself, and what only changes how others look. */
const UNSHOWN = /(?!\n$)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
/** RFC 7515 section 7.1: a header that begins with `{"` or `{ `, claims, and a signature. */
const TOKEN = /\bey[\w-]{8,}\.[\w-]+\.[\w-]*/g

/** @param to - gets each line in the form in which it may be shown. */
export function shownTo(to: DestinationStream): DestinationStream {
  return { write: (line) => to.write(shown(line)) }
}

function shown(line: string): string {
  const clear = line.includes('ey') ? line.replace(TOKEN, hide) : line
  return PLAIN.test(clear) ? clear : clear.replace(UNSHOWN, escaped)
}

function hide(text: string): string {
  const [header = ''] = text.split('.')
  return Buffer.from(header, 'base64url').toString('latin1').startsWith('{') ? '[token]' : text
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
}
