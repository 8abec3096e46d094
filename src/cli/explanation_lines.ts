/**
 * What an explanation says line by line: the issuer's lines of the identity map, and what becomes of
 * each group. Rule: a line is matched by the gate's own functions; here is only what they said.
 */
import { LISTED_MAX } from '../identity/findings.ts'
import { parseIdentityMap } from '../identity/identity_map.ts'
import { isReserved } from '../policy/reserved.ts'
import type { Login, Settings } from './explanation_login.ts'

interface View {
  login: Login
  settings: Settings | undefined
}

/** Those that matched first of all; undefined where the configuration isn't there to be read. */
export function mapLines({ login: { Token }, settings }: View): string[] | undefined {
  if (settings === undefined || Token.issuer === undefined) return undefined
  const { foldCase } = settings.trust
  const parsed = parseIdentityMap(settings.map, { foldCase, allowUnanchored: true })
  if (!parsed.ok) return undefined
  const matched = new Set(Token.mapLines)
  const own = parsed.lines
    .filter(({ mapName }) => mapName === Token.issuer)
    .map(({ number }) => number)
  const others = own.filter((number) => !matched.has(number))
  const room = Math.max(0, LISTED_MAX - matched.size)
  const shown = [...matched, ...others.slice(0, room)].sort((one, other) => one - other)
  const texts = settings.map.split('\n')
  const width = String(shown.at(-1) ?? '').length
  const lines = shown.map((number) => {
    const text = (texts[number - 1] ?? '').split('#', 1)[0]?.trim() ?? ''
    const users = matched.has(number) ? usersOf(text, Token, foldCase) : []
    const rule = text.split(/\s+/).slice(1).join(' ')
    const becomes = users.length === 0 ? '' : ` -> ${users.join(', ')}`
    return `${matched.has(number) ? '✓' : '·'} ${String(number).padStart(width)}  ${rule}${becomes}`
  })
  const rest = others.length - room
  return rest > 0 ? [...lines, `and ${rest} more that do not match`] : lines
}

/** The one line alone, asked as the gate asks the whole map. */
function usersOf(
  line: string,
  { issuer = '', names = [] }: Login['Token'],
  foldCase: boolean,
): string[] {
  const parsed = parseIdentityMap(line, { foldCase, allowUnanchored: true })
  if (!parsed.ok) return []
  return [...new Set(names.flatMap((name) => parsed.map.lookup(issuer, name).users))]
}

export function groupLines({ login: { Token }, settings }: View): string[] {
  const { groups = [], groupCount = 0, roles, left = [] } = Token
  if (roles === undefined) return groups.length === 0 ? [] : [groups.join(', ')]
  const lines = groups.map((group) => {
    if (roles.includes(group)) return `✓ ${group}`
    const told = left.find((each) => each.startsWith(`${group}: `))
    if (told !== undefined) return `· ${told}`
    const why = settings === undefined ? '' : `: ${whyNot(group, settings)}`
    return `· ${group}${why}`
  })
  const rest = groupCount - groups.length
  return rest > 0 ? [...lines, `and ${rest} more`] : lines
}

function whyNot(group: string, { authorization, rules, trust }: Settings): string {
  const named = authorization?.roles.some((role) => role.matches(group, trust.foldCase))
  if (!named) return 'authorization.roles has no such role'
  return isReserved(group, rules.ownRoles) ? 'a reserved role' : 'not to be granted'
}
