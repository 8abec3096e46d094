/** What makes two sessions as good as each other. */
import { describe, expect, it } from 'vitest'
import { poolKey } from '../../src/cluster/pool_key.ts'
import type { Principal } from '../../src/identity/principal.ts'

const PRINCIPAL: Principal = {
  issuer: 'https://iss.test',
  names: ['carl'],
  users: ['carl'],
  mapped: false,
  audiences: ['db'],
  groups: undefined,
  scopes: [],
  subject: 'carl',
  tokenId: 'one',
  digest: 'a',
  keyId: 'k',
  issuedAt: 1,
  until: 2,
  notBefore: undefined,
}
const PACKET = [
  ['user', 'carl'],
  ['database', 'db'],
  ['application_name', 'psql'],
] as const

function key(
  principal: Partial<Principal>,
  packet: readonly (readonly [string, string])[] = PACKET,
  shareBetweenPrincipals = false,
) {
  return poolKey({ principal: { ...PRINCIPAL, ...principal } }, new Map(packet), {
    shareBetweenPrincipals,
  })
}

describe('sessions are as good as each other', () => {
  it.each<[string, Partial<Principal>]>([
    [
      'with another token of the same principal',
      { tokenId: 'two', digest: 'b', keyId: 'l', until: 9 },
    ],
    ['with other groups', { groups: ['x'] }],
  ])('%s', (_name, principal) => {
    expect(key(principal)).toBe(key({}))
  })

  it.each<[string, Partial<Principal>]>([
    ['of another issuer', { issuer: 'https://other.test' }],
    ['with another subject', { subject: 'dora' }],
    ['without a subject', { subject: undefined }],
    ['under another name', { names: ['dora'] }],
    ['whom the map makes somebody else', { users: ['carl', 'dora'] }],
    ['whose names are cut otherwise', { names: ['carl","carl'] }],
  ])('not %s, unless principals share them', (_name, principal) => {
    expect(key(principal)).not.toBe(key({}))
    expect(key(principal, PACKET, true)).toBe(key({}, PACKET, true))
  })

  it.each<[string, [string, string][]]>([
    ['as another role', [['user', 'dora']]],
    ['in another database', [['database', 'other']]],
    ['under another application_name', [['application_name', '']]],
    ['with options', [['options', '-c geqo=off']]],
    ['with a parameter more', [['TimeZone', 'UTC']]],
    ['from another address', [['crdb:remote_addr', '192.0.2.1:5']]],
  ])('not %s, though principals share them', (_name, more) => {
    const packet = [...new Map([...PACKET, ...more])]
    expect(key({}, packet)).not.toBe(key({}))
    expect(key({}, packet, true)).not.toBe(key({}, PACKET, true))
  })

  it('not with the same settings in another order: the last one of two spellings counts', () => {
    const one = [...PACKET, ['TimeZone', 'UTC'], ['timezone', 'CET']] as const
    const other = [...PACKET, ['timezone', 'CET'], ['TimeZone', 'UTC']] as const
    expect(key({}, one)).not.toBe(key({}, other))
  })

  it('never for replication', () => {
    for (const value of ['true', 'database', 'off'])
      expect(key({}, [...PACKET, ['replication', value]], true)).toBeUndefined()
  })
})
