/** `peers` in a configuration file: where the other gates are, and the authority that they know each other by. */
import { X509Certificate } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { certify } from '../support/certify.ts'
import { FILES, good, MODES, makeFiles, parse, told } from '../support/config_text.ts'

const LISTEN = '127.0.0.1:26258'

/** Alone on line 9. */
function written({
  gates = "['10.0.0.2:26258']",
  listen = LISTEN,
  cert = 'one.crt',
  key = 'one.key',
} = {}): string {
  return good(`peers: {listen: ${listen}, gates: ${gates}, ca_cert: ${cert}, ca_key: ${key}}`)
}

beforeAll(async () => {
  await makeFiles()
  const [one, other] = await Promise.all([
    certify({ subject: [{ CN: [{ utf8String: 'One' }] }] }),
    certify({ subject: [{ CN: [{ utf8String: 'Other' }] }] }),
  ])
  const between = await certify({ subject: [{ CN: [{ utf8String: 'Between' }] }], by: one })
  const files = {
    'one.crt': one.certPem,
    'one.key': one.keyPem,
    'other.crt': other.certPem,
    'next.key': other.keyPem,
    'trusted.crt': one.certPem + other.certPem,
    'between.crt': between.certPem,
    'between.key': between.keyPem,
    'chain.crt': between.certPem + one.certPem,
  }
  for (const [name, text] of Object.entries(files)) FILES[`/etc/postern/${name}`] = text
})

describe('values', () => {
  test('none, unless they are set', () => {
    expect(parse(good('')).peers).toBeUndefined()
  })

  test.each<[string, unknown[]]>([
    ["['10.0.0.2:26258']", [{ host: '10.0.0.2', port: 26258 }]],
    [
      "['[fd00::1]:1', 'gates.internal:2']",
      [
        { host: 'fd00::1', port: 1 },
        { host: 'gates.internal', port: 2 },
      ],
    ],
    ['[_peers._tcp.gates.internal]', [{ srv: '_peers._tcp.gates.internal' }]],
  ])('gates: %s', (gates, places) => {
    expect(parse(written({ gates })).peers).toMatchObject({
      listen: { host: '127.0.0.1', port: 26258 },
      gates: places,
    })
  })

  test.each([
    ['one.crt', 'one.key', 'CN=One', ['CN=One']],
    ['trusted.crt', 'one.key', 'CN=One', ['CN=One', 'CN=Other']],
    ['trusted.crt', 'next.key', 'CN=Other', ['CN=One', 'CN=Other']],
    ['chain.crt', 'between.key', 'CN=Between', ['CN=Between', 'CN=One']],
  ])('of %s %s signs, and all are believed', (cert, key, subject, trusted) => {
    const { peers } = parse(written({ cert, key }))
    const blocks = peers?.trustedPem.match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? []
    expect(blocks.map((block) => new X509Certificate(block).subject)).toEqual(trusted)
    expect(peers?.authority.subject).toBe(subject)
  })
})

describe('mistakes', () => {
  const NO_GATE =
    "is not a gate's address; write host:port, or a name with SRV records like _peers._tcp.gates.internal"
  test.each<[string, Parameters<typeof written>[0], string[]]>([
    ['no gates', { gates: '[]' }, ['9:41: name at least one gate']],
    ['one text', { gates: 'a:1' }, ['9:41: write a list, not "a:1"']],
    ['a gate without a port', { gates: '[gates.internal]' }, [`9:42: "gates.internal" ${NO_GATE}`]],
    ['port 0', { gates: "['10.0.0.2:0']" }, [`9:42: "10.0.0.2:0" ${NO_GATE}`]],
    ['half a service', { gates: '[_peers._tcp]' }, [`9:42: "_peers._tcp" ${NO_GATE}`]],
    ['too many', { gates: `[${'a:1, '.repeat(65)}]` }, ['9:41: name at most 64 gates']],
    [
      'another key',
      { key: 'next.key' },
      ['9:8: ca_key is not the key of ca_cert (of its first certificate)'],
    ],
    [
      'no root',
      { cert: 'between.crt', key: 'between.key' },
      [
        '9:70: between.crt ends in no root (a CA that signed itself), and other gates are known by it; add it',
      ],
    ],
    [
      'no CA',
      { cert: 'text.pem', key: 'text.pem' },
      [
        '9:70: text.pem is not a certificate in PEM (-----BEGIN CERTIFICATE-----)',
        '9:88: text.pem is not a private key in PEM (-----BEGIN PRIVATE KEY-----)',
      ],
    ],
  ])('%s', (_name, parts, mistakes) => {
    expect(told(written(parts))).toEqual(mistakes)
  })

  test('a key that others can read', () => {
    MODES['/etc/postern/one.key'] = 0o640
    expect(told(written())).toEqual(['9:87: one.key can be read by others; chmod 0600 one.key'])
    delete MODES['/etc/postern/one.key']
  })

  test('are told together with those of other sections', () => {
    const text = `${written({ cert: 'between.crt', key: 'between.key' })}workers: 0\n`
    expect(told(text).map((line) => line.slice(0, 5))).toEqual(['9:70:', '10:10'])
  })
})
