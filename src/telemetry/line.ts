/**
 * A line of the log or of the audit stream, as it may be shown: without a character that a terminal obeys,
 * or that some take for the end of a line, and without a token that somebody put in the wrong place.
 * Rule: what is inside a JSON text is escaped as JSON escapes it, so nothing is lost but the token; and it
 * takes time by the length of the line alone, whatever is in it.
 */
import type { DestinationStream } from './log.ts'

const PLAIN = /^[ -~]*\n$/
/** Controls beyond those that JSON escapes itself, and what only changes how others look. */
const UNSHOWN = /(?!\n$)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
/** An escape of JSON's, whose letters belong to no word; or a word, which may be a token. */
const WORD = /\\(?:u[\da-f]{4}|.)|[\w.-]+/g
/** In base64url: a brace, and behind it a quote or white space. What stands before it may be glued to it. */
const HINT = /e[wy][\w-]{9}/
const BRACE = /e(?=(?:y[A-DI-L]|w[k-r0-3])[\w-]{9})/g
const MEMBER = /^\{\s*(?:"[ -~]|$)/

/** @param to - gets each line in the form in which it may be shown. */
export function shownTo(to: DestinationStream): DestinationStream {
  return { write: (line) => to.write(shown(line)) }
}

function shown(line: string): string {
  const clear = HINT.test(line) ? line.replace(WORD, withoutToken) : line
  return PLAIN.test(clear) ? clear : clear.replace(UNSHOWN, escaped)
}

/** RFC 7515 section 7.1: a header, and at least two parts more. */
function withoutToken(word: string): string {
  let before = 0
  for (const part of word.split('.').slice(0, -2)) {
    for (const { index } of part.matchAll(BRACE)) {
      const begins = Buffer.from(part.slice(index, index + 12), 'base64url').toString('latin1')
      if (MEMBER.test(begins)) return `${word.slice(0, before + index)}[token]`
    }
    before += part.length + 1
  }
  return word
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
}
