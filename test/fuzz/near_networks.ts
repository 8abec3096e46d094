/**
 * Clients' addresses and networks that are near each other, and a second reading of who is in which, by
 * numbers.
 */
import { isIP, SocketAddress } from 'node:net'
import fc from 'fast-check'
import { numberOf } from './issuer_targets.ts'
import { anyJson, nearlyText, oddNumber } from './made_up.ts'

/** Few of them, so that clients are often in one; and anywhere. */
export const place = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...['10.1.2.3', '10.1.2.4', '10.1.3.0', '10.255.0.0', '192.0.2.7', '0.0.0.0', '127.0.0.1'],
      ...['fd00::1', 'FD00:0::1', 'fd00::1:0', 'fd00:0:0:1::1', 'fe80::1', '::', '::1'],
    ),
  },
  { weight: 1, arbitrary: fc.oneof(fc.ipV4(), fc.ipV6()) },
)

const prefix = fc.oneof(
  fc.constantFrom('', '', '/0', '/8', '/16', '/24', '/31', '/32'),
  fc.nat(32).map((bits) => `/${bits}`),
)
const longPrefix = fc.oneof(
  fc.constantFrom('', '', '/0', '/8', '/48', '/64', '/95', '/96', '/127', '/128'),
  fc.nat(128).map((bits) => `/${bits}`),
)

/** Of an address, of either family, as IPv4 in its IPv6 form as well. */
const goodNetwork = fc
  .tuple(place, prefix, longPrefix, fc.nat(9))
  .map(([address, short, long, how]) => {
    if (isIP(address) === 6) return address + long
    return how === 0 ? `::ffff:${address}${long}` : address + short
  })
export const networkText = fc.oneof(
  { weight: 30, arbitrary: goodNetwork },
  { weight: 1, arbitrary: nearlyText(goodNetwork, ['/', '%', '.', ':', '0', '-', ' ', '::ffff:']) },
)

/** As a socket spells it. */
export function spelled(address: string): string {
  return new SocketAddress({ address, family: isIP(address) === 4 ? 'ipv4' : 'ipv6' }).address
}

/** Of clients: also IPv4 on a socket for both families, and with a zone; undefined on a unix socket. */
export const clientAddress = fc.tuple(place, fc.nat(9)).map(([address, how]) => {
  if (how === 0) return undefined
  const own = spelled(address)
  if (how === 1 && isIP(own) === 4) return `::ffff:${own}`
  return how === 1 && own.startsWith('fe80') ? `${own}%eth0` : own
})

interface Block {
  isIpv4: boolean
  first: bigint
  shift: bigint
}

/** Undefined for what is no network. */
export function blockOf(text: string): Block | undefined {
  const [address = '', bits, ...more] = text.split('/')
  const number = numberOf(address)
  if (more.length > 0 || address.includes('%') || number === undefined) return undefined
  const all = isIP(address) === 4 ? 32 : 128
  if (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > all)) return undefined
  const shift = all - Number(bits ?? all)
  const isIpv4 = shift <= 32 && isMapped(number)
  return { isIpv4, first: number >> BigInt(shift), shift: BigInt(shift) }
}

/** IPv4 is in networks of IPv4 alone, however either is written. */
export function isIn(network: string, client: string): boolean {
  const [block, number] = [blockOf(network), numberOf(client)]
  if (block === undefined || number === undefined) return false
  return block.isIpv4 === isMapped(number) && number >> block.shift === block.first
}

function isMapped(number: bigint): boolean {
  return number >> 32n === 0xffffn
}

/** Something else, somewhere in it. */
export function wrongSomewhere(right: fc.Arbitrary<object>): fc.Arbitrary<unknown> {
  const odd = fc.oneof(anyJson(['ips', 'item', 'type', 'entity', 'action', 'user']), oddNumber)
  return fc
    .tuple(right, fc.array(fc.nat(9), { maxLength: 4 }), odd)
    .map(([whole, steps, value]) => put(whole, steps, value))
}

function put(whole: unknown, [step = 0, ...rest]: number[], value: unknown): unknown {
  if (typeof whole !== 'object' || whole === null) return value
  const keys = Object.keys(whole)
  const key = keys[step % (keys.length || 1)] ?? 'x'
  const inner = (whole as Record<string, unknown>)[key]
  const next = rest.length === 0 ? value : put(inner, rest, value)
  return Array.isArray(whole)
    ? whole.toSpliced(Number(key) || 0, 1, next)
    : { ...whole, [key]: next }
}
