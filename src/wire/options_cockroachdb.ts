/**
 * `options` as a CockroachDB node reads it: unescaped once as a URL's query is, split on white
 * space, and every piece must be a setting (`-c key=value`, `-ckey=value`, `--key=value`).
 * Not all versions unescape, and some split byte by byte: those are the other readings.
 * Its one rule: the gate accepts no more than the node does, and says no in the node's words.
 * https://www.cockroachlabs.com/docs/stable/connection-parameters#supported-options-parameters
 */
import { Failure } from '../failure.ts'

/**
 * One setting: its key in lower case with `_`, and how it was written; `start` and `end` say where it
 * stands in the text that was split, with the white space before it.
 */
export interface Setting {
  key: string
  value: string
  written: string
  start: number
  end: number
}

const PIECE = /(?:\\.?|[^\\\p{White_Space}])+/gsu
/** What Go's unicode.IsSpace says of single bytes: U+0085 and U+00A0 are bytes within other characters, too. */
const PIECE_OF_BYTES = /(?:\\.?|[^\\\t-\r \x85\xa0])+/gsu
const ONE_READING = /^[\t-\r -$&-*,-~]*$/

export function parseSettings(options: string): Setting[] {
  const unescaped = unescapeQuery(options)
  if (unescaped === undefined) refuse(`failed to unescape options "${printable(options)}"`)
  return settingsOf(unescaped, PIECE)
}

/** As a node reads it that doesn't unescape (23.1 and newer); undefined where it would refuse it. */
export function parseUnescaped(options: string): Setting[] | undefined {
  return tried(options, PIECE)
}

/** Whatever else a node may read in it; one that would refuse it reads nothing. */
export function otherReadings(options: string): Setting[][] {
  if (ONE_READING.test(options)) return []
  const texts = new Set([options, unescapeQuery(options) ?? options])
  return [...texts].flatMap((text) => {
    const bytes = Buffer.from(text).toString('latin1')
    const readings = [tried(text, PIECE), tried(bytes, PIECE_OF_BYTES)]
    return readings.filter((each) => each !== undefined)
  })
}

function tried(text: string, piece: RegExp): Setting[] | undefined {
  try {
    return settingsOf(text, piece)
  } catch (thrown) {
    if (thrown instanceof Failure) return undefined
    throw thrown
  }
}

function settingsOf(text: string, piece: RegExp): Setting[] {
  const settings: Setting[] = []
  let afterC = false
  let before = 0
  for (const { text: plain, start, end } of splitPieces(text, piece)) {
    if (plain === '-c') {
      afterC = true
      continue
    }
    const itself = text.slice(start, end)
    const written = afterC ? `-c ${itself}` : itself
    settings.push({ ...parseSetting(plain, afterC), written, start: before, end })
    before = end
    afterC = false
  }
  return settings
}

/** The settings as `options` again, for a node that unescapes once; undefined for none. */
export function formatSettings(settings: Setting[]): string | undefined {
  if (settings.length === 0) return undefined
  const plain = settings.map(({ written }) => written).join(' ')
  // A NUL, sent as %00, would end the parameter in the node's startup packet: what follows it
  // would be read there as further parameters (`user`), so it stays escaped.
  return plain.replace(/[%+]/g, encodeURIComponent).replaceAll('\0', '%00')
}

/** As in a URL's query: `+` is a space, and the bytes must be UTF-8; undefined where they aren't. */
export function unescapeQuery(text: string): string | undefined {
  try {
    const plain = /[%+]/.test(text) ? decodeURIComponent(text.replaceAll('+', ' ')) : text
    return plain.isWellFormed() ? plain : undefined
  } catch {
    return undefined
  }
}

/** A piece between white space: its text without the backslash escapes, and where it stands. */
export interface Piece {
  text: string
  start: number
  end: number
}

/** Both dialects escape with a backslash; they differ in what is white space, so in `piece`. */
export function splitPieces(options: string, piece: RegExp): Piece[] {
  const pieces: Piece[] = []
  for (const { 0: written, index: start } of options.matchAll(piece)) {
    const text = written.includes('\\') ? written.replace(/\\(.?)/gsu, '$1') : written
    pieces.push({ text, start, end: start + written.length })
  }
  return pieces
}

/** Keys are compared in lower case, and `-` is `_`. */
export function settingKey(name: string): string {
  return name.replaceAll('-', '_').toLowerCase()
}

function parseSetting(text: string, afterC: boolean): { key: string; value: string } {
  const prefix = afterC ? '' : text.slice(0, 2)
  if (!afterC && prefix !== '--' && prefix !== '-c') {
    refuse(`option "${printable(text)}" is invalid, must have prefix '-c' or '--'`)
  }
  const [name, value, more] = text.split('=')
  if (name === undefined || value === undefined || more !== undefined) {
    refuse(`option "${printable(text)}" is invalid, check '='`)
  }
  return { key: settingKey(name.slice(prefix.length)), value }
}

function refuse(problem: string): never {
  throw new Failure('invalid_options', { values: { problem } })
}

const PRINTABLE_MAX = 64
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u
const ESCAPES = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\x07', '\\a'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\v', '\\v'],
])

/** What a client sent, fit to be quoted to it: escaped as Go's %q escapes, and not long. */
export function printable(text: string): string {
  let printed = ''
  for (const character of text) {
    const next = ESCAPES.get(character) ?? escapeCharacter(character)
    if (printed.length + next.length > PRINTABLE_MAX) return `${printed}…`
    printed += next
  }
  return printed
}

function escapeCharacter(character: string): string {
  if (PRINTABLE.test(character)) return character
  const code = character.codePointAt(0) ?? 0
  const hex = code.toString(16)
  if (code < 0x80) return `\\x${hex.padStart(2, '0')}`
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}
