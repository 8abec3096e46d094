/** `state` and `jwt_revoked_ids` in the configuration: what becomes of them, and what is wrong with a value. */
import { beforeAll, describe, expect, it } from 'vitest'
import { revoked } from '../../src/policy/revocation.ts'
import { FILES, good, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)

const TOKEN = { issuer: 'i', subject: undefined, names: [], digest: 'd', issuedAt: 1 }
const isRevoked = (more: string, tokenId: string) =>
  revoked({ ...TOKEN, tokenId }, undefined, parse(good(more)).clusters[0].revokedIds) !== undefined

describe('state', () => {
  it('is none unless it is written', () => {
    expect(parse(good('')).state).toBeUndefined()
    expect(parse(good('')).clusters[0].state).toBeUndefined()
  })

  it('has a role and a database, which the cluster keeps; nobody becomes the role', () => {
    const config = parse(good('state: {cluster: main}'))
    const place = { role: 'postern_state', database: 'postern_state' }
    expect(config.state).toEqual({ ...place, cluster: 'main', maxAgeMs: 60_000 })
    expect(config.clusters[0].state).toEqual(place)
    expect(config.clusters[0].rules.ownRoles).toEqual(new Set(['postern_state']))
    const own = parse(good('state: {cluster: main, role: r, database: d, max_age: 15s}'))
    expect(own.state).toEqual({ cluster: 'main', role: 'r', database: 'd', maxAgeMs: 15_000 })
  })

  it.each<[string, string]>([
    ['state: {}', '9:8: "cluster" is required'],
    ['state: {cluster: other}', '9:18: there is no cluster "other"'],
    ['state: {cluster: toString}', '9:18: there is no cluster "toString"'],
    ['state: {cluster: main, role: ""}', '9:30: write the name of a role'],
    ['state: {cluster: main, database: ""}', '9:34: write the name of a database'],
    [
      'state: {cluster: main, max_age: 14s}',
      '9:33: write at least 15s: the gate itself looks every 10s',
    ],
    [
      '    management: {role: m}\nstate: {cluster: main, role: m}',
      '10:30: this is the management role; the state needs a role of its own',
    ],
  ])('%s', (more, says) => {
    expect(told(good(more))).toEqual([says])
  })

  it('needs a way in that is the gate’s own', () => {
    const tls = 'nodes: [{address: db.internal:1, tls: {ca_file: ca.crt}}]'
    const text = good('state: {cluster: main}').replace(/nodes: .*/, tls)
    expect(told(text.replace('sign_in: peer', 'sign_in: forward'))).toEqual([
      '9:18: the gate has no token of its own to forward; choose a cluster with another sign_in',
    ])
    const scram = text.replace(
      'sign_in: peer',
      'sign_in: scram\n    scram: {secrets: {maxroach: x}}',
    )
    expect(told(scram)).toEqual([
      '10:8: scram.secrets of "main" has none for "postern_state", which signs in as every role does',
    ])
    expect(told(scram.replace('maxroach: x', 'postern_state: x'))).toEqual([])
  })
})

describe('jwt_revoked_ids', () => {
  it('is a list, or a file with one a line', () => {
    FILES['/etc/postern/revoked'] = 'jti-1\r\n\n  jti two  \n'
    for (const more of [
      '    jwt_revoked_ids: [jti-1, jti two]',
      '    jwt_revoked_ids: {file: revoked}',
    ]) {
      expect(['jti-1', 'jti two', '', 'jti-3'].map((id) => isRevoked(more, id))).toEqual([
        true,
        true,
        false,
        false,
      ])
    }
    expect(isRevoked('', 'jti-1')).toBe(false)
  })

  it('is no id that the audit stream cut', () => {
    const cut = `${'j'.repeat(256)}…`
    expect(told(good(`    jwt_revoked_ids: [${cut}, x]`))).toEqual([
      '9:22: an id ends where the audit stream cuts what is longer than 256 characters: write all of it',
    ])
    expect(told(good(`    jwt_revoked_ids: [short…, ${'j'.repeat(300)}]`))).toEqual([])
  })

  it.each(['[1]', '{a: b}', 'true'])('is not %s', (value) => {
    expect(told(good(`    jwt_revoked_ids: ${value}`))).toEqual([
      expect.stringMatching(/^9:\d+: write ids of tokens \(jti\): a list of texts/),
    ])
  })
})
