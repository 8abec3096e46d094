/** What is revoked, by whom, and as of when; and that many revocations cost no more than few. */
import { describe, expect, it } from 'vitest'
import {
  NO_REVOCATIONS,
  type Revocable,
  type Revocation,
  revocationsOf,
  revoked,
  revokedIds,
} from '../../src/policy/revocation.ts'

const ISS = 'https://iss.test'
const NOW_S = 1_700_000_000
const NOW_MS = NOW_S * 1000

const TOKEN: Revocable = {
  issuer: ISS,
  subject: 'sub-1',
  names: ['maxroach', 'ops'],
  tokenId: 'jti-1',
  digest: 'd1',
  issuedAt: NOW_S,
}

const row = (given: Partial<Revocation> & Pick<Revocation, 'kind'>): Revocation => ({
  issuer: '',
  value: '',
  before: undefined,
  until: undefined,
  why: '',
  ...given,
})

const by = (...rows: Parameters<typeof row>[0][]) => revocationsOf(rows.map(row), NOW_MS)

describe('a token', () => {
  it.each<[string, Parameters<typeof row>[0], string | undefined]>([
    ['by its id', { kind: 'token', value: 'jti-1' }, "the token's id is revoked"],
    [
      'by its id and issuer',
      { kind: 'token', issuer: ISS, value: 'jti-1' },
      "the token's id is revoked",
    ],
    [
      'not by another issuer’s',
      { kind: 'token', issuer: 'https://other', value: 'jti-1' },
      undefined,
    ],
    ['not by another id', { kind: 'token', value: 'jti-2' }, undefined],
    ['by its digest', { kind: 'digest', value: 'd1' }, "the token's digest is revoked"],
    [
      'by its subject',
      { kind: 'subject', issuer: ISS, value: 'sub-1' },
      "the token's subject is revoked",
    ],
    [
      'by a principal',
      { kind: 'subject', issuer: ISS, value: 'ops' },
      "the token's principal is revoked",
    ],
    [
      'by all principals, as the audit stream shows them',
      { kind: 'subject', issuer: ISS, value: 'maxroach ops' },
      "the token's principal is revoked",
    ],
    [
      'not by more principals than it has',
      { kind: 'subject', issuer: ISS, value: 'maxroach ops root' },
      undefined,
    ],
    [
      'not by another issuer’s subject',
      { kind: 'subject', issuer: `${ISS}s`, value: 'ub-1' },
      undefined,
    ],
    ['not by a subject of no issuer', { kind: 'subject', value: 'sub-1' }, undefined],
    [
      'by its issuer',
      { kind: 'issuer', issuer: ISS, why: 'stolen key' },
      "the token's issuer is revoked: stolen key",
    ],
    ['not by another issuer', { kind: 'issuer', issuer: 'https://other' }, undefined],
    [
      'with all',
      { kind: 'all', before: NOW_S + 1 },
      'every token issued before 2023-11-14T22:13:21.000Z is revoked',
    ],
  ])('%s', (_name, given, says) => {
    expect(revoked(TOKEN, undefined, by(given))).toBe(says)
  })

  it.each<[string, number | undefined, boolean]>([
    ['before', NOW_S - 1, true],
    ['a part of a second before', NOW_S - 0.5, true],
    ['at that moment', NOW_S, false],
    ['after', NOW_S + 1, false],
    ['nobody knows when', undefined, true],
  ])('issued %s', (_name, issuedAt, is) => {
    for (const given of [
      { kind: 'all' },
      { kind: 'issuer', issuer: ISS },
      { kind: 'subject', issuer: ISS, value: 'sub-1' },
    ] as const) {
      const says = revoked({ ...TOKEN, issuedAt }, undefined, by({ ...given, before: NOW_S }))
      expect(says !== undefined, given.kind).toBe(is)
    }
  })

  it('without a subject or an id is none that has them', () => {
    const bare = { ...TOKEN, subject: undefined, tokenId: undefined, names: [] }
    const given = by(
      { kind: 'token', value: '' },
      { kind: 'token', value: 'undefined' },
      { kind: 'subject', issuer: ISS, value: '' },
      { kind: 'subject', issuer: ISS, value: 'undefined' },
    )
    expect(revoked(bare, 's', given)).toBeUndefined()
  })

  it('may have a name of Object’s own', () => {
    const odd = { ...TOKEN, tokenId: '__proto__', names: ['constructor'] }
    expect(revoked(odd, 'toString', by({ kind: 'token', value: 'x' }))).toBeUndefined()
    expect(revoked(odd, undefined, by({ kind: 'token', value: '__proto__' }))).toBeDefined()
  })
})

it('a session is revoked by its id, whoever has it', () => {
  const given = by({ kind: 'session', value: 's1', why: 'runs wild' })
  expect(revoked(undefined, 's1', given)).toBe('the session is revoked: runs wild')
  expect(revoked(TOKEN, 's1', given)).toBe('the session is revoked: runs wild')
  expect(revoked(TOKEN, 's2', given)).toBeUndefined()
  expect(revoked(undefined, undefined, given)).toBeUndefined()
})

it('what has ended is none, and what goes further wins', () => {
  const subject = { kind: 'subject', issuer: ISS, value: 'sub-1' } as const
  expect(revoked(TOKEN, undefined, by({ ...subject, until: NOW_S }))).toBeUndefined()
  expect(revoked(TOKEN, undefined, by({ ...subject, until: NOW_S + 1 }))).toBeDefined()
  for (const both of [
    [1, undefined],
    [undefined, 1],
  ])
    expect(
      revoked(TOKEN, undefined, by(...both.map((before) => ({ ...subject, before })))),
    ).toBeDefined()
})

it('nothing is revoked where nobody revoked anything', () => {
  expect(revoked(TOKEN, 's1', NO_REVOCATIONS)).toBeUndefined()
})

it('the configuration names ids of any issuer', () => {
  const ids = revokedIds(['jti-0', 'jti-1'])
  expect(revoked(TOKEN, undefined, ids)).toBe("the token's id is revoked: jwt_revoked_ids")
  expect(revoked({ ...TOKEN, tokenId: 'jti-2' }, undefined, ids)).toBeUndefined()
})

it('a question looks at none of the others, however many they are', () => {
  const many = Array.from({ length: 50_000 }, (_, at) => row({ kind: 'digest', value: `${at}` }))
  const given = revocationsOf(many, NOW_MS)
  let walked = 0
  const watched = new Proxy(given.digests, {
    get(target, name) {
      if (name !== 'get') walked++
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  expect(revoked({ ...TOKEN, digest: '49999' }, 's', { ...given, digests: watched })).toBeDefined()
  expect(walked).toBe(0)
})
