/**
 * The files of config/examples/, opened as they are pasted: a test changes where the gate listens and
 * which node it signs in to, lets nobody wait who failed, and adds the CA that its issuers' certificates come from; whom the gate
 * believes stays as it is written. The providers' own host names are reached through connect_proxy.ts.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Document, isMap, parseDocument } from 'yaml'
import { type Config, parseConfig } from '../../src/config/config.ts'
import type { Outside } from '../../src/config/document.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { Failure } from '../../src/failure.ts'
import { openGate } from '../../src/gate.ts'
import { certify } from './certify.ts'
import { makeKey, tokensIn } from './tokens.ts'

const FOLDER = new URL('../../config/examples/', import.meta.url)
const DAY_MS = 86_400_000
const IN_POD = '/var/run/secrets/kubernetes.io/serviceaccount'
const CUSTOM_CA = 'server.jwt_authentication.issuers.custom_ca'

export const exampleNames = readdirSync(FOLDER).sort()

export function exampleText(name: string): string {
  return readFileSync(new URL(name, FOLDER), 'utf8')
}

/** What the examples name, by path: a certificate for the gate, CAs, keys, a pod's own files. */
export async function exampleFiles(): Promise<Record<string, string>> {
  const ca = await makeCa('The CA of the gate')
  const gate = await issue(ca, {
    cn: 'gate.example.com',
    sans: ['gate.example.com', '127.0.0.1'],
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 90 * DAY_MS),
  })
  const clients = await certify({})
  const { jwk } = await makeKey('2026-07')
  return {
    '/etc/postern/ca.crt': ca.certPem,
    '/etc/postern/gate.crt': gate.certPem,
    '/etc/postern/gate.key': gate.keyPem,
    '/etc/postern/cluster-ca.crt': ca.certPem,
    '/etc/postern/ca/ca.crt': clients.certPem,
    '/etc/postern/ca/ca.key': clients.keyPem,
    '/etc/postern/keycloak-ca.crt': ca.certPem,
    '/etc/postern/cloud-ca.crt': ca.certPem,
    '/etc/postern/cockroachdb-cloud.jwks.json': JSON.stringify({ keys: [jwk] }),
    '/etc/postern/issuer.jwks.json': JSON.stringify({ keys: [jwk] }),
    [`${IN_POD}/ca.crt`]: ca.certPem,
    [`${IN_POD}/token`]: 'a token for the API server\n',
  }
}

export function outsideWith(files: Record<string, string>, proxy?: string): Outside {
  return {
    env: (name) => (name === 'HTTPS_PROXY' ? proxy : undefined),
    fileMode: () => 0o600,
    now: Date.now,
    readFile(path) {
      const text = files[path]
      if (text === undefined) throw new Error('no such file')
      return text
    },
  }
}

export interface ExampleOptions {
  /** Keys of the cluster's section: the node, and how to sign in to it. */
  cluster: Record<string, unknown>
  /** Over those of `exampleFiles`. */
  files?: Record<string, string>
  /** Takes the place of the public CAs, where the example names none of its own. */
  issuerCaPem?: string
  proxy?: string
  now?: () => number
}

export interface OpenExample {
  port: number
  caPem: string
  config: Config
  /** What the gate reads, by path. */
  files: Record<string, string>
  audit: Record<string, unknown>[]
  log: Record<string, unknown>[]
  /** Also asserts that no line has a token in it. */
  close(): Promise<void>
}

export async function openExample(name: string, options: ExampleOptions): Promise<OpenExample> {
  const files = { ...(await exampleFiles()), ...options.files }
  const document = parseDocument(exampleText(name))
  document.setIn(['listeners', 0, 'address'], '127.0.0.1:0')
  // Whom it keeps out is tried one after the other.
  document.setIn(['limits', 'failed_login_delay'], '0s')
  for (const [key, value] of Object.entries(options.cluster))
    document.setIn(['clusters', 'main', key], document.createNode(value))
  if (options.cluster['sign_in'] !== undefined)
    document.deleteIn(['clusters', 'main', 'certificate'])
  if (options.issuerCaPem !== undefined && !namesCa(document))
    document.setIn(['clusters', 'main', CUSTOM_CA], options.issuerCaPem)
  const outside = { ...outsideWith(files, options.proxy), now: options.now ?? Date.now }
  const config = parseConfig(`/etc/postern/${name}`, String(document), outside)
  const [audit, log] = [keepLines(), keepLines()]
  const gate = await openGate(config, {
    version: '0.0.0-test',
    now: outside.now,
    watch: () => () => undefined,
    logTo: log.stream,
    auditTo: audit.stream,
  })
  const [bound] = gate.addresses
  return {
    port: bound !== undefined && 'port' in bound ? bound.port : 0,
    caPem: files['/etc/postern/ca.crt'] ?? '',
    config,
    files,
    audit: audit.lines,
    log: log.lines,
    async close() {
      await gate.close(new Failure('shutting_down'))
      expect(tokensIn(JSON.stringify([audit.lines, log.lines]))).toEqual([])
    },
  }
}

function namesCa(document: Document): boolean {
  const options = document.getIn(['clusters', 'main', 'issuer_options'])
  if (!isMap(options)) return false
  return options.items.some(({ value }) => isMap(value) && value.has('custom_ca'))
}

function keepLines() {
  const lines: Record<string, unknown>[] = []
  return { lines, stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
}
