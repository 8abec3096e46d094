/**
 * Configuration files for tests, with what they name outside: read to a Config, or to what is told of
 * their mistakes.
 */
import { expect } from 'vitest'
import { type Config, parseConfig } from '../../src/config/config.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { Failure } from '../../src/failure.ts'
import { ec, jwk } from './forge.ts'

export const FILES: Record<string, string> = {
  '/etc/postern/empty': '',
  '/etc/postern/audience': 'from-a-file\n',
  '/etc/postern/sub/map': 'iss a b\r\n',
  '/etc/postern/literal': `\${env:SECRET} {file: audience}\n`,
  '/etc/postern/text.pem': 'not PEM\n',
  '/etc/postern/half.pem': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
}
/** Of files that others may look into. */
export const MODES: Record<string, number> = {}
export const ENV: Record<string, string> = {
  NAME: 'from-the-environment',
  SECRET: 's3cret',
  EMPTY: '',
}
export const KEY = jwk(ec('P-256'), { kid: 'k' })

/** Certificates among the files, for a `beforeAll`. */
export async function makeFiles(): Promise<void> {
  const ca = await makeCa()
  const [one, two] = await Promise.all([issue(ca, { cn: 'one' }), issue(ca, { cn: 'two' })])
  Object.assign(FILES, {
    '/etc/postern/gate.crt': one.certPem,
    '/etc/postern/gate.key': one.keyPem,
    '/etc/postern/other.key': two.keyPem,
    '/etc/postern/chain.crt': one.certPem + ca.certPem,
    '/etc/postern/broken-chain.crt': `${one.certPem}${FILES['/etc/postern/half.pem']}`,
    '/etc/postern/locked.key': one.keyPem.replaceAll('PRIVATE KEY', 'ENCRYPTED PRIVATE KEY'),
    '/etc/postern/ca.crt': ca.certPem,
  })
}

export function parse(text: string): Config {
  return parseConfig('/etc/postern/postern.yaml', text, {
    env: (name) => ENV[name],
    fileMode: (path) => MODES[path] ?? 0o600,
    now: Date.now,
    readFile(path) {
      const found = FILES[path]
      if (found === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`)
      return found
    },
  })
}

/** One line a mistake, without the name of the file. */
export function told(text: string): string[] {
  try {
    parse(text)
    return []
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    expect([thrown.code, thrown.row.exit]).toEqual(['config_invalid', 2])
    return thrown.message.split('\n').map((line) => {
      expect(line).toMatch(/^\/etc\/postern\/postern\.yaml:\d+:\d+: /)
      return line.slice('/etc/postern/postern.yaml:'.length)
    })
  }
}

/** A file without mistakes. More keys of the cluster, or of the file, are written from line 9 on. */
export const GOOD = `listeners:
  - address: 127.0.0.1:26257
    tls: {cert_file: gate.crt, key_file: gate.key}
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/pg/.s.PGSQL.5432}]
    sign_in: peer
`
export const good = (more: string) => `${GOOD}${more}\n`
export const ISSUER = `    server.jwt_authentication.issuers.configuration: https://iss.test`
