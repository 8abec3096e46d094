/**
 * The files of access lists, in the form of CockroachDB's proxy (pkg/sqlproxy/acl): an allowlist names
 * networks by cluster, a denylist addresses, networks and clusters, each with a reason and perhaps an end.
 * Rule: a file with a mistake is no list at all: nobody guesses which half of it was meant.
 */
import { z } from 'zod'
import type { AccessEntry } from '../policy/lists.ts'
import { readNetwork } from '../policy/networks.ts'
import { check, type Mistake } from './mistakes.ts'
import { network } from './networks.ts'

const sequence = z.int().min(0)

const allowlist = z.strictObject({
  SequenceNumber: sequence,
  allowlist: z.record(z.string(), z.strictObject({ ips: z.array(network) })).default({}),
})

const TYPES = 'write ip or cluster'
const entity = z.strictObject({
  item: z.union([z.string().min(1), z.int().transform(String)]),
  type: z
    .string()
    .transform((text) => text.toLowerCase())
    .pipe(z.enum(['ip', 'cluster'], TYPES)),
})
const expiration = z.iso.datetime({
  offset: true,
  error: 'write a time like 2030-01-31T23:59:59Z, or leave it out',
})
const denylist = z.strictObject({
  SequenceNumber: sequence,
  denylist: z
    .array(
      z.strictObject({
        entity,
        expiration: expiration.transform((at) => new Date(at).getTime() / 1000).optional(),
        reason: z.string().default(''),
      }),
    )
    .default([]),
})

/** A list as its file has it. */
export interface FileList {
  /** By which a later one is known. */
  sequence: number
  entries: AccessEntry[]
  /** The clusters that it names, and where. */
  named: { cluster: string; path: PropertyKey[] }[]
}

export type ReadList = { ok: true; value: FileList } | { ok: false; problems: string[] }

/** @param value - the file's, as YAML has it */
export function readAllowlist(value: unknown): ReadList {
  const read = check(allowlist, value)
  if (!read.ok) return { ok: false, problems: told(read.mistakes) }
  const clusters = Object.entries(read.value.allowlist)
  const entries = clusters.flatMap(([cluster, { ips }]): AccessEntry[] => {
    const entry = { list: 'allow', cluster, until: undefined, why: '' } as const
    // Also where it is empty.
    const isThere: AccessEntry = { ...entry, kind: 'cluster', item: '' }
    const items = ips.map(({ address, bits }) => `${address}/${bits}`)
    return [isThere, ...items.map((item): AccessEntry => ({ ...entry, kind: 'ip', item }))]
  })
  const named = clusters.map(([cluster]) => ({ cluster, path: ['allowlist', cluster] }))
  return { ok: true, value: { sequence: read.value.SequenceNumber, entries, named } }
}

/** @param value - the file's, as YAML has it */
export function readDenylist(value: unknown): ReadList {
  const read = check(denylist, value)
  if (!read.ok) return { ok: false, problems: told(read.mistakes) }
  const list = read.value.denylist
  const pathOf = (at: number) => ['denylist', at, 'entity', 'item']
  const problems = list.flatMap(({ entity: { item, type } }, at) => {
    if (type === 'cluster' || readNetwork(item) !== undefined) return []
    const wrong = check(network, item)
    return wrong.ok ? [] : told(wrong.mistakes.map((each) => ({ ...each, path: pathOf(at) })))
  })
  if (problems.length > 0) return { ok: false, problems }
  const entries = list.map(
    ({ entity: { item, type: kind }, expiration: until, reason: why }): AccessEntry => {
      return { list: 'deny', cluster: '', item, kind, until, why }
    },
  )
  const named = list.flatMap(({ entity: { item, type } }, at) =>
    type === 'cluster' ? [{ cluster: item, path: pathOf(at) }] : [],
  )
  return { ok: true, value: { sequence: read.value.SequenceNumber, entries, named } }
}

function told(mistakes: readonly Pick<Mistake, 'path' | 'message'>[]): string[] {
  return mistakes.map(({ path, message }) => `${path.map(String).join('.')}: ${message}`)
}
