/**
 * Networks in CIDR form (RFC 4632, RFC 4291 section 2.3), and what is said of them, found by an address: one
 * look-up for each length of prefix that occurs, however many networks there are.
 * Rule: an IPv4 address is one however a socket shows it (::ffff:192.0.2.7), and it is in IPv4 networks alone.
 */
import { isIP, SocketAddress } from 'node:net'
import { putUnder, takeFrom } from './multimap.ts'

export interface Network {
  address: string
  bits: number
  family: 'ipv4' | 'ipv6'
}

export interface Networks {
  /** @param address - IPv4 or IPv6, without brackets. */
  include(address: string): boolean
}

export interface NetworkTable<T> {
  put(network: Network, value: T): void
  /** One of those that were put there, if there is one. */
  remove(network: Network, isIt: (value: T) => boolean): void
  /** What is said of the networks that the address is in, the smallest first: the first that will do. */
  find(address: string, willDo: (value: T) => boolean): T | undefined
}

/** @param text - `10.0.0.0/8`, `fd00::/8`, or an address alone. */
export function readNetwork(text: string): Network | undefined {
  const [, address = '', bits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const all = version === 4 ? 32 : 128
  const family = version === 4 ? 'ipv4' : 'ipv6'
  const network = { address, bits: Number(bits ?? all), family } as const
  return network.bits <= all ? network : undefined
}

/** In the one spelling that each network has: without the bits of a host, and an address alone as itself. */
export function networkText(network: Network): string {
  const { bytes, bits } = placeOf(network)
  const masked = Buffer.alloc(bytes.length)
  masked.write(prefixOf(bytes, bits), 'latin1')
  const address = masked.length === 4 ? masked.join('.') : ipv6Text(masked)
  return bits === 8 * bytes.length ? address : `${address}/${bits}`
}

export function openNetworks(list: readonly Network[]): Networks {
  const table = openNetworkTable<true>()
  for (const each of list) table.put(each, true)
  return { include: (address) => table.find(address, () => true) === true }
}

/** Networks of one length, by their first bits. */
interface Level<T> {
  bits: number
  byPrefix: Map<string, T[]>
}

export function openNetworkTable<T>(): NetworkTable<T> {
  /** By the size of an address, the longest prefix first. */
  const levels: Record<number, Level<T>[]> = { 4: [], 16: [] }
  return {
    put(network, value) {
      const { bytes, bits } = placeOf(network)
      const ofSize = levels[bytes.length] ?? []
      let level = ofSize.find((each) => each.bits === bits)
      if (level === undefined) {
        level = { bits, byPrefix: new Map() }
        ofSize.push(level)
        ofSize.sort((one, other) => other.bits - one.bits)
      }
      putUnder(level.byPrefix, prefixOf(bytes, bits), value)
    },
    remove(network, isIt) {
      const { bytes, bits } = placeOf(network)
      const ofSize = levels[bytes.length] ?? []
      const at = ofSize.findIndex((each) => each.bits === bits)
      const level = ofSize[at]
      if (level === undefined) return
      takeFrom(level.byPrefix, prefixOf(bytes, bits), isIt)
      if (level.byPrefix.size === 0) ofSize.splice(at, 1)
    },
    find(address, willDo) {
      const bytes = addressBytes(address)
      if (bytes === undefined) return undefined
      for (const { bits, byPrefix } of levels[bytes.length] ?? []) {
        const found = byPrefix.get(prefixOf(bytes, bits))?.find(willDo)
        if (found !== undefined) return found
      }
      return undefined
    },
  }
}

/** Of a network that is IPv4 written as IPv6, that of the IPv4 network. */
function placeOf({ address, bits }: Network): { bytes: Buffer; bits: number } {
  const bytes = writtenBytes(address)
  const mapped = bits >= 96 && isMapped(bytes)
  return mapped ? { bytes: bytes.subarray(12), bits: bits - 96 } : { bytes, bits }
}

/** Four, or sixteen; undefined for what is no address. A zone (`%eth0`) says nothing of it. */
function addressBytes(address: string): Buffer | undefined {
  const [itself = ''] = address.split('%')
  if (isIP(itself) === 0) return undefined
  const bytes = writtenBytes(itself)
  return isMapped(bytes) ? bytes.subarray(12) : bytes
}

function writtenBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [before = '', after = ''] = address.split('::')
  const [first, last] = [groups(before), groups(after)]
  const zeros = Array<number>(8 - first.length - last.length).fill(0)
  const bytes = Buffer.alloc(16)
  for (const [at, group] of [...first, ...zeros, ...last].entries())
    bytes.writeUInt16BE(group, 2 * at)
  return bytes
}

/** The last two may be written as an IPv4 address. */
function groups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number)
    return [a * 256 + b, c * 256 + d]
  })
}

const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

function isMapped(bytes: Buffer): boolean {
  return bytes.length === 16 && bytes.compare(MAPPED, 0, 12, 0, 12) === 0
}

/** The first bits, as text to look up by. */
function prefixOf(bytes: Buffer, bits: number): string {
  const whole = bits >> 3
  const text = bytes.toString('latin1', 0, whole)
  const rest = bits & 7
  if (rest === 0) return text
  return text + String.fromCharCode((bytes[whole] ?? 0) & (0xff00 >> rest) & 0xff)
}

function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16))
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address
}
