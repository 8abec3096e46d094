/**
 * The PROXY header, versions 1 and 2: what a load balancer says, before anything else, of the client
 * that it speaks for. https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 * Rule: what isn't exactly as the specification has it is refused, as soon as that is known; and
 * nobody guesses whether there is a header: the listener says so.
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import { Failure } from '../failure.ts'

/** The other end of a TCP connection. */
export interface Peer {
  /** IPv4 or IPv6, as text without brackets. */
  address: string
  port: number
}

export interface ProxyHeader {
  /** Bytes of the header; the client's own come after them. */
  size: number
  /** The client; undefined where the proxy speaks for itself, or doesn't know. */
  value: Peer | undefined
}

const V1_START = Buffer.from('PROXY ')
const V1_BYTES_MAX = 107
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V2_HEAD_BYTES = 16
/** Of addresses and TLVs: more than any proxy sends, a client's whole certificate among them. */
const V2_REST_BYTES_MAX = 4_096
export const PROXY_HEADER_BYTES_MAX = V2_HEAD_BYTES + V2_REST_BYTES_MAX

/**
 * @param bytes - all that has arrived so far.
 * @returns undefined until the header is whole.
 * @throws Failure `proxy_header`
 */
export function decodeProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (startsAs(bytes, V2_START)) return decodeV2(bytes)
  if (startsAs(bytes, V1_START)) return decodeV1(bytes)
  throw invalid('there is none')
}

/** As far as the bytes go. */
function startsAs(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.compare(start, 0, length, 0, length) === 0
}

function decodeV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, V1_BYTES_MAX).indexOf('\r\n')
  if (end >= 0) return { size: end + 2, value: readLine(bytes.toString('latin1', 0, end)) }
  if (bytes.length >= V1_BYTES_MAX) throw invalid(`no line of at most ${V1_BYTES_MAX} bytes`)
  return undefined
}

function readLine(line: string): Peer | undefined {
  const [, family, source = '', destination = '', port, toPort, ...more] = line.split(' ')
  if (family === 'UNKNOWN') return undefined
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  if (isAddress === undefined) throw invalid('it is neither TCP4, TCP6 nor UNKNOWN')
  // A zone (fe80::1%eth0) is part of an address to Node alone.
  if (![source, destination].every((text) => isAddress(text) && !text.includes('%')))
    throw invalid(`an address is not ${family}`)
  if (!isPort(port) || !isPort(toPort) || more.length > 0) throw invalid('its ports are no ports')
  return peer(source, Number(port))
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

/** Bytes of both addresses and both ports, by the family and the transport in one byte. */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [0x00, 0],
  [0x01, 0],
  [0x02, 0],
  [0x10, 0],
  [0x20, 0],
  [0x30, 0],
  [0x11, 12],
  [0x12, 12],
  [0x21, 36],
  [0x22, 36],
  [0x31, 216],
  [0x32, 216],
])
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21
const LOCAL = 0x20
const PROXY = 0x21

function decodeV2(bytes: Buffer): ProxyHeader | undefined {
  if (bytes.length < V2_HEAD_BYTES) return undefined
  const command = bytes.readUInt8(12)
  if (command !== LOCAL && command !== PROXY) throw invalid('an unknown version or command')
  const restBytes = bytes.readUInt16BE(14)
  if (restBytes > V2_REST_BYTES_MAX)
    throw invalid(`${restBytes} bytes are more than ${V2_REST_BYTES_MAX}`)
  const size = V2_HEAD_BYTES + restBytes
  if (bytes.length < size) return undefined
  const header = bytes.subarray(0, size)
  // A proxy's own connection may say anything of addresses: all of that is skipped.
  return { size, value: command === PROXY ? readAddresses(header) : undefined }
}

function readAddresses(header: Buffer): Peer | undefined {
  const family = header.readUInt8(13)
  const addressBytes = ADDRESS_BYTES.get(family)
  if (addressBytes === undefined) throw invalid('an unknown family of addresses')
  const tlvs = V2_HEAD_BYTES + addressBytes
  if (header.length < tlvs) throw invalid('it is too short for its addresses')
  // What follows no addresses that we know of may be anything.
  if (addressBytes > 0) checkTlvs(header, tlvs)
  const at = V2_HEAD_BYTES
  if (family === TCP_OVER_IPV4)
    return peer(header.subarray(at, at + 4).join('.'), header.readUInt16BE(at + 8))
  if (family === TCP_OVER_IPV6)
    return peer(groups(header.subarray(at, at + 16)), header.readUInt16BE(at + 32))
  return undefined
}

const CRC32C = 0x03
const TLV_HEAD_BYTES = 3

/** They are skipped, but for the checksum. */
function checkTlvs(header: Buffer, first: number): void {
  let checksumAt = 0
  for (let at = first; at < header.length; ) {
    const value = at + TLV_HEAD_BYTES
    const end = value <= header.length ? value + header.readUInt16BE(at + 1) : Infinity
    if (end > header.length) throw invalid('a TLV ends beyond it')
    if (header[at] === CRC32C) {
      if (checksumAt > 0 || end - value !== 4) throw invalid('its checksum is no checksum')
      checksumAt = value
    }
    at = end
  }
  if (checksumAt === 0) return
  const checksum = header.readUInt32BE(checksumAt)
  if (checksum !== crc32c(header, checksumAt)) throw invalid('its checksum is wrong')
}

/** Castagnoli's CRC (RFC 9260 appendix A), with the four bytes at `hole` taken as zero. */
function crc32c(bytes: Buffer, hole: number): number {
  let crc = ~0
  for (const [at, byte] of bytes.entries()) {
    if (at < hole || at >= hole + 4) crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}

function groups(address: Buffer): string {
  return Array.from({ length: 8 }, (_, at) => address.readUInt16BE(at * 2).toString(16)).join(':')
}

/** One address has one spelling. */
function peer(address: string, port: number): Peer {
  const family = isIPv4(address) ? 'ipv4' : 'ipv6'
  return { address: new SocketAddress({ address, family }).address, port }
}

function invalid(problem: string): Failure {
  return new Failure('proxy_header', { values: { problem } })
}
