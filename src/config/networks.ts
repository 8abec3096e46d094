/**
 * Networks in CIDR form (RFC 4632, RFC 4291 section 2.3), and whether an address is in one of them.
 * Rule: an IPv4 address is the same where a socket for both families shows it as an IPv6 one.
 */
import { BlockList, isIP } from 'node:net'
import { form } from './values.ts'

export interface Network {
  address: string
  bits: number
  family: 'ipv4' | 'ipv6'
}

export interface Networks {
  /** @param address - IPv4 or IPv6, without brackets. */
  include(address: string): boolean
}

/** `10.0.0.0/8`, `fd00::/8`, or an address alone. */
export const network = form(
  'a network; write one like 10.0.0.0/8, fd00::/8, or an address',
  (text): Network | undefined => {
    const [, address = '', bits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
    const version = isIP(address)
    if (version === 0) return undefined
    const all = version === 4 ? 32 : 128
    const family = version === 4 ? 'ipv4' : 'ipv6'
    const network = { address, bits: Number(bits ?? all), family } as const
    return network.bits <= all ? network : undefined
  },
)

export function openNetworks(list: readonly Network[]): Networks {
  const blocks = new BlockList()
  for (const { address, bits, family } of list) blocks.addSubnet(address, bits, family)
  return { include: (address) => blocks.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6') }
}
