/**
 * What is left of a line in whose midst the gate, its disk or its machine stopped.
 * Rule: it begins as ours do and never comes to its end, so that nobody can take it for an event: a whole one
 * that has something behind it is none of these.
 */
import type { Line } from './lines.ts'

const BEGINS = '{"channel":"SESSIONS","Timestamp":'
/** Only the first name is this: in a text its quotes are escaped. */
const CHANNEL = '"channel":'

export function isTorn({ bytes, tooLong }: Line): boolean {
  if (tooLong) return false
  let end = bytes.length
  // What a loss of power may leave in the place of bytes that were not on the disk yet.
  while (end > 0 && bytes[end - 1] === 0) end--
  const text = bytes.toString('latin1', 0, end)
  const isOurs = BEGINS.startsWith(text.slice(0, BEGINS.length))
  return isOurs && text.lastIndexOf(CHANNEL) <= 1 && !hasWhole(text)
}

/** Whether a brace is closed that was opened first. */
function hasWhole(text: string): boolean {
  let depth = 0
  for (const [found] of text.matchAll(TEXT_OR_BRACE)) {
    if (found === '{') depth++
    else if (found === '}' && --depth === 0) return true
  }
  return false
}

/** A text of JSON, which ends or not; or a brace outside of one. */
const TEXT_OR_BRACE = /"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|[{}]/gs
