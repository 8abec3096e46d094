/** Settles where a role stands, as a login does, and keeps what was told before it was done. */
import type { Management } from '../../src/cluster/management.ts'
import type { MembershipChange } from '../../src/cluster/memberships.ts'
import { openSettling, type Settled, type SettleRules } from '../../src/cluster/settle.ts'

export interface Told {
  /** Each change, in order, and a role that is made. */
  told: (MembershipChange | { created: string; source: string })[]
  settled: Settled
}

export const NEVER = new AbortController().signal
export const NOTHING: MembershipChange = { granted: [], revoked: [] }

export type Settling = (
  role: string,
  wanted: readonly string[] | undefined,
  how?: { source?: string; signal?: AbortSignal; before?: () => void },
) => Promise<Told>

export function settling(management: Management, rules: SettleRules, now = () => 0): Settling {
  const settle = openSettling(management, rules, now)
  return async (role, wanted, { source, signal = NEVER, before = () => undefined } = {}) => {
    const told: Told['told'] = []
    const keep = async (what: Told['told'][number]) => {
      before()
      told.push(what)
    }
    const witness = {
      at: () => undefined,
      creating: (created: string, from: string) => keep({ created, source: from }),
      changing: keep,
    }
    return { settled: await settle({ role, wanted, source }, witness, signal), told }
  }
}

/** All that was told, as one change. */
export function changeOf({ told }: Pick<Told, 'told'>): MembershipChange {
  const all = told.filter((each) => 'granted' in each)
  return {
    granted: all.flatMap(({ granted }) => granted),
    revoked: all.flatMap(({ revoked }) => revoked),
  }
}
