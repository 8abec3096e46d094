/**
 * docs/audit.md names every event of the audit stream and every field, and no other: held against the types
 * (which the compiler holds these tables against), and against the lines of a real gate.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, inject, it } from 'vitest'
import type { Findings } from '../../src/identity/findings.ts'
import type { AuditEvent, Connection, Encryption, Identity } from '../../src/telemetry/events.ts'
import type { LoginParts } from '../../src/telemetry/login_time.ts'
import type { SealBegin } from '../../src/telemetry/seal.ts'
import { startGate } from '../support/gate.ts'
import { openTls, signIn } from '../support/wire_client.ts'

type Type = AuditEvent['EventType']
type Of<E extends Type, A = AuditEvent> = A extends { EventType: infer T }
  ? E extends T
    ? A
    : never
  : never
type Common = keyof Connection | keyof Identity | 'Method' | 'EventType'
type Own<E extends Type> = Exclude<keyof Of<E>, Common>

const EVENTS: { [E in Type]: Record<Own<E>, true> } & {
  seal_begin: Record<Exclude<keyof SealBegin, 'EventType'>, true>
} = {
  login_decision: {
    Result: true,
    Failure: true,
    Why: true,
    Detail: true,
    AccessRule: true,
    Step: true,
    Replication: true,
    Tls: true,
    Token: true,
    AcceptedAudiences: true,
    Role: true,
  },
  client_authentication_ok: {
    Node: true,
    NodeSession: true,
    AccessRule: true,
    Duration: true,
    Durations: true,
  },
  client_authentication_failed: { Reason: true, Failure: true, Sqlstate: true, Detail: true },
  client_session_end: { Duration: true, Ended: true, BytesToClient: true, BytesToNode: true },
  create_role: { RoleName: true, Source: true },
  grant_role: { GranteeRoles: true, Members: true },
  revoke_role: { GranteeRoles: true, Members: true },
  set_cluster_setting: { SettingName: true, Value: true, Statement: true },
  revoke: {
    Kind: true,
    RevokedIssuer: true,
    Value: true,
    Before: true,
    Why: true,
    Statement: true,
  },
  cancel_session: { CanceledSessionID: true, CanceledUser: true, Statement: true },
  drain_node: { NodeCluster: true, NodeName: true, Drained: true, Statement: true },
  reload: { Statement: true },
  seal_begin: { Version: true, Chain: true, KeyID: true, Why: true, Previous: true },
}

const SESSION: Record<keyof Connection | 'Method', true> = {
  SessionID: true,
  Network: true,
  RemoteAddress: true,
  Transport: true,
  Cluster: true,
  User: true,
  Database: true,
  ApplicationName: true,
  Method: true,
}

const TOKEN: Record<keyof Identity, true> = {
  SystemIdentity: true,
  Subject: true,
  Issuer: true,
  KeyID: true,
  TokenID: true,
  TokenDigest: true,
  TokenExpiry: true,
}

const IN: {
  Tls: Record<keyof Encryption, true>
  Token: Record<keyof Findings, true>
  Durations: Record<keyof LoginParts, true>
} = {
  Tls: { version: true, cipher: true, serverName: true, alpn: true, clientSubject: true },
  Token: {
    issuer: true,
    type: true,
    algorithm: true,
    keyId: true,
    keysFrom: true,
    keysFetched: true,
    verified: true,
    remembered: true,
    issuedAt: true,
    notBefore: true,
    expires: true,
    audiences: true,
    tokenId: true,
    digest: true,
    claim: true,
    names: true,
    mapped: true,
    mapLines: true,
    users: true,
    userCount: true,
    groups: true,
    groupsFrom: true,
    groupCount: true,
    roles: true,
    roleCount: true,
    left: true,
  },
  Durations: { client: true, issuer: true, node: true, gate: true },
}

const EVERY = ['channel', 'Timestamp', 'InstanceID', 'EventType', 'Seq', 'Mac']

const text = readFileSync(new URL('../../docs/audit.md', import.meta.url), 'utf8')

/** The fields that a table names, which begins after the heading, or with these words. */
function documented(heading: string, table = '| field | |'): string[] {
  const from = text.indexOf(`${heading}\n`)
  expect(from, heading).toBeGreaterThan(0)
  const begin = text.indexOf(table, from)
  const lines = text.slice(begin).split('\n')
  const rows = lines.slice(2, lines.indexOf(''))
  return rows.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name ?? ''),
  )
}

const names = (all: object) => Object.keys(all).sort()

it('has every event, and no other', () => {
  const headings = [...text.matchAll(/^### `(\w+)`$/gm)].map(([, name]) => name)
  expect(headings.sort()).toEqual(names(EVENTS))
})

it.each(Object.entries(EVENTS))('has every field of %s', (event, fields) => {
  expect(documented(`### \`${event}\``).sort()).toEqual(names(fields))
})

it('has every field that events have in common', () => {
  expect(documented('## Every line')).toEqual(EVERY)
  expect(documented('## The session').sort()).toEqual(names(SESSION))
  expect(documented('## The token').sort()).toEqual(names(TOKEN))
})

it.each(Object.entries(IN))('has every field in %s', (field, fields) => {
  expect(documented('## Events', `| in \`${field}\` | |`).sort()).toEqual(names(fields))
})

it('names all that a gate writes', async () => {
  const { socketDir, port } = inject('postgres')
  const gate = await startGate({ node: join(socketDir, `.s.PGSQL.${port}`) })
  for (const [user, sub] of [
    ['carl', 'carl'],
    ['carl', 'somebody'],
  ] as const) {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user, database: 'defaultdb' }, await gate.token(sub))
    client.close()
  }
  for (const type of ['client_authentication_failed', 'client_session_end'])
    await expect.poll(() => gate.audit.some(({ EventType }) => EventType === type)).toBe(true)
  const common = [...EVERY, ...Object.keys(SESSION), ...Object.keys(TOKEN)]
  for (const line of gate.audit) {
    const own = EVENTS[line['EventType'] as Type]
    const known = new Set([...common, ...Object.keys(own)])
    expect(Object.keys(line).filter((name) => !known.has(name))).toEqual([])
    for (const [field, fields] of Object.entries(IN))
      expect(Object.keys(fields)).toEqual(expect.arrayContaining(Object.keys(line[field] ?? {})))
  }
  await gate.close()
})
