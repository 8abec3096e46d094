/**
 * What the console does: settings, revocations, the end of a session, nodes that get no new sessions, another
 * reading of the configuration.
 * Rule: what is about to be changed is written to the audit stream first; where that fails, or takes longer than
 * somebody waits, nothing is done.
 */
import type { Answered } from '../answers/view.ts'
import type { Settings } from '../config/document.ts'
import { asFailure, Failure } from '../failure.ts'
import type { DrainedNode } from '../peers/messages.ts'
import type { Said } from '../state/changes.ts'
import type { State } from '../state/state.ts'
import type { Change } from '../telemetry/events.ts'
import type { LiveEvent } from '../telemetry/who_is_in.ts'
import type { Changes } from './changes.ts'
import type { Doing, Drain, Revoke } from './grammar.ts'
import type { ConsoleParts } from './parts.ts'
import { mayChange } from './settings.ts'

/** Who has it done, and in which words. */
export interface By {
  event: LiveEvent
  statement: string
  begin: Begin
}

/** The effect begins now. @throws Failure `console_timeout` where nobody waits for it any more */
export type Begin = () => void

type Parts = ConsoleParts & { changes: Changes }

export async function does(doing: Doing, by: By, parts: Parts): Promise<Answered> {
  switch (doing.kind) {
    case 'set':
      return await set(doing.name, doing.value, by, parts)
    case 'reset':
      return await set(doing.name, undefined, by, parts)
    case 'revoke':
      return await revoke(doing, by, parts)
    case 'cancel':
      return await cancel(doing.session, by, parts)
    case 'drain':
    case 'undrain':
      return await drain(doing, by, parts)
    case 'reload':
      return await reload(by, parts)
  }
}

async function set(
  name: string,
  value: string | undefined,
  by: By,
  parts: Parts,
): Promise<Answered> {
  const tag = value === undefined ? 'RESET CLUSTER SETTING' : 'SET CLUSTER SETTING'
  const state = shared(tag, parts)
  const full = mayChange(name, value, parts)
  parts.settings.try(full, value)
  const change = {
    EventType: 'set_cluster_setting',
    SettingName: full,
    Value: value ?? '',
  } as const
  await audit(change, by, parts)
  // Another gate may have set another one meanwhile.
  const mayBe = (now: Settings) => parts.settings.try(full, value, now)
  await sure(state.set(full, value, who(by), said(change, by), mayBe))
  return { tag }
}

async function revoke(doing: Revoke, by: By, parts: Parts): Promise<Answered> {
  const state = shared('REVOKE', parts)
  const { what, issuer, value, before, why } = doing
  const named = what === 'issuer' ? issuer : value
  if (named === '')
    throw new Failure('console_value', {
      values: { problem: `REVOKE ${what.toUpperCase()} takes no empty name` },
    })
  const change = {
    EventType: 'revoke',
    Kind: what,
    RevokedIssuer: issuer,
    Value: value,
    Before: before ?? 0,
    Why: why,
  } as const
  await audit(change, by, parts)
  const row = { kind: what, issuer, value, before, until: undefined, why }
  await sure(state.revoke(row, who(by), said(change, by)))
  return { tag: 'REVOKE' }
}

async function cancel(session: string, by: By, parts: Parts): Promise<Answered> {
  const found = parts.known.whoIsIn.event(session)
  if (found === undefined)
    throw new Failure('console_not_found', { values: { what: 'session', name: session } })
  const { User } = found.event
  const change = {
    EventType: 'cancel_session',
    CanceledSessionID: session,
    CanceledUser: User,
  } as const
  await audit(change, by, parts)
  parts.endSession(found.worker, session, `canceled by ${who(by)}`)
  await parts.changes.note(who(by), said(change, by))
  return { tag: 'CANCEL SESSION' }
}

async function drain(doing: Drain, by: By, parts: Parts): Promise<Answered> {
  const drained = doing.kind === 'drain'
  const found = nodeOf(doing, parts)
  const change = {
    EventType: 'drain_node',
    NodeCluster: found.cluster,
    NodeName: found.node,
    Drained: drained,
  } as const
  await audit(change, by, parts)
  parts.drained.put(found, drained)
  await parts.changes.note(who(by), said(change, by))
  return { tag: drained ? 'DRAIN NODE' : 'UNDRAIN NODE' }
}

/** @throws Failure `console_not_found`, `console_value` where several clusters have one of the name */
function nodeOf({ kind, node, cluster }: Drain, { known, drained }: Parts): DrainedNode {
  const seen: readonly DrainedNode[] = known.nodesSeen.nodes()
  // One that is gone may still be taken off the list.
  const there = kind === 'drain' ? seen : [...seen, ...drained.list()]
  const named = there.filter(
    (each) => each.node === node && [each.cluster, undefined].includes(cluster),
  )
  const [own, ...others] = new Set(named.map((each) => each.cluster))
  if (own === undefined)
    throw new Failure('console_not_found', { values: { what: 'node', name: node } })
  if (others.length === 0) return { cluster: own, node }
  const clusters = [own, ...others].join(', ')
  const problem = `several clusters have a node ${node}: add CLUSTER and the name of one of them (${clusters})`
  throw new Failure('console_value', { values: { problem } })
}

async function reload(by: By, parts: Parts): Promise<Answered> {
  const change = { EventType: 'reload' } as const
  await audit(change, by, parts)
  const problem = parts.reload()
  if (problem !== undefined)
    throw new Failure('console_value', {
      values: { problem: `the configuration in use is kept: ${problem}` },
    })
  await parts.changes.note(who(by), said(change, by))
  return { tag: 'RELOAD' }
}

/** @throws Failure `console_no_state` */
function shared(statement: string, { state }: Parts): State {
  if (state === undefined) throw new Failure('console_no_state', { values: { statement } })
  return state
}

/** Behind it the effect begins. @throws Failure `console_timeout`, and what keeps the line from being written */
async function audit(change: Change, { event, statement, begin }: By, parts: Parts): Promise<void> {
  const { EventType: _, Node, NodeSession, AccessRule, Duration, Durations, ...whose } = event
  await parts.audit({ ...whose, ...change, Statement: statement })
  begin()
}

/** A connection that was lost may have been lost behind COMMIT. @throws Failure `console_unsure` */
async function sure(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (thrown) {
    const { code, log } = asFailure(thrown)
    if (code !== 'node_lost') throw thrown
    throw new Failure('console_unsure', { log: log ?? '', cause: thrown })
  }
}

/** As whom, with which token. */
function who({ event }: By): string {
  const { User, SystemIdentity, Issuer } = event
  return `${User} (${SystemIdentity} of ${Issuer})`.slice(0, WHO_CHARACTERS_MAX)
}

/** However many bytes each takes, a row of the state holds it. */
const WHO_CHARACTERS_MAX = 250

function said({ EventType }: Change, { event, statement }: By): Said {
  const { RemoteAddress, SessionID, Cluster } = event
  return {
    change: EventType,
    statement,
    address: RemoteAddress,
    session: SessionID,
    cluster: Cluster,
  }
}
