/** Gates that know each other: their authority, what each has in its configuration, and the cancels that they hear. */
import {
  issueGateLeaf,
  issueLeaf,
  keyPem,
  makeLeafKey,
  openAuthority,
} from '../../src/cluster/authority.ts'
import { openNames } from '../../src/cluster/node_names.ts'
import type { PeerGate } from '../../src/config/peer_settings.ts'
import type { PeersConfig } from '../../src/config/peers.ts'
import type { CertificateAndKey } from '../../src/dev/certificates.ts'
import { type Gates, type GatesParts, openGates } from '../../src/gates/gates.ts'
import type { Metric } from '../../src/peers/messages.ts'

/** The files of `peersOf`, as a test's gate has them. */
export function peerFiles({ certPem, keyPem }: CertificateAndKey): Record<string, string> {
  return { 'peers-ca.crt': certPem, 'peers-ca.key': keyPem }
}

/** The section of a gate that listens at one port of loopback, and knows of others. */
export function peersOf(port: number, ...others: number[]): Record<string, unknown> {
  return {
    listen: `127.0.0.1:${port}`,
    gates: others.map((other) => `127.0.0.1:${other}`),
    ca_cert: 'peers-ca.crt',
    ca_key: 'peers-ca.key',
  }
}

/** @param trustedPem - more authorities than the one that signs. */
export function peersConfig(
  ca: CertificateAndKey,
  gates: readonly PeerGate[],
  { port = 0, trustedPem = '' } = {},
): PeersConfig {
  return {
    listen: { host: '127.0.0.1', port },
    gates,
    authority: open(ca),
    trustedPem: ca.certPem + trustedPem,
  }
}

function open({ certPem, keyPem }: CertificateAndKey) {
  const opened = openAuthority(certPem, keyPem, Date.now())
  if (!opened.ok) throw new Error(opened.problem)
  return opened.authority
}

/** What an authority signs, as TLS takes it: for a gate, or for a role with a gate's name. */
export async function leafOf(ca: CertificateAndKey, whose: 'gate' | 'role') {
  const pair = await makeLeafKey()
  const authority = open(ca)
  const leaf =
    whose === 'gate'
      ? await issueGateLeaf(authority, pair, Date.now())
      : await issueLeaf(authority, 'urn:postern:peer', pair, Date.now())
  return { cert: leaf.certPem, key: await keyPem(pair) }
}

export interface OtherGate extends Gates {
  port: number
  /** What it was told: the key in base64url, and where the cancel came from. */
  heard: [key: string, from: string][]
  /** What it counted, as `name result`. */
  counted: string[]
  log: { level: string; what: string; gate?: unknown }[]
}

/** One that has no sessions: by itself it knows no key. */
export async function startOtherGate(
  config: PeersConfig,
  { found = async () => false, ...parts }: Partial<GatesParts & { found(): Promise<boolean> }> = {},
): Promise<OtherGate> {
  const counted: string[] = []
  const log: OtherGate['log'] = []
  const heard: OtherGate['heard'] = []
  const keep = (level: string) => (about: object | string, text?: string) =>
    typeof about === 'string'
      ? void log.push({ level, what: about })
      : void log.push({ level, ...about, what: text ?? '' })
  const gates = await openGates(config, {
    now: Date.now,
    count: (metric: Metric) =>
      void counted.push('result' in metric ? `${metric.name} ${metric.result}` : metric.name),
    names: openNames(),
    log: { warn: keep('warn'), error: keep('error') } as unknown as GatesParts['log'],
    ...parts,
  })
  const door = await gates.listen(async (key, from) => {
    heard.push([key.toString('base64url'), from])
    return await found()
  })
  return { ...gates, port: door?.port ?? 0, heard, counted, log }
}
