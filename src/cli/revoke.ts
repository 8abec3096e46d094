/**
 * `postern revoke`: takes tokens, sessions, subjects and whole issuers back, for all gates at once, by writing
 * it into the state that they share, as its owner. `list` and `lift` are for what was taken back before.
 */
import { wordsOf } from '../cluster/refusals.ts'
import type { Config } from '../config/config.ts'
import { Failure } from '../failure.ts'
import type { Revocation, RevocationKind } from '../policy/revocation.ts'
import {
  type ListedRevocation,
  lift,
  listRevocations,
  type Revoked,
  revoke,
  SHOWN_MAX,
} from '../state/changes.ts'
import { openStateSession, type StateSession, toFailure } from '../state/session.ts'
import { readConfig } from './serve.ts'
import { printable, type World } from './terminal.ts'

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
    says: "every token of somebody's: their `sub`, or their principal (SystemIdentity)",
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
  await inState(options, world, async (session) => {
    await revoke(session, what, world.userName, world.now())
    const when = session.dialect === 'postgresql' ? 'are told now' : 'see it within a second'
    world.stdout.write(`Revoked: ${told(what)}\n`)
    world.stdout.write(`Gates that are connected ${when}: they refuse it, and end its sessions.\n`)
  })
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
    if (!(await lift(session, what))) throw usage('this is not revoked; postern revoke list')
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
  { config: file }: RevokeOptions,
  world: World,
  work: (session: StateSession) => Promise<void>,
): Promise<void> {
  const { state, nodes } = keptBy(readConfig(file, world))
  let session: StateSession | undefined
  try {
    session = await openStateSession(nodes, state, world.stop)
    await work(session)
  } catch (thrown) {
    if (world.stop.aborted)
      throw usage('this was stopped before it was done; postern revoke list says what there is')
    const failure = toFailure(thrown)
    if (failure.code === 'usage' || failure.code === 'state_unusable') throw failure
    const problem = `as ${state.role} in the database ${state.database}: ${wordsOf(failure)}`
    throw new Failure('state_unusable', { values: { problem }, cause: failure })
  } finally {
    session?.close()
  }
}

function keptBy({ state, clusters }: Config) {
  const cluster = clusters.find(({ name }) => name === state?.cluster)
  if (state === undefined || cluster === undefined)
    throw usage('the configuration has no state, in which gates could be told (see docs/state.md)')
  return { state, nodes: cluster.nodes }
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

function line({ who, at, ...what }: ListedRevocation): string {
  return printable(`${time(at)}  ${told(what)}${who === '' ? '' : ` (by ${who})`}`)
}

function told({ before, until, why, ...what }: Revocation): string {
  const parts = [
    named(what),
    ...(before === undefined ? [] : [`issued before ${time(before)}`]),
    ...(until === undefined ? [] : [`until ${time(until)}`]),
  ]
  return `${parts.join(', ')}${why === '' ? '' : `: ${printable(why)}`}`
}

function named({ kind, issuer, value }: Revoked): string {
  if (kind === 'all') return 'every token'
  if (kind === 'issuer') return printable(`issuer ${issuer}`)
  return printable(`${kind} ${value}${issuer === '' ? '' : ` of ${issuer}`}`)
}

function time(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace('.000', '')
}

function usage(problem: string): Failure {
  return new Failure('usage', { values: { problem } })
}
