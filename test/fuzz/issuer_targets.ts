/**
 * What an issuer publishes, and its headers: keys, discovery documents, userinfo; a whole issuer that
 * answers anything at any time; and the addresses that nothing is fetched from, as numbers.
 */
import { BlockList, createServer, isIP } from 'node:net'
import fc from 'fast-check'
import { parseKeySet, parsePublishedKeySet } from '../../src/identity/keys.ts'
import { openUnpacking, packKeys } from '../../src/identity/portable_keys.ts'
import { isLoopback, isRefusedAddress, isRefusedHost } from '../../src/issuers/addresses.ts'
import {
  discoveryUrl,
  jwksUri,
  parseDiscovery,
  userinfoEndpoint,
} from '../../src/issuers/discovery.ts'
import { freshness } from '../../src/issuers/freshness.ts'
import { type Answer, openGet } from '../../src/issuers/get.ts'
import { openIssuer } from '../../src/issuers/issuer.ts'
import { parseKeys } from '../../src/issuers/key_cache.ts'
import { Secret } from '../../src/secret.ts'
import { ec, ed25519, jwk, rsa } from '../support/forge.ts'
import { addressText, anyJson, few, jsonText, nearlyText, oddText } from './made_up.ts'
import { eventually, must, mustEqual, sharing, type Target, target } from './target.ts'

const ISSUER = 'https://issuer.test'
const JWKS = 'https://issuer.test/keys'
const BEARER = 'a-bearer-of-the-gate'

const PUBLISHED = [
  jwk(ec('P-256'), { kid: 'a', alg: 'ES256', use: 'sig' }),
  jwk(ec('P-521'), { kid: 'b' }),
  jwk(ed25519(), { kid: 'a', alg: 'EdDSA' }),
  jwk(rsa(), { kid: 'c', alg: 'RS256' }),
  jwk(rsa(1024), { kid: 'short' }),
  { kty: 'oct', k: 'c2VjcmV0', kid: 'o' },
  { kty: 'EC', crv: 'secp256k1', x: 'AA', y: 'AA', kid: 'x' },
]
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

const members = ['kty', 'kid', 'alg', 'use', 'crv', 'x', 'y', 'n', 'e', 'd', 'key_ops', '__proto__']
const values = fc.oneof(
  anyJson(members),
  fc.constantFrom(
    'RSA',
    'EC',
    'OKP',
    'oct',
    'P-256',
    'Ed25519',
    'AQAB',
    'AQ',
    'AA',
    '',
    'sig',
    'enc',
    'none',
  ),
  fc.nat(3_000).map((length) => 'A'.repeat(length)),
  fc.nat(3_000).map((length) => `_${'w'.repeat(length)}`),
)
const oneKey = fc
  .tuple(fc.constantFrom(...PUBLISHED), few(fc.tuple(fc.constantFrom(...members), values)))
  .map(([key, changes]) => Object.fromEntries([...Object.entries(key), ...changes]))
const keySet = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .array(fc.oneof({ weight: 6, arbitrary: oneKey }, values), { maxLength: 6 })
      .map((keys) => ({ keys })),
  },
  { weight: 2, arbitrary: oneKey },
  { weight: 1, arbitrary: anyJson(['keys', ...members]) },
)

const unpack = openUnpacking()
const jwks = target('issuer/jwks', keySet, (document) => {
  for (const [parse, own] of [
    [parseKeySet, true],
    [parsePublishedKeySet, false],
  ] as const) {
    const read = parse(JSON.parse(JSON.stringify(document)))
    if (!read.ok) {
      must(read.problem !== '' && read.problem.length < 1_000, 'refused without a word', read)
      continue
    }
    const kids = new Set(['', 'a', 'b', 'c', 'o', 'x', 'short', '__proto__', ...kidsOf(document)])
    for (const kid of kids)
      for (const key of read.keys.find(kid)) {
        mustEqual(key.kid, kid, 'another key')
        must(
          key.algorithms.every((name) => ALGORITHMS.includes(name)),
          'an algorithm',
          key.algorithms,
        )
        must(key.key.type === 'public', 'no public key', key.key.type)
        const { modulusLength: bits = 2048 } = key.key.asymmetricKeyDetails ?? {}
        must(bits >= 2048 && bits <= 8192, 'an RSA key of these bits', bits, own)
        const packed = packKeys({ keys: [key], from: JWKS, fetchedMs: 1 })
        const [again] = unpack(JSON.parse(JSON.stringify(packed))).keys
        must(again?.key.equals(key.key) === true, 'another key after its way')
        mustEqual({ ...again, key: '' }, { ...key, key: '' }, 'what is said of the key')
      }
  }
})

