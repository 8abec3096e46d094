/**
 * `options` as a PostgreSQL backend reads it: split on C white space (pg_split_opts), then getopt.
 * The backend judges its own settings, so this reader refuses nothing: it finds settings, and cuts
 * them out. Its one rule: what is not cut stays byte for byte what it was, and means the same.
 * https://www.postgresql.org/docs/18/app-postgres.html
 */
import { type Piece, settingKey, splitPieces, unescapeQuery } from './options_cockroachdb.ts'

/** One setting; `start` and `end` say where it stands, with the white space before it. */
export interface Setting {
  key: string
  value: string
  start: number
  end: number
}

const PIECE = /(?:\\.?|[^\\ \t\n\v\f\r])+/gsu

export function findSettings(options: string): Setting[] {
  const settings: Setting[] = []
  const pieces = splitPieces(options, PIECE).values()
  let start = 0
  for (const piece of pieces) {
    if (piece.text === '--') break
    // The argument may look like a setting (`-S --name=value`): it is taken with its flag.
    const argument = awaitsArgument(piece) ? pieces.next().value : undefined
    const end = (argument ?? piece).end
    const setting = readSetting(piece.text + (argument?.text ?? ''))
    if (setting !== undefined) settings.push({ ...setting, start, end })
    start = end
  }
  return settings
}

/** `options` without these settings, which are in order; undefined where nothing is left. */
export function cutSettings(options: string, cut: Setting[]): string | undefined {
  let rest = ''
  let from = 0
  for (const { start, end } of cut) {
    rest += options.slice(from, start)
    from = end
  }
  rest += options.slice(from)
  // White space was cut with the setting behind it; what is left of it at the very start goes too.
  if (cut[0]?.start === 0) rest = rest.replace(/^[ \t\n\v\f\r]+/, '')
  return rest === '' ? undefined : rest
}

const DELAYS = new Set(['post_auth_delay', 'pre_auth_delay'])

/**
 * Whether the setting has the backend sleep, which is for who debugs one. A session that sleeps before it begins
 * has no key yet to cancel it by, and notices nobody's leaving.
 */
export function isDelay(name: string): boolean {
  return DELAYS.has(settingKey(name))
}

/** The name of such a setting in `options`, by whichever switch; undefined where there is none. */
export function findDelay(options: string): string | undefined {
  const pieces = splitPieces(options, PIECE).values()
  for (const piece of pieces) {
    if (piece.text === '--') break
    const next = awaitsArgument(piece) ? (pieces.next().value?.text ?? '') : ''
    const [, flag, argument = ''] = SWITCH.exec(piece.text + next) ?? []
    if (flag === 'W') return 'post_auth_delay'
    const [name = ''] = argument.split('=')
    if ((flag === 'c' || flag === '-') && isDelay(name)) return settingKey(name)
  }
  return undefined
}

/** Of the backend's flags ("B:bC:c:D:d:EeFf:h:ijk:lN:nOPp:r:S:sTt:v:W:-:"): those with a colon. */
const TAKES_ARGUMENT = /[BCDNSWcdfhkprtv-]/
/** The one of joined flags (`-eS`) that takes an argument, and that. */
const SWITCH = /^-[^BCDNSWcdfhkprtv-]*([BCDNSWcdfhkprtv-])(.*)$/su

/** Flags may be joined (`-eS`); the first that takes an argument takes the rest of the piece. */
function awaitsArgument({ text }: Piece): boolean {
  if (!text.startsWith('-')) return false
  const flag = text.slice(1).search(TAKES_ARGUMENT)
  return flag !== -1 && flag + 2 === text.length
}

const SETTING = /^(?:-c|--)([^=]*)=(.*)$/su
const SETTING_UNESCAPED = /^(?:-c\s*|--)([^\s=]+)=(\S*)$/u

/**
 * Some drivers escape `options` once more. The backend can't read such a piece, so it is tried as
 * ours: no name that it knows has a `:`, `%` or `+`.
 */
function readSetting(written: string): { key: string; value: string } | undefined {
  const unescaped = unescapeQuery(written)
  const found =
    (unescaped === written ? null : unescaped?.match(SETTING_UNESCAPED)) ?? written.match(SETTING)
  const [, name, value] = found ?? []
  return name === undefined || value === undefined ? undefined : { key: settingKey(name), value }
}
