/**
 * The token parser and the whole of token verification: tokens that are good but for an edit, which must
 * be refused whatever it is; and tokens of any header and payload, letter by letter, with a signature that
 * is right.
 */
import fc from 'fast-check'
import { LRUCache } from 'lru-cache'
import type { FailureCode } from '../../src/failure.ts'
import type { Findings } from '../../src/identity/findings.ts'
import { parseIdentityMap } from '../../src/identity/identity_map.ts'
import { parseUnverified } from '../../src/identity/jws.ts'
import { authenticate } from '../../src/identity/jwt.ts'
import { configuredKeys } from '../../src/identity/key_source.ts'
import { parseKeySet } from '../../src/identity/keys.ts'
import type { Principal } from '../../src/identity/principal.ts'
import { UNPRINTABLE } from '../../src/identity/quoted.ts'
import type { Trust } from '../../src/identity/trust.ts'
import { decide } from '../../src/policy/decide.ts'
import { isReserved } from '../../src/policy/reserved.ts'
import { Secret } from '../../src/secret.ts'
import { ec, ed25519, forge, jwk, part, rsa } from '../support/forge.ts'
import { deepJson, edits, editText, few, jsonText, oddText } from './made_up.ts'
import {
  eventually,
  HEAVY,
  must,
  mustEqual,
  type Outcome,
  outcome,
  sharing,
  type Target,
  target,
} from './target.ts'

const ISSUER = 'https://issuer.test'
const NOW_MS = 1_800_000_000_000

const REFUSALS: readonly FailureCode[] = [
  'invalid_token',
  'invalid_issuer',
  'missing_claim',
  'failed_to_extract_claim',
  'invalid_claim_value',
]

const KEYS = [
  { alg: 'ES256', pair: ec('P-256') },
  { alg: 'ES384', pair: ec('P-384') },
  { alg: 'EdDSA', pair: ed25519() },
  { alg: 'RS256', pair: rsa() },
  { alg: 'PS384', pair: rsa() },
].map(({ alg, pair }) => ({ alg, pair, kid: `key-${alg}` }))
type Key = (typeof KEYS)[number]
const FAST = KEYS[2] as Key

function trusting(more: Partial<Trust> = {}): Trust {
  const keys = parseKeySet({
    keys: KEYS.map(({ alg, pair, kid }) => jwk(pair, { kid, ...(alg === 'ES384' ? {} : { alg }) })),
  })
  const map = parseIdentityMap('https://mapped.test /^(.*)@example\\.com$ \\1', {
    foldCase: false,
    allowUnanchored: false,
  })
  if (!keys.ok || !map.ok) throw new Error('the trust of the test is broken')
  const source = configuredKeys(keys.keys)
  return {
    enabled: true,
    issuers: new Set([ISSUER, 'https://mapped.test']),
    keySources: new Map([
      [ISSUER, source],
      ['https://mapped.test', source],
    ]),
    claim: '',
    groupClaim: 'groups',
    requireExpiry: true,
    clockToleranceMs: 0,
    identityMap: map.map,
    foldCase: false,
    verified: new LRUCache({ max: 100, maxSize: 1_000_000 }),
    ...more,
  }
}

async function judged(token: string, trust: Trust): Promise<Outcome<Principal>> {
  const found: Findings = {}
  const read = await eventually(
    authenticate(new Secret(token), trust, () => NOW_MS, found),
    REFUSALS,
  )
  // The decision record has to hold it, and no more of it than is listed.
  must(JSON.stringify(found).length < 40_000, 'findings without a bound')
  if (!('value' in read)) must(found.remembered === undefined, 'a remembered token is refused')
  return read
}

const good = { exp: 4_000_000_000, iss: ISSUER, sub: 'ann', aud: 'postern', groups: ['a', 'b'] }

