/**
 * The four packets that come without a type byte: SSLRequest, GSSENCRequest, CancelRequest and
 * StartupMessage. https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-START-UP
 * Rule: a name that is given twice, or is not UTF-8, is refused; nobody has to guess which counts.
 */
import { Failure } from '../failure.ts'

/** PostgreSQL's MAX_STARTUP_PACKET_LENGTH and its length word. */
export const STARTUP_BYTES_MAX = 10_004

const CANCEL_REQUEST = 80877102
const SSL_REQUEST = 80877103
const GSSENC_REQUEST = 80877104
/** Process id and secret: four bytes each before 3.2, up to 256 for the secret since. */
const CANCEL_KEY_BYTES_MIN = 8
const CANCEL_KEY_BYTES_MAX = 4 + 256

/** The newest minor version of protocol 3 that the gate speaks to clients. */
export const MINOR_MAX = 2

export type StartupPacket =
  | { kind: 'ssl' }
  | { kind: 'gssenc' }
  | { kind: 'cancel'; key: Buffer }
  | { kind: 'startup'; startup: Startup }

export interface Startup {
  /** The minor version of protocol 3 that the client asks for. */
  minor: number
  user: string
  /** As sent; undefined where the client left it to the server. */
  database: string | undefined
  options: string | undefined
  replication: string | undefined
  /** Every other parameter, in the order sent. */
  parameters: Map<string, string>
}

/** @param packet - without its length, as `Framing.packet` gives it. */
export function decodeStartup(packet: Buffer): StartupPacket {
  const code = packet.readUInt32BE(0)
  if (code === SSL_REQUEST && packet.length === 4) return { kind: 'ssl' }
  if (code === GSSENC_REQUEST && packet.length === 4) return { kind: 'gssenc' }
  if (code === CANCEL_REQUEST) return decodeCancel(packet)
  if (code >>> 16 !== 3) throw unsupportedProtocol(code)
  return { kind: 'startup', startup: decodeParameters(packet) }
}

/** What PostgreSQL answers to a version that it doesn't speak; a second SSLRequest is one, too. */
export function unsupportedProtocol(code: number): Failure {
  return new Failure('unsupported_protocol', {
    values: { version: `${code >>> 16}.${code & 0xffff}` },
  })
}

export function protocolCode(packet: 'ssl' | 'gssenc'): number {
  return packet === 'ssl' ? SSL_REQUEST : GSSENC_REQUEST
}

function decodeCancel(packet: Buffer): StartupPacket {
  const key = packet.subarray(4)
  // Who cancels is never answered, right or wrong.
  if (key.length < CANCEL_KEY_BYTES_MIN || key.length > CANCEL_KEY_BYTES_MAX)
    throw new Failure('not_postgres', { log: 'a cancel key of the wrong length' })
  return { kind: 'cancel', key: Buffer.from(key) }
}

function decodeParameters(packet: Buffer): Startup {
  const parameters = new Map<string, string>()
  let at = 4
  while (at < packet.length && packet[at] !== 0) {
    const nameEnd = endOfString(packet, at)
    const valueEnd = endOfString(packet, nameEnd + 1)
    const name = text(packet.subarray(at, nameEnd))
    if (parameters.has(name)) throw invalid('a parameter was given twice')
    parameters.set(name, text(packet.subarray(nameEnd + 1, valueEnd)))
    at = valueEnd + 1
  }
  if (at !== packet.length - 1) throw invalid('expected terminator as last byte')
  const take = (name: string) => {
    const value = parameters.get(name)
    parameters.delete(name)
    return value
  }
  const user = take('user') ?? ''
  if (user === '') throw new Failure('no_user')
  return {
    minor: packet.readUInt16BE(2),
    user,
    database: take('database') || undefined,
    options: take('options'),
    replication: take('replication'),
    parameters,
  }
}

function endOfString(packet: Buffer, from: number): number {
  const end = packet.indexOf(0, from)
  if (end < 0) throw invalid('expected terminator as last byte')
  return end
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function text(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw invalid('a parameter is not UTF-8')
  }
}

function invalid(problem: string): Failure {
  return new Failure('invalid_startup', { values: { problem } })
}
