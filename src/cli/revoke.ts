/**
 * `postern revoke`: takes tokens, sessions, subjects and whole issuers back, for all gates at once, by writing
 * it into the state that they share, as its owner. `list` and `lift` are for what was taken back before.
 */
import type { Config } from '../config/config.ts'
import { isShortened } from '../identity/quoted.ts'
import type { Revocation, RevocationKind } from '../policy/revocation.ts'
import {
  type ListedRevocation,
  lift,
  listRevocations,
  type Revoked,
  revoke,
  SHOWN_MAX,
} from '../state/changes.ts'
import type { StateSession } from '../state/session.ts'
import { howSoon, inStateOf, timeText, usage } from './in_state.ts'
import { readConfig } from './serve.ts'
import { printable, type World } from './terminal.ts'

const LIST = 'postern revoke list'

export interface RevokeOptions {
  config: string
  /** Of a token's id. */
  issuer?: string
  /** Milliseconds since the epoch. */
  before?: number
  until?: number
  why?: string
}

/** What each kind is called by on the command line, and whether some of it may be spared by age. */
export const REVOCABLE: Record<
  RevocationKind,
  { names: string; says: string; byAge: boolean; byIssuer?: true }
> = {
  token: {
    names: '<id>',
    says: 'one token, by its id (jti; TokenID in the audit stream)',
    byAge: false,
    byIssuer: true,
  },
  digest: {
    names: '<hex>',
    says: 'one token without an id, by its digest (TokenDigest in the audit stream)',
    byAge: false,
  },
  session: { names: '<id>', says: 'one session, by its request id (SessionID)', byAge: false },
  subject: {
    names: '<issuer> <subject>',
    says: "every token of somebody's: their `sub` (Subject), or their principal (SystemIdentity)",
    byAge: true,
  },
  issuer: { names: '<issuer>', says: 'every token of an issuer', byAge: true },
  all: { names: '', says: 'every token that was issued before a time', byAge: true },
}

/** @throws Failure `usage`, `state_unusable`, or one of the configuration's */
export async function revokeOne(
  kind: RevocationKind,
  names: readonly string[],
  options: RevokeOptions,
  world: World,
): Promise<void> {
  const { before, until, why = '' } = options
  if (kind === 'all' && before === undefined)
    throw usage('say which tokens, by --before: without it nobody could come in any more')
  const what = {
    ...revokedOf(kind, names, options),
    before: before === undefined ? undefined : before / 1000,
    until: until === undefined ? undefined : until / 1000,
    why,
  }
  if (names.some(isShortened)) throw usage(CUT)
  const config = readConfig(options.config, world)
  await inStateOf(config, LIST, world, async (session) => {
    const by = said('revoke', named(what))
    const revoked = await revoke(session, what, world.userName, world.now(), by)
    world.stdout.write(`Revoked: ${told(revoked)}\n`)
    if (isStranger(what.issuer, config))
      world.stderr.write(`postern: warning: ${printable(strange(what.issuer))}\n`)
    world.stdout.write(howSoon(session.dialect))
  })
}

const CUT =
  'this ends where the audit stream cuts what is longer than 256 characters, and names nobody: write all of it, or revoke the token by its digest (TokenDigest)'

/** It may be another gate's; or a slip, and nobody is kept out. */
function isStranger(issuer: string, { clusters }: Config): boolean {
  if (issuer === '') return false
  return !clusters.some(({ trust, oauthbearer }) =>
    [trust, oauthbearer?.trust].some((each) => each?.issuers.has(issuer)),
  )
}

function strange(issuer: string): string {
  return `no cluster of this configuration takes tokens of the issuer ${issuer}: it has to be spelled as in 'iss'`
}

/** @throws as `revokeOne` */
export async function liftOne(
  kind: RevocationKind,
  names: readonly string[],
  options: RevokeOptions,
  world: World,
): Promise<void> {
  const what = revokedOf(kind, names, options)
  await inState(options, world, async (session) => {
    const lifted = await lift(session, what, world.userName, world.now(), said('lift', named(what)))
    if (!lifted) throw usage('this is not revoked; postern revoke list')
    world.stdout.write(`Lifted: ${named(what)}\n`)
  })
}

/** @throws as `revokeOne` */
export async function listAll(options: RevokeOptions, world: World): Promise<void> {
  await inState(options, world, async (session) => {
    const all = await listRevocations(session)
    if (all.length === 0) world.stdout.write('Nothing is revoked.\n')
    for (const each of all) world.stdout.write(`${line(each)}\n`)
    if (all.length === SHOWN_MAX) world.stdout.write(`(the first ${SHOWN_MAX})\n`)
  })
}

/** In the database that all gates of this configuration share. */
async function inState(
  { config }: RevokeOptions,
  world: World,
  work: (session: StateSession) => Promise<void>,
): Promise<void> {
  await inStateOf(readConfig(config, world), LIST, world, work)
}

function revokedOf(
  kind: RevocationKind,
  [first = '', second = '']: readonly string[],
  { issuer = '' }: RevokeOptions,
): Revoked {
  switch (kind) {
    case 'token':
      return { kind, issuer, value: first }
    case 'digest':
      if (!/^[0-9a-f]{64}$/i.test(first)) throw usage('a digest is 64 hexadecimal digits')
      return { kind, issuer: '', value: first.toLowerCase() }
    case 'session':
      return { kind, issuer: '', value: first }
    case 'subject':
      return { kind, issuer: first, value: second }
    case 'issuer':
      return { kind, issuer: first, value: '' }
    case 'all':
      return { kind, issuer: '', value: '' }
  }
}

/** For the list of changes. */
function said(change: string, what: string) {
  return { change, statement: `postern revoke: ${what}`, address: '', session: '', cluster: '' }
}

function line({ who, at, ...what }: ListedRevocation): string {
  return printable(`${timeText(at)}  ${told(what)}${who === '' ? '' : ` (by ${who})`}`)
}

function told({ before, until, why, ...what }: Revocation): string {
  const parts = [
    named(what),
    ...(before === undefined ? [] : [`issued before ${timeText(before)}`]),
    ...(until === undefined ? [] : [`until ${timeText(until)}`]),
  ]
  return `${parts.join(', ')}${why === '' ? '' : `: ${printable(why)}`}`
}

function named({ kind, issuer, value }: Revoked): string {
  if (kind === 'all') return 'every token'
  if (kind === 'issuer') return printable(`issuer ${issuer}`)
  return printable(`${kind} ${value}${issuer === '' ? '' : ` of ${issuer}`}`)
}
