/**
 * Addresses that the gate never fetches from, whatever a URL or the DNS says: those by which a machine
 * in a cloud learns its own credentials, and those that are nobody's. Private networks and loopback are
 * allowed: issuers live there. https://www.iana.org/assignments/iana-ipv4-special-registry
 * Rule: an IPv4 address is judged the same inside of every IPv6 form that may lead to it.
 */
import { BlockList, isIP } from 'node:net'

type Subnet = readonly [network: string, bits: number]

const REFUSED_IPV4: readonly Subnet[] = [
  ['0.0.0.0', 8], // This network; Linux takes 0.0.0.0 for itself.
  ['169.254.0.0', 16], // Link-local, and there the metadata of most clouds.
  ['100.100.100.200', 32], // Alibaba's metadata.
  ['168.63.129.16', 32], // Azure's wire server.
  ['192.0.0.192', 32], // Oracle's metadata.
  ['224.0.0.0', 4], // Multicast.
  ['255.255.255.255', 32], // Broadcast.
]

const REFUSED_IPV6: readonly Subnet[] = [
  ['::', 128], // Unspecified.
  ['fe80::', 10], // Link-local.
  ['fd00:ec2::', 32], // AWS's own services, with its metadata.
  ['fd20:ce::254', 128], // Google's metadata.
  ['ff00::', 8], // Multicast.
  ['64:ff9b:1::', 48], // NAT64 of one's own (RFC 8215): where in it the IPv4 address is, nobody knows.
  ['2001::', 32], // Teredo (RFC 4380), which hides one.
]

/** In front of an IPv4 address: IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765), NAT64 (RFC 6052). */
const PREFIXES_96 = ['::', '::ffff:0:', '64:ff9b::']

const refused = new BlockList()
for (const [network, bits] of REFUSED_IPV6) refused.addSubnet(network, bits, 'ipv6')
for (const [network, bits] of REFUSED_IPV4) {
  // A list finds IPv4-mapped addresses (::ffff:0:0/96) by itself, and none of the other forms.
  refused.addSubnet(network, bits, 'ipv4')
  for (const prefix of PREFIXES_96) refused.addSubnet(`${prefix}${network}`, 96 + bits, 'ipv6')
  refused.addSubnet(sixToFour(network), 16 + bits, 'ipv6')
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Names of metadata servers, which a proxy would resolve where we don't see it. */
const REFUSED_NAMES = ['metadata.google.internal', 'metadata.goog', 'instance-data.ec2.internal']

/** @param address - an IPv4 or IPv6 address, without brackets; what is none is refused. */
export function isRefusedAddress(address: string): boolean {
  const family = familyOf(address)
  // ::1 lies among the IPv4-compatible ones.
  return family === undefined || (!isLoopback(address) && refused.check(address, family))
}

/** @param host - a name or an address, lower-case and without brackets, as a URL has it. */
export function isRefusedHost(host: string): boolean {
  return isIP(host) ? isRefusedAddress(host) : REFUSED_NAMES.includes(host.replace(/\.$/, ''))
}

export function isLoopback(address: string): boolean {
  const family = familyOf(address)
  return family !== undefined && loopback.check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' | undefined {
  return ({ 4: 'ipv4', 6: 'ipv6' } as const)[isIP(address)]
}

/** RFC 3056: the address follows 2002::/16. */
function sixToFour(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number)
  return `2002:${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}::`
}