function kidsOf(document: unknown): string[] {
  const { keys = [document] } = (document ?? {}) as { keys?: unknown }
  const all = Array.isArray(keys) ? (keys as unknown[]) : []
  return all.flatMap((each) => {
    const kid = typeof each === 'object' && each !== null ? Reflect.get(each, 'kid') : undefined
    return typeof kid === 'string' ? [kid] : []
  })
}

/** Runs what throws an Error with a message for the log, and nothing that is an accident. */
function told<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (thrown) {
    if (!(thrown instanceof Error) || thrown.constructor !== Error) throw thrown
    must(
      thrown.message !== '' && thrown.message.length < 2_000,
      'a message for the log',
      thrown.message,
    )
    return undefined
  }
}

const uris = nearlyText(
  fc.constantFrom(
    JWKS,
    'http://issuer.test/keys',
    'https:issuer.test',
    'https:/x',
    'file:///etc/passwd',
    'https://u:p@h/',
  ),
  ['https:', '//', '\\', '@', '\t', '169.254.169.254', '[', '%00', '?', '#'],
)
const discoveryText = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .record({
        issuer: fc.oneof(fc.constant(ISSUER), uris),
        jwks_uri: fc.oneof(uris, anyJson()),
        userinfo_endpoint: fc.oneof(uris, anyJson()),
      })
      .map((document) => JSON.stringify(document)),
  },
  { weight: 2, arbitrary: jsonText(['issuer', 'jwks_uri', 'userinfo_endpoint']) },
)

const discovery = target('issuer/discovery', fc.tuple(discoveryText, uris), ([body, uri]) => {
  for (const issuer of [ISSUER, uri]) {
    must(discoveryUrl(issuer).endsWith('/.well-known/openid-configuration'), 'a URL')
    const document = told(() => parseDiscovery(body, issuer))
    if (document === undefined) continue
    mustEqual(document.issuer, issuer, 'of another issuer')
    for (const found of [told(() => jwksUri(document)), told(() => userinfoEndpoint(document))]) {
      if (found === undefined) continue
      const { protocol, hostname } = new URL(found)
      must(
        protocol === 'https:' || (protocol === 'http:' && /^http:/i.test(issuer)),
        'in clear',
        found,
      )
      must(hostname !== '', 'no host', found)
    }
  }
})

const keysText = fc.oneof(
  keySet.map((set) => JSON.stringify(set)),
  jsonText(['keys', ...members]),
)
const keyBodies = target('issuer/keys_body', keysText, (body) => {
  const read = told(() => parseKeys(body))
  if (read !== undefined) mustEqual(read.digest, parseKeys(body).digest, 'the digest')
})

const directive = fc.oneof(
  fc.constantFrom(
    'max-age=60',
    'max-age="60"',
    'max-age',
    'max-age=-1',
    'max-age=1e9',
    'max-age=99999999999',
    'no-store',
    'no-cache',
    'NO-STORE',
    'private="a,b"',
    '"',
    '\\',
  ),
  oddText,
)
const date = fc.oneof(
  fc.date({ noInvalidDate: true }).map((each) => each.toUTCString()),
  fc.constantFrom(
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
    '0',
    '-1',
    'now',
  ),
)
const headerList = fc.array(
  fc.oneof(
    fc.tuple(
      fc.constant('cache-control'),
      fc.array(directive, { maxLength: 4 }).map((all) => all.join(',')),
    ),
    fc.tuple(fc.constantFrom('date', 'expires'), nearlyText(date)),
    fc.tuple(
      fc.constantFrom('age', 'vary', 'pragma', 'content-type'),
      fc.oneof(oddText, fc.constantFrom('10', '*', '99999999999')),
    ),
  ),
  { maxLength: 5 },
)
const received = fc.record({
  headers: headerList,
  requestedMs: fc.constantFrom(1_700_000_000_000, 1_700_000_001_000),
  receivedMs: fc.constantFrom(1_700_000_001_000, 1_700_000_031_000),
})

