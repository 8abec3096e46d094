/**
 * The node's side of a sign-in: what it says, read by pg-protocol behind our names, and what the
 * gate says to it. https://www.postgresql.org/docs/18/protocol-message-formats.html
 * Rule: pg-protocol gets one whole message at a time, and only one whose strings end inside it: its
 * readers look for a closing NUL without a bound, and a node is not to be trusted with our loop.
 */
import type {
  BackendMessage,
  DatabaseError,
  ReadyForQueryMessage,
} from 'pg-protocol/dist/messages.js'
import { Parser } from 'pg-protocol/dist/parser.js'
import { Failure } from '../failure.ts'
import type { Secret } from '../secret.ts'
import { message, packet } from './encode.ts'
import type { Frame } from './framing.ts'

const SSL_REQUEST = 80877103
const CANCEL_REQUEST = 80877102
const PROTOCOL_3_0 = 3 << 16

export const sslRequest = packet(SSL_REQUEST)
export const terminate = message('X')

export type NodeMessage =
  | { kind: 'authenticationOk' | 'parameterStatus' | 'notice' | 'negotiate' }
  | { kind: 'cleartextPassword' }
  | { kind: 'sasl'; mechanisms: readonly string[] }
  | { kind: 'saslContinue' | 'saslFinal'; data: string }
  | { kind: 'unsupportedAuthentication'; method: string }
  | { kind: 'backendKeyData'; key: Buffer }
  | { kind: 'readyForQuery'; status: string }
  | { kind: 'error'; refusal: NodeRefusal }

/** A node's own refusal, in its words. */
export interface NodeRefusal {
  sqlstate: string
  message: string
}

/** @returns undefined for a message that has no place in a sign-in. */
export function decodeNodeMessage(frame: Frame): NodeMessage | undefined {
  const type = String.fromCharCode(frame.type)
  if (type === 'v') return { kind: 'negotiate' }
  const shape = SHAPES[type]
  if (shape === undefined) return undefined
  if (!shape(frame.body)) throw new Failure('node_protocol', { log: `malformed '${type}' message` })
  if (type === 'R' && !(frame.body.readInt32BE(0) in AUTHENTICATION_SHAPES))
    return { kind: 'unsupportedAuthentication', method: `type ${frame.body.readInt32BE(0)}` }
  return named(parse(frame.whole), frame)
}

/** StartupMessage of protocol 3.0, with the parameters in the order given. */
export function startupMessage(parameters: Iterable<readonly [string, string]>): Buffer {
  const strings: string[] = []
  for (const [name, value] of parameters) strings.push(name, value)
  return packet(PROTOCOL_3_0, ...strings, Buffer.from([0]))
}

/** The answer to a node that asks for the token; the caller wipes it once it is written. */
export function passwordMessage(token: Secret): Buffer {
  return message('p', token.reveal())
}

/** The mechanism that was chosen of those that the node has, and its first message. */
export function saslInitialResponse(mechanism: string, response: Buffer): Buffer {
  return message('p', mechanism, response.length, response)
}

export function saslResponse(response: Buffer): Buffer {
  return message('p', response)
}

/** @param key - process id and secret key, as the node's BackendKeyData gave them. */
export function cancelRequest(key: Buffer): Buffer {
  return packet(CANCEL_REQUEST, key)
}

function named(said: BackendMessage, frame: Frame): NodeMessage | undefined {
  switch (said.name) {
    case 'authenticationOk':
    case 'parameterStatus':
    case 'notice':
      return { kind: said.name }
    case 'authenticationCleartextPassword':
      return { kind: 'cleartextPassword' }
    case 'authenticationMD5Password':
      return { kind: 'unsupportedAuthentication', method: 'MD5Password' }
    case 'authenticationSASL':
      return { kind: 'sasl', mechanisms: (said as unknown as Sasl).mechanisms }
    case 'authenticationSASLContinue':
      return { kind: 'saslContinue', data: (said as unknown as SaslData).data }
    case 'authenticationSASLFinal':
      return { kind: 'saslFinal', data: (said as unknown as SaslData).data }
    case 'backendKeyData':
      return { kind: 'backendKeyData', key: Buffer.from(frame.body) }
    case 'readyForQuery':
      return { kind: 'readyForQuery', status: (said as ReadyForQueryMessage).status }
    case 'error': {
      const { code, message } = said as unknown as DatabaseError
      return { kind: 'error', refusal: { sqlstate: code ?? '', message: message ?? '' } }
    }
    default:
      return undefined
  }
}

type Sasl = { mechanisms: string[] }
type SaslData = { data: string }

function parse(whole: Buffer): BackendMessage {
  const parsed: BackendMessage[] = []
  new Parser().parse(whole, (said) => parsed.push(said))
  const said = parsed[0]
  if (said === undefined) throw new Failure('node_protocol', { log: 'not one message' })
  return said
}

/** Bodies that pg-protocol can read without running past their end. */
const SHAPES: Record<string, (body: Buffer) => boolean> = {
  R: (body) => body.length >= 4 && (AUTHENTICATION_SHAPES[body.readInt32BE(0)]?.(body) ?? true),
  S: (body) => strings(body) === 2,
  K: (body) => body.length === 8,
  Z: (body) => body.length === 1,
  E: isFieldList,
  N: isFieldList,
}

/** By the code of the request. A method that is not here is one that the gate doesn't have. */
const AUTHENTICATION_SHAPES: Record<number, (body: Buffer) => boolean> = {
  0: (body) => body.length === 4,
  3: (body) => body.length === 4,
  5: (body) => body.length === 8,
  10: (body) => body.length > 5 && body.at(-1) === 0 && body.at(-2) === 0,
  11: () => true,
  12: () => true,
}

/** How many NUL-ended strings fill the body exactly; -1 when the last one has no end. */
function strings(body: Buffer): number {
  if (body.at(-1) !== 0) return -1
  let count = 0
  for (const byte of body) if (byte === 0) count++
  return count
}

/** ErrorResponse's fields: a type byte and a string each, then a NUL. */
function isFieldList(body: Buffer): boolean {
  let at = 0
  while (at < body.length && body[at] !== 0) {
    const end = body.indexOf(0, at + 1)
    if (end < 0) return false
    at = end + 1
  }
  return at === body.length - 1
}
