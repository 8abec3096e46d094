/** Which certificates a configuration names, by which key, and when each ends. */
import { beforeAll, describe, expect, it } from 'vitest'
import { certificateEnds } from '../../src/config/certificates.ts'
import { parseConfig } from '../../src/config/config.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { certify, type Issued } from '../support/certify.ts'

const DAY_MS = 86_400_000
const NOW_MS = Date.UTC(2026, 0, 1)
const inDays = (days: number) => NOW_MS + days * DAY_MS

let files: Record<string, string>
beforeAll(async () => {
  const ca = await makeCa('Nodes')
  const server = (cn: string, days: number) =>
    issue(ca, { cn, sans: [cn], notAfter: new Date(inDays(days)) })
  const authority = (days: number, by?: Issued) =>
    certify({ notAfter: inDays(days), ...(by && { by }) })
  const [gate, other, renewed] = await Promise.all([
    server('gate.test', 40),
    server('other.test', 30),
    server('renewed.test', 400),
  ])
  const [own, old, fresh] = await Promise.all([authority(700), authority(10), authority(900)])
  files = {
    'gate.crt': gate.certPem,
    'gate.key': gate.keyPem,
    'other.crt': other.certPem,
    'other.key': other.keyPem,
    'renewed.crt': renewed.certPem,
    'nodes.crt': ca.certPem,
    'own.crt': own.certPem,
    'own.key': own.keyPem,
    'both.crt': `${old.certPem}${fresh.certPem}`,
    'both.key': old.keyPem,
  }
})

function parse() {
  const node = (address: string) => ({ address, tls: { ca_file: 'nodes.crt' } })
  const issuer = 'https://issuer.test'
  const text = JSON.stringify({
    listeners: [
      {
        address: '127.0.0.1:0',
        tls: {
          cert_file: 'gate.crt',
          key_file: 'gate.key',
          certificates: [{ cert_file: 'other.crt', key_file: 'other.key' }],
          client_ca_file: 'both.crt',
        },
      },
      { directory: '/run/postern' },
    ],
    clusters: {
      main: {
        kind: 'postgresql',
        nodes: [node('db-1.test:5432'), node('db-2.test:5432')],
        sign_in: 'certificate',
        certificate: { ca_cert: 'own.crt', ca_key: 'own.key' },
        'server.jwt_authentication.issuers.configuration': issuer,
        'server.jwt_authentication.issuers.custom_ca': files['both.crt'],
        issuer_options: { [issuer]: { custom_ca: files['own.crt'] } },
      },
    },
    peers: {
      listen: '127.0.0.1:26258',
      gates: ['gates.test:26258'],
      ca_cert: 'both.crt',
      ca_key: 'both.key',
    },
  })
  return parseConfig('/etc/postern/postern.yaml', text, {
    env: () => undefined,
    fileMode: () => 0o600,
    now: () => NOW_MS,
    readFile(path) {
      const found = files[path.replace('/etc/postern/', '')]
      if (found === undefined) throw new Error('no such file')
      return found
    },
  })
}

const shown = ({ certificates }: ReturnType<typeof parse>) =>
  certificateEnds(certificates).map(({ key, file, subject, endsMs }) => [
    key,
    file,
    subject,
    Math.round((endsMs - NOW_MS) / DAY_MS),
  ])

const JWT = 'clusters.main.server.jwt_authentication'

it('the next one to end comes first, and one file is named once', () => {
  expect(shown(parse())).toEqual([
    ['listeners[0].tls.certificates[0].cert_file', 'other.crt', 'other.test', 30],
    ['listeners[0].tls.cert_file', 'gate.crt', 'gate.test', 40],
    ['clusters.main.certificate.ca_cert', 'own.crt', 'An authority', 700],
    ['clusters.main.issuer_options.https://issuer.test.custom_ca', '', 'An authority', 700],
    // Of two that are trusted the later one; it is also peers.ca_cert.
    ['listeners[0].tls.client_ca_file', 'both.crt', 'An authority', 900],
    [`${JWT}.issuers.custom_ca`, '', 'An authority', 900],
    ['clusters.main.nodes[0].tls.ca_file', 'nodes.crt', 'Nodes', expect.any(Number)],
  ])
})

describe('when the files change', () => {
  it('a listener’s certificates are new ones, and the others those that are in use', () => {
    const config = parse()
    const before = shown(config)
    const { 'gate.crt': gate = '', 'nodes.crt': nodes = '', 'renewed.crt': renewed = '' } = files
    Object.assign(files, { 'gate.crt': renewed, 'nodes.crt': renewed })
    const after = shown(config)
    Object.assign(files, { 'gate.crt': gate, 'nodes.crt': nodes })
    expect(after.map(([key]) => key).toSorted()).toEqual(before.map(([key]) => key).toSorted())
    expect(after).toContainEqual(['listeners[0].tls.cert_file', 'gate.crt', 'renewed.test', 400])
    expect(after.at(-1)).toEqual(before.at(-1))
  })

  it.each([
    ['is gone', undefined],
    ['is none any more', 'half a certif'],
  ])('one that %s leaves what was there', (_what, text) => {
    const config = parse()
    const before = shown(config)
    const { 'gate.crt': gate = '' } = files
    if (text === undefined) delete files['gate.crt']
    else files['gate.crt'] = text
    const after = shown(config)
    files['gate.crt'] = gate
    expect(after).toEqual(before)
  })
})
