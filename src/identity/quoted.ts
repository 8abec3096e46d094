/**
 * What a client sent, as it is quoted back to it and in the log: short, and without a character that
 * a terminal would obey. libpq gives up on a refusal of 30,000 bytes; a token may hold more groups.
 */

/** Control characters, and halves of surrogate pairs: no name has them. */
export const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu')

const TEXT_CHARACTERS_MAX = 256
const LIST_CHARACTERS_MAX = 1024

export function quoted(text: string): string {
  return cut(text, TEXT_CHARACTERS_MAX)
}

/** Go's way to print a list of strings. */
export function quotedList(values: readonly string[]): string {
  return `[${cut(values.join(' '), LIST_CHARACTERS_MAX)}]`
}

function cut(text: string, charactersMax: number): string {
  const short = text.length <= charactersMax ? text : `${text.slice(0, charactersMax)}…`
  return short.replace(EVERY_UNPRINTABLE, '\ufffd')
}
