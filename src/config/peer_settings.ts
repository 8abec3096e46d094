/**
 * `peers` in the configuration file: where this gate listens for other ones, and where those are.
 * Rule: a host and a port, or a name with SRV records (RFC 2782), which have both.
 */
import { z } from 'zod'
import { fileName, form, type HostPort, hostPort, parseHostPort } from './values.ts'

/** A host's name stands for all gates that it has addresses of. */
export type PeerGate = HostPort | { srv: string }

const SERVICE = /^(?=.{1,253}$)_[A-Za-z0-9-]+\._tcp(?:\.[A-Za-z0-9_-]{1,63})+\.?$/

const gate = form(
  "a gate's address; write host:port, or a name with SRV records like _peers._tcp.gates.internal",
  (text): PeerGate | undefined => (SERVICE.test(text) ? { srv: text } : reachable(text)),
)

export const peers = z.strictObject({
  listen: hostPort,
  gates: z.array(gate).min(1, 'name at least one gate').max(64, 'name at most 64 gates'),
  ca_cert: fileName,
  ca_key: fileName,
})

export type PeersSection = z.output<typeof peers>

function reachable(text: string): HostPort | undefined {
  const found = parseHostPort(text)
  return found?.port === 0 ? undefined : found
}
