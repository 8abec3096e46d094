/**
 * Signing in to a node as exactly the granted role, up to its first ReadyForQuery.
 * https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-START-UP
 * Rule: the loop is bounded in messages and bytes, and a token goes only to a node whose name was
 * verified under TLS.
 */
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import type { Secret } from '../secret.ts'
import type { Frame } from '../wire/framing.ts'
import {
  decodeNodeMessage,
  type NodeRefusal,
  passwordMessage,
  startupMessage,
} from '../wire/node_messages.ts'

const MESSAGES_MAX = 500
const MESSAGE_BYTES_MAX = 64 * 1024
const OPENING_BYTES_MAX = 256 * 1024

/** What a node says to a session that it lets in. */
export interface Opening {
  /** ParameterStatus and NoticeResponse messages as they came. */
  messages: Buffer
  readyForQuery: Buffer
  /** Process id and secret key, for a cancel; undefined where the node gave none. */
  cancelKey: Buffer | undefined
}

/** The node said no, in its own words. */
export class NodeRefused extends Error {
  readonly refusal: NodeRefusal
  readonly response: Buffer

  constructor(refusal: NodeRefusal, response: Buffer) {
    super(`${refusal.sqlstate}: ${refusal.message}`)
    this.refusal = refusal
    this.response = response
  }
}

/**
 * @param token - only for sign-in by `forward`: the answer to the node's password request.
 * @throws NodeRefused, Failure `node_signin_failed` or `node_protocol`
 */
export async function signIn(
  node: Leg,
  parameters: Iterable<readonly [string, string]>,
  token: Secret | undefined,
): Promise<Opening> {
  node.send(startupMessage(parameters))
  const said = opening()
  let unsent = token
  for (let messages = 0; messages < MESSAGES_MAX; messages++) {
    const frame = await node.message(MESSAGE_BYTES_MAX)
    const message = decodeNodeMessage(frame)
    switch (message?.kind) {
      case 'cleartextPassword':
        answerPassword(node, unsent)
        unsent = undefined
        break
      case 'authenticationOk':
      case 'negotiate':
        break
      case 'parameterStatus':
      case 'notice':
        said.keep(frame)
        break
      case 'backendKeyData':
        said.cancelKey = message.key
        break
      case 'readyForQuery':
        return said.done(frame)
      case 'error':
        throw new NodeRefused(message.refusal, Buffer.from(frame.whole))
      case 'unsupportedAuthentication':
        throw failed(`the node asks for ${message.method}, which this sign-in doesn't have`)
      default:
        throw new Failure('node_protocol', { log: `message type ${frame.type} during sign-in` })
    }
  }
  throw new Failure('node_protocol', { log: `more than ${MESSAGES_MAX} messages during sign-in` })
}

function opening() {
  const kept: Buffer[] = []
  let bytes = 0
  return {
    cancelKey: undefined as Buffer | undefined,
    keep(frame: Frame): void {
      bytes += frame.whole.length
      if (bytes > OPENING_BYTES_MAX)
        throw new Failure('node_protocol', {
          log: `more than ${OPENING_BYTES_MAX} bytes of notices`,
        })
      kept.push(Buffer.from(frame.whole))
    },
    done(frame: Frame): Opening {
      const readyForQuery = Buffer.from(frame.whole)
      return { messages: Buffer.concat(kept), readyForQuery, cancelKey: this.cancelKey }
    },
  }
}

function answerPassword(node: Leg, token: Secret | undefined): void {
  if (token === undefined)
    throw failed("the node asks for a password, which this sign-in doesn't have")
  if (!node.encrypted) throw failed('the node asks for the token without TLS')
  const message = passwordMessage(token)
  // Not awaited: a node that doesn't read would outlast the deadline.
  node.socket.write(message, () => message.fill(0))
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log })
}