/** Good tokens, two of a key; an edit, or a part of another one. */
const tampering = sharing(
  'token/tampered',
  async () => {
    const tokens = KEYS.flatMap(({ alg, pair, kid }) =>
      ['ann', 'bob'].map((sub) => forge({ alg, kid }, { ...good, sub }, alg, pair)),
    )
    const trust = trusting()
    const known = new Set(tokens)
    const swap = fc.tuple(fc.nat(tokens.length - 1), fc.nat(2))
    const pieces = fc.oneof(
      fc.constantFrom('.', '=', '==', 'A', '-', '_', '+', '/', ' ', '\n', 'eyJ'),
      oddText,
    )
    const cases = fc.record({
      token: fc.constantFrom(...tokens),
      wrong: few(edits(pieces)),
      swap: fc.option(swap, { nil: undefined, freq: 6 }),
      flip: fc.option(fc.record({ at: fc.nat(2_000), bit: fc.nat(5) }), { nil: undefined }),
    })
    return {
      cases,
      async judge({ token, wrong, swap, flip }) {
        const parts = token.split('.')
        if (swap !== undefined) parts[swap[1]] = tokens[swap[0]]?.split('.')[swap[1]] ?? ''
        const text = wrong.reduce(editText, flip ? flipped(parts.join('.'), flip) : parts.join('.'))
        const read = await judged(text, trust)
        mustEqual('value' in read, known.has(text.trim()), 'it is let in')
        if (!('value' in read)) mustEqual(trust.verified.has(text), false, 'it is remembered')
      },
    }
  },
  HEAVY,
)

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** One bit of what the text stands for. */
function flipped(token: string, { at, bit }: { at: number; bit: number }): string {
  const place = at % token.length
  const value = ALPHABET.indexOf(token.charAt(place))
  if (value < 0) return token
  return token.slice(0, place) + ALPHABET.charAt(value ^ (1 << bit)) + token.slice(place + 1)
}

const CLAIMS = [
  'iss',
  'sub',
  'aud',
  'exp',
  'iat',
  'nbf',
  'jti',
  'groups',
  'scope',
  'scp',
  'a',
  '__proto__',
]
const value = jsonText(['a', 'sub', '0', '__proto__'])
const times = fc.constantFrom(
  '0',
  '1799999999',
  '1800000000',
  '1800000001',
  '4e9',
  '1e999',
  '-1',
  '1.5',
  '"4000000000"',
)
const claimText = fc.oneof(
  { weight: 9, arbitrary: fc.tuple(fc.constantFrom(...CLAIMS), value) },
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom('exp', 'iat', 'nbf'), times) },
  { weight: 3, arbitrary: fc.tuple(oddText, value) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom('sub', 'a', 'aud', 'x'), deepJson) },
)
/** A payload that is good at first; later members win, as everywhere. */
const payloadText = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(
        fc.constantFrom(ISSUER, ISSUER, 'https://mapped.test', 'https://evil.test'),
        fc.array(claimText, { maxLength: 4 }),
        fc.constantFrom(0, 0, 0, 1),
      )
      .map(([iss, claims, left]) => {
        // `exp` is the first one, and may be left out.
        const all = { ...good, iss }
        const start = Object.entries(all)
          .slice(left)
          .map(([name, each]) => [name, JSON.stringify(each)])
        return `{${[...start, ...claims].map(([name, each]) => `${JSON.stringify(name)}:${each}`).join(',')}}`
      }),
  },
  { weight: 2, arbitrary: jsonText(CLAIMS) },
)
const headerMembers = fc.oneof(
  fc.tuple(
    fc.constantFrom('alg', 'kid', 'typ', 'crit', 'jku', 'jwk', 'x5c', 'x5u', 'b64', 'zip', 'cty'),
    value,
  ),
  fc.tuple(
    fc.constantFrom('alg'),
    fc.constantFrom('"none"', '"HS256"', '"ES256"', '"Ed25519"', '"EdDSA"', '"RS256"'),
  ),
  fc.tuple(fc.constantFrom('kid'), fc.constantFrom(...KEYS.map(({ kid }) => JSON.stringify(kid)))),
  fc.constant(['b64', 'false'] as [string, string]),
)
const headerText = fc.oneof(
  {
    weight: 8,
    arbitrary: few(headerMembers).map((members) => {
      const start = [
        ['alg', '"EdDSA"'],
        ['kid', JSON.stringify(FAST.kid)],
      ]
      return `{${[...start, ...members].map(([name, each]) => `${JSON.stringify(name)}:${each}`).join(',')}}`
    }),
  },
  { weight: 1, arbitrary: jsonText(['alg', 'kid']) },
)
const settings = fc.record({
  claim: fc.constantFrom(
    '',
    'sub',
    'email',
    '/a/0',
    '/a/sub',
    '/aud/0',
    'groups',
    '/__proto__/a',
    '/a/',
  ),
  requireExpiry: fc.boolean(),
  foldCase: fc.boolean(),
  clockToleranceMs: fc.constantFrom(0, 1_000),
})

