/**
 * Sign-in by certificate in a configuration file: what it needs, and what is told of a CA that can't
 * sign. What only the authority itself can be asked is in cluster/authority.test.ts.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { nodeOf } from '../../src/cluster/nodes.ts'
import { type CertifyOptions, certify } from '../support/certify.ts'
import { FILES, GOOD, MODES, makeFiles, parse, told } from '../support/config_text.ts'

const NODE = '{address: "db.test:5432", tls: {ca_file: ca.crt}}'
const SIGN_IN = 'certificate'
const MORE = '    certificate: {ca_cert: sign.crt, ca_key: sign.key}'

/** The keys of the CA begin at 9:18; its certificate's name is at 9:28, its key's at 9:46. */
function written({ node = NODE, signIn = SIGN_IN, more = MORE } = {}): string {
  const cluster = GOOD.replace('{address: /run/pg/.s.PGSQL.5432}', node).replace('peer', signIn)
  return `${cluster}${more}\n`
}

const KINDS = 'ca_key must be an ECDSA key (P-256 or P-384), or an RSA key of at least 2048 bits'
const NO_CA =
  'ca_cert is not a CA certificate (basicConstraints CA:TRUE is missing, or keyUsage forbids it)'

async function write(name: string, options: CertifyOptions = {}) {
  const { certPem, keyPem } = await certify(options)
  FILES[`/etc/postern/${name}.crt`] = certPem
  FILES[`/etc/postern/${name}.key`] = keyPem
}

const CAS: [name: string, options: CertifyOptions, problem: string | undefined][] = [
  ['sign', {}, undefined],
  ['p384', { key: { type: 'ec', curve: 'secp384r1' } }, undefined],
  ['rsa2048', { key: { type: 'rsa', bits: 2048 } }, undefined],
  ['rsa1024', { key: { type: 'rsa', bits: 1024 } }, KINDS],
  ['ed25519', { key: { type: 'ed25519' } }, KINDS],
  ['p521', { key: { type: 'ec', curve: 'secp521r1' } }, KINDS],
  ['leaf', { ca: false }, NO_CA],
  ['no-signer', { signsNothing: true }, NO_CA],
  [
    'expired',
    { notAfter: Date.parse('2024-02-29T00:00:00Z') },
    'ca_cert expired on Feb 29 00:00:00 2024 GMT',
  ],
  [
    'not-yet',
    { notBefore: Date.parse('2048-02-29T00:00:00Z') },
    'ca_cert is not valid before Feb 29 00:00:00 2048 GMT',
  ],
]

beforeAll(async () => {
  await makeFiles()
  for (const [name, options] of CAS) await write(name, options)
})

