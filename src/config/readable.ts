/**
 * What can be read of a file that has mistakes, so that what is wrong with the files and the map that
 * it names is told together with them. Rule: nothing of this becomes a Config.
 */
import type { z } from 'zod'
import { type AccessSection, accessLists, accessRules } from './access_settings.ts'
import { type AuditSection, auditSection } from './audit_settings.ts'
import { check } from './mistakes.ts'
import { type PeersSection, peers as peersSchema } from './peer_settings.ts'
import * as schema from './schema.ts'
import { type StateSection, state as stateSchema } from './state_settings.ts'

export interface Sections {
  /** In their places; `undefined` where one has a mistake. */
  listeners: (schema.Listener | undefined)[]
  clusters: Record<string, schema.ClusterSection>
  peers?: PeersSection | undefined
  state?: StateSection | undefined
  access?: AccessSection | undefined
  access_lists: z.output<typeof accessLists>
  audit?: AuditSection | undefined
}

export function readableSections(value: unknown): Sections {
  const found = isRecord(value) ? value : {}
  const { listeners, clusters, peers, state, access, access_lists, audit } = found
  const readPeers = check(peersSchema, peers)
  const readState = check(stateSchema, state)
  const readRules = check(accessRules.optional(), access)
  const readLists = check(accessLists, access_lists)
  const readAudit = check(auditSection, audit ?? {})
  return {
    listeners: Array.isArray(listeners) ? listeners.map(readableListener) : [],
    clusters: isRecord(clusters)
      ? Object.fromEntries(Object.entries(clusters).flatMap(readableCluster))
      : {},
    peers: readPeers.ok ? readPeers.value : undefined,
    state: readState.ok ? readState.value : undefined,
    access: readRules.ok ? readRules.value : undefined,
    access_lists: readLists.ok ? readLists.value : {},
    audit: readAudit.ok ? readAudit.value : undefined,
  }
}

/** For keys that have to be there, and the one without which more of the map would be a mistake. */
const STAND_INS = {
  kind: 'postgresql',
  nodes: [{ address: '/' }],
  sign_in: 'trust',
  'server.identity_map.allow_unanchored': true,
}

function readableListener(value: unknown): schema.Listener | undefined {
  const read = check(schema.listener, value)
  return read.ok ? read.value : undefined
}

/** Without its mistaken keys; that the others agree with each other is not asked again. */
function readableCluster([name, section]: [string, unknown]): [string, schema.ClusterSection][] {
  const first = check(schema.clusterKeys, section)
  if (first.ok) return [[name, first.value]]
  if (!isRecord(section)) return []
  const mistaken = new Set(first.mistakes.map(({ path }) => path[0]))
  const kept = Object.entries(section).filter(([key]) => !mistaken.has(key))
  const standIns = Object.entries(STAND_INS).filter(([key]) => mistaken.has(key))
  const again = check(schema.clusterKeys, Object.fromEntries([...kept, ...standIns]))
  return again.ok ? [[name, again.value]] : []
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