const LIFE_MS_MAX = 2 ** 31 * 1000
const fresh = target('issuer/freshness', received, (answer) => {
  const { kept, freshUntilMs } = freshness(answer)
  const life = freshUntilMs - answer.receivedMs
  must(life >= 0 && life <= LIFE_MS_MAX, 'a life without a bound', life)
  if (!kept) mustEqual(life, 0, 'the life of what may not be kept')
  for (const [name, value] of answer.headers)
    if (name === 'cache-control' && /^[^"]*(?<=^|,)\s*no-store\s*(?:,|$)/i.test(value))
      must(!kept, 'it asked not to be kept', answer)
})

const answers = fc.array(
  fc.record({
    fails: fc.boolean(),
    discovery: fc.oneof(
      { weight: 3, arbitrary: fc.constant(JSON.stringify({ issuer: ISSUER, jwks_uri: JWKS })) },
      { weight: 1, arbitrary: discoveryText },
    ),
    keys: keysText,
    headers: headerList,
    laterMs: fc.constantFrom(0, 1, 1_000, 30_000, 61_000, 3_600_000, -10_000),
    kid: fc.constantFrom('a', 'b', 'nobody', '__proto__', ''),
  }),
  { minLength: 1, maxLength: 6 },
)
const grace = fc.constantFrom(0, 60_000)

const issuers = target(
  'issuer/issuer',
  fc.tuple(answers, grace, grace),
  async ([script, minFreshMs, staleGraceMs]) => {
    let nowMs = 1_700_000_000_000
    let step = script[0]
    const get = async (url: string): Promise<Answer> => {
      if (step === undefined || step.fails) throw new Error('no answer')
      const body = url.includes('.well-known') ? step.discovery : step.keys
      const headers = step.headers.map(([name, value]) => [name, value] as const)
      return { url, status: 200, headers, body, requestedMs: nowMs, receivedMs: nowMs }
    }
    const settings = {
      issuer: ISSUER,
      jwksUri: undefined,
      minFreshMs,
      staleGraceMs,
      bearerToken: () => new Secret(BEARER),
    }
    const issuer = openIssuer(settings, get, () => nowMs)
    for (step of script) {
      nowMs += step.laterMs
      const found = await eventually(issuer.find(step.kid), ['jwks_unavailable'])
      if ('value' in found)
        for (const { kid } of found.value.keys) mustEqual(kid, step.kid, 'another key')
      await eventually(issuer.userinfoEndpoint(), [
        'userinfo_lookup_failed',
        'no_userinfo_endpoint',
      ])
      await eventually(issuer.userinfo(new Secret('a.b.c'), 'ann'), [
        'userinfo_lookup_failed',
        'no_userinfo_endpoint',
      ])
      issuer.refreshAhead()
      must(!JSON.stringify(issuer.status()).includes(BEARER), 'a credential in the status')
    }
    await new Promise(setImmediate)
  },
)

const httpText = nearlyText(
  fc
    .tuple(
      fc.constantFrom(200, 204, 301, 302, 404, 500, 99, 1_000),
      fc.array(
        fc.oneof(
          fc.constantFrom(
            'Content-Type: application/json',
            'Content-Encoding: gzip',
            'Transfer-Encoding: chunked',
          ),
          fc
            .tuple(fc.constantFrom('Location', 'Content-Length', 'X'), fc.oneof(uris, oddText))
            .map((two) => two.join(': ')),
        ),
        { maxLength: 3 },
      ),
      fc.oneof(keysText, oddText),
    )
    .map(([status, headers, body]) => [`HTTP/1.1 ${status} OK`, ...headers, '', body].join('\r\n')),
  ['\r\n', '\n', ': ', 'HTTP/1.1 100 Continue\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n'],
)

/** An answer in any bytes, from a server on this machine. */
const gets = sharing('issuer/get', async () => {
  let answer = ''
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  const url = `http://127.0.0.1:${typeof bound === 'object' ? bound?.port : 0}/keys`
  const settings = {
    timeoutMs: 5_000,
    caPem: undefined,
    onlyThisCa: false,
    plaintextLoopback: true,
    proxyEnv: {},
  }
  const get = openGet(settings, () => 1_700_000_000_000, new AbortController().signal)
  return {
    cases: httpText,
    async judge(text) {
      answer = text
      try {
        const { status, body } = await get(url, { authorization: `Bearer ${BEARER}` })
        must(
          status >= 200 && status <= 299 && body.length <= 1024 ** 2,
          'no answer of success',
          status,
        )
      } catch (thrown) {
        if (!(thrown instanceof Error) || !/^Get "|^GET /.test(thrown.message)) throw thrown
        must(thrown.message.length < 2_500, 'a long message', thrown.message)
        must(!thrown.message.includes(BEARER), 'a credential in the log', thrown.message)
      }
    },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
})

/** As sixteen bytes; IPv4 as IPv6 shows it. Undefined for what is no address. */
export function numberOf(address: string): bigint | undefined {
  if (isIP(address) === 0) return undefined
  if (isIP(address) === 4)
    return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0xffffn)
  const [bare = ''] = address.split('%')
  const last = /[\d.]+$/.exec(bare)?.[0] ?? ''
  const short = last.includes('.') ? bare.slice(0, -last.length) + hexOf(last) : bare
  const [head = '', tail] = short.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const [front, back] = [groups(head), groups(tail ?? '')]
  const gap = tail === undefined ? 0 : 8 - front.length - back.length
  return [...front, ...Array<string>(gap).fill('0'), ...back].reduce(
    (sum, group) => sum * 65_536n + BigInt(`0x${group}`),
    0n,
  )
}

function hexOf(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number)
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
}

/** The address and the prefix, in bits of sixteen bytes. */
const REFUSED_IPV4 = [
  '0.0.0.0/8',
  '169.254.0.0/16',
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
  '224.0.0.0/4',
  '255.255.255.255/32',
]
const ipv4Ranges = new BlockList()
for (const range of REFUSED_IPV4) {
  const [network = '', bits] = range.split('/')
  ipv4Ranges.addSubnet(network, Number(bits))
}

/** Forms of IPv6 that lead to an IPv4 address. */
const FORMS: ((ipv4: string) => string)[] = [
  (ipv4) => ipv4,
  (ipv4) => `::ffff:${ipv4}`,
  (ipv4) => `::FFFF:${hexOf(ipv4)}`,
  (ipv4) => `0:0:0:0:0:ffff:${ipv4}`,
  (ipv4) => `::ffff:0:${ipv4}`,
  (ipv4) => `64:ff9b::${ipv4}`,
  (ipv4) => `64:ff9b:0::${hexOf(ipv4)}`,
  (ipv4) => `2002:${hexOf(ipv4)}::1`,
]
const ipv4s = fc.oneof(
  fc.ipV4(),
  fc
    .tuple(
      fc.constantFrom('169.254.', '0.0.', '100.100.100.', '224.', '168.63.129.', '192.0.0.'),
      fc.nat(255),
      fc.nat(255),
      fc.nat(255),
    )
    .map(([start, ...more]) =>
      [...start.split('.').filter(Boolean), ...more].slice(0, 4).join('.'),
    ),
  fc.constantFrom(
    '169.254.169.254',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    '255.255.255.255',
  ),
)
const refusedAddresses = target('issuer/address', fc.tuple(ipv4s, addressText), ([ipv4, any]) => {
  const refused = ipv4Ranges.check(ipv4)
  for (const form of FORMS) mustEqual(isRefusedAddress(form(ipv4)), refused, form(ipv4))
  if (isIP(any) === 0) must(isRefusedAddress(any), 'what is no address is not refused')
  mustEqual(
    [typeof isRefusedHost(any), typeof isLoopback(any)],
    ['boolean', 'boolean'],
    'an answer',
  )
})

export const issuerTargets: Target[] = [
  jwks,
  discovery,
  keyBodies,
  fresh,
  issuers,
  gets,
  refusedAddresses,
]