const contents = sharing(
  'token/contents',
  async () => {
    const base = trusting()
    return {
      cases: fc.record({ header: headerText, payload: payloadText, settings }),
      async judge({ header, payload, settings }) {
        const token = forge(header, payload, FAST.alg, FAST.pair)
        const verified: Trust['verified'] = new LRUCache({ max: 2, maxSize: 1_000_000 })
        const trust = { ...base, ...settings, verified }
        const first = await judged(token, trust)
        const second = await judged(token, trust)
        mustEqual(second, first, 'the same token fares otherwise when it comes again')
        if ('value' in first) believable(first.value, payload, trust)
      },
    }
  },
  HEAVY,
)

/** What must hold of whoever was let in. */
function believable(principal: Principal, payload: string, trust: Trust): void {
  const claims = JSON.parse(payload) as Record<string, unknown>
  mustEqual(principal.issuer, claims.iss, 'the issuer')
  must(trust.issuers.has(principal.issuer), 'an issuer that nobody accepts')
  const { until, notBefore, issuedAt } = principal
  must(
    until === undefined
      ? !trust.requireExpiry
      : until * 1000 > NOW_MS - trust.clockToleranceMs - 1000,
    'it has expired',
    until,
  )
  for (const from of [notBefore, issuedAt])
    must(
      from === undefined || from * 1000 <= NOW_MS + trust.clockToleranceMs,
      'it is of the future',
      from,
    )
  for (const name of [...principal.names, ...principal.users]) {
    must(typeof name === 'string' && name !== '', 'a name that is none', name)
    must(
      !UNPRINTABLE.test(name) && Buffer.byteLength(name) <= 2_048,
      'a name that nobody has',
      name,
    )
  }
  const texts = [...principal.audiences, ...principal.scopes, ...(principal.groups ?? [])]
  must(
    texts.every((text) => typeof text === 'string'),
    'something that is no text',
    texts,
  )
  const rules = {
    audiences: new Set(['postern']),
    scopes: [],
    allowRoles: new Set<string>(),
    ownRoles: new Set(['gate']),
    replicationRoles: new Set<string>(),
  }
  for (const user of ['ann', 'root', ...principal.users]) {
    const decision = decide(principal, { user, database: 'x', replication: false }, rules)
    const let_in =
      principal.users.includes(user) &&
      !isReserved(user, rules.ownRoles) &&
      principal.audiences.includes('postern')
    mustEqual(decision.granted, let_in, `the decision on ${JSON.stringify(user)}`)
  }
}

const segments = fc.oneof(
  fc
    .tuple(headerText, payloadText)
    .map(([header, payload]) => `${part(header)}.${part(payload)}.c2ln`),
  fc
    .array(fc.oneof(oddText, fc.constantFrom('e30', 'bnVsbA', 'W10', '_-8', 'eyJhIjoxfQ')), {
      maxLength: 6,
    })
    .map((all) => all.join('.')),
)
const parsing = target('token/parse', segments, (text) => {
  const read = outcome(() => parseUnverified(text), ['invalid_token'])
  if (!('value' in read)) return
  const { header, claims } = read.value
  for (const each of [header, claims])
    must(typeof each === 'object' && each !== null && !Array.isArray(each), 'it is no object', each)
  mustEqual(text.split('.').length, 3, 'the parts of a token')
})

export const tokenTargets: Target[] = [tampering, contents, parsing]
