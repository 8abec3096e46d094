/**
 * What a client sent, as it is quoted back to it and in the log: short, and without a character that
 * a terminal would obey. libpq gives up on a refusal of 30,000 bytes; a token may hold more groups.
 */

/** Control characters, and halves of surrogate pairs: no name has them. */
export const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu')

const TEXT_CHARACTERS_MAX = 256
const LIST_CHARACTERS_MAX = 1024
const CUT = '…'

export function quoted(text: string): string {
  return printable(shortened(text))
}

/** What was cut ends with a mark: nobody is to take it for the whole. */
export function shortened(text: string, charactersMax = TEXT_CHARACTERS_MAX): string {
  return text.length <= charactersMax ? text : text.slice(0, charactersMax) + CUT
}

/** Whether `shortened` may have made it of something longer. */
export function isShortened(text: string): boolean {
  return text.length > TEXT_CHARACTERS_MAX && text.endsWith(CUT)
}

/** Go's way to print a list of strings. */
export function quotedList(values: readonly string[]): string {
  return `[${printable(shortened(values.join(' '), LIST_CHARACTERS_MAX))}]`
}

function printable(text: string): string {
  return text.replace(EVERY_UNPRINTABLE, '\ufffd')
}