describe('a CA', () => {
  test.each(CAS)('%s', (name, _options, problem) => {
    const mistakes = problem === undefined ? [] : [`9:18: ${problem}`]
    expect(told(written({ more: MORE.replaceAll('sign.', `${name}.`) }))).toEqual(mistakes)
  })

  const NO_CERTIFICATE = 'is not a certificate in PEM (-----BEGIN CERTIFICATE-----)'
  const NO_KEY = 'is not a private key in PEM (-----BEGIN PRIVATE KEY-----)'
  const missing = (name: string) =>
    `cannot read ${name}: ENOENT: no such file or directory, open '/etc/postern/${name}'`
  test.each<[cert: string, key: string, mistakes: string[]]>([
    ['sign.crt', 'p384.key', ['9:18: ca_key is not the key of ca_cert (of its first certificate)']],
    ['sign.key', 'sign.crt', [`9:28: sign.key ${NO_CERTIFICATE}`, `9:46: sign.crt ${NO_KEY}`]],
    ['half.pem', 'sign.key', [`9:28: half.pem ${NO_CERTIFICATE}`]],
    ['empty', 'empty', [`9:28: empty ${NO_CERTIFICATE}`, `9:43: empty ${NO_KEY}`]],
    ['away.crt', 'away.key', [`9:28: ${missing('away.crt')}`, `9:46: ${missing('away.key')}`]],
    [
      'sign.crt',
      'locked.key',
      ['9:46: locked.key is a key with a passphrase; write the key without one'],
    ],
  ])('in %s, its key in %s', (cert, key, mistakes) => {
    const more = `    certificate: {ca_cert: ${cert}, ca_key: ${key}}`
    expect(told(written({ more }))).toEqual(mistakes)
  })

  test.each([0o640, 0o604, 0o601, 0o620, 0o660, 0o644, 0o777])(
    'whose key has mode %o is refused',
    (mode) => {
      MODES['/etc/postern/sign.key'] = mode
      expect(told(written())).toEqual(['9:46: sign.key can be read by others; chmod 0600 sign.key'])
      delete MODES['/etc/postern/sign.key']
    },
  )

  test.each([0o600, 0o400, 0o700])('whose key has mode %o is taken', (mode) => {
    MODES['/etc/postern/sign.key'] = mode
    MODES['/etc/postern/sign.crt'] = 0o644
    expect(told(written())).toEqual([])
    delete MODES['/etc/postern/sign.key']
  })

  test('of which everything is wrong is told of at once', () => {
    MODES['/etc/postern/rsa1024.key'] = 0o644
    expect(told(written({ more: MORE.replaceAll('sign.', 'rsa1024.') }))).toEqual([
      `9:18: ${KINDS}`,
      '9:49: rsa1024.key can be read by others; chmod 0600 rsa1024.key',
    ])
  })

  test('is never shown', () => {
    const key = FILES['/etc/postern/sign.key'] ?? ''
    const body = key.split('\n')[1] ?? ''
    expect(body.length).toBeGreaterThan(40)
    for (const more of [MORE.replace('sign.crt', 'sign.key'), MORE.replace('sign.key', 'leaf.key')])
      expect(told(written({ more })).join()).not.toContain(body)
  })
})

describe('what goes with it', () => {
  const NEEDS_TLS =
    '8:14: a certificate is shown in TLS; give the node host:port and tls: {ca_file}'
  test.each<[string, Parameters<typeof written>[0], string[]]>([
    [
      'no CA',
      { more: '' },
      ['8:14: certificate needs certificate: {ca_cert, ca_key}; make them by postern ca init'],
    ],
    ['half a CA', { more: '    certificate: {ca_cert: sign.crt}' }, ['9:18: "ca_key" is required']],
    [
      'the CA itself',
      { more: '    certificate: {ca_cert: {file: sign.crt}, ca_key: sign.key}' },
      ['9:28: write the path of the file; the gate reads the file itself'],
    ],
    ['one key too many', { more: MORE.replace('}', ', days: 3}') }, ['9:56: unknown key "days"']],
    ['a node without TLS', { node: '{address: "db.test:5432"}' }, [NEEDS_TLS]],
    ['a unix socket', { node: '{address: /run/x}' }, [NEEDS_TLS]],
    [
      'a strange sslnegotiation',
      { node: NODE.replace('ca.crt', 'ca.crt, sslnegotiation: require') },
      ['7:78: write postgres or direct, not "require"'],
    ],
    ['a CA that nobody signs with', { signIn: 'trust' }, []],
    [
      'a bad CA that nobody signs with',
      { signIn: 'trust', more: MORE.replaceAll('sign.', 'leaf.') },
      [`9:18: ${NO_CA}`],
    ],
  ])('%s', (_name, parts, mistakes) => {
    expect(told(written(parts))).toEqual(mistakes)
  })

  test.each([
    ['certificate', '', false],
    ['certificate', ', sslnegotiation: postgres', false],
    ['certificate', ', sslnegotiation: direct', true],
    ['trust', ', sslnegotiation: direct', true],
  ])('%s%s', (signIn, more, direct) => {
    const { nodes } = parse(written({ signIn, node: NODE.replace('ca.crt', `ca.crt${more}`) }))
      .clusters[0]
    const node = nodeOf(nodes.entries[0])
    expect(node).toMatchObject({ signIn, tls: { direct, serverName: 'db.test' } })
    // Where the node is to ask nothing, it is shown nothing.
    expect(node.certificates === undefined).toBe(signIn !== 'certificate')
  })
})
