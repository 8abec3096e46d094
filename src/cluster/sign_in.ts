/**
 * Signing in to a node as exactly the granted role, up to its first ReadyForQuery.
 * https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-START-UP
 * Rule: the loop is bounded in messages and bytes, the node gets one answer, and who has to be asked
 * something before it lets the role in is asked.
 */
import { Failure } from '../failure.ts'
import { type Leg, LegEnded } from '../leg.ts'
import type { Frame } from '../wire/framing.ts'
import {
  decodeNodeMessage,
  type NodeMessage,
  type NodeRefusal,
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

/** What the node may ask, and how that is answered; what is not here is refused. */
export interface Answers {
  /** The node has to ask: one that lets the role in without it is not believed. */
  required?: true
  /** A password in clear. */
  password?(node: Leg): Promise<void> | void
  /** SASL, from the mechanisms that are offered to the end of the exchange. */
  sasl?(node: Leg, mechanisms: readonly string[]): Promise<void>
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
 * The node took the role, and then did not let it in in time. What it does then, the role's own settings say
 * as well: it tells nothing of the node.
 */
export class StalledInside extends LegEnded {
  constructor() {
    super('node', 'took the role, and then gave no answer within connect_timeout')
  }
}

/**
 * @param inside - called when the node has taken the role: there is a session of it from then on.
 * @throws NodeRefused, Failure `node_signin_failed` or `node_protocol`
 */
export async function signIn(
  node: Leg,
  parameters: Iterable<readonly [string, string]>,
  answers: Answers,
  inside: () => void = () => undefined,
): Promise<Opening> {
  node.send(startupMessage(parameters))
  const said = opening()
  let asked = false
  for (let messages = 0; messages < MESSAGES_MAX; messages++) {
    const { frame, message } = await hear(node)
    switch (message?.kind) {
      case 'cleartextPassword':
      case 'sasl':
        if (asked) throw failed('the node asks for a second answer')
        asked = true
        await answer(node, message, answers)
        break
      case 'authenticationOk':
        inside()
        break
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
        if (answers.required && !asked)
          throw failed('the node let the role in and asks for no secret (trust, or peer)')
        return said.done(frame)
      default:
        throw new Failure('node_protocol', { log: `message type ${frame.type} during sign-in` })
    }
  }
  throw new Failure('node_protocol', { log: `more than ${MESSAGES_MAX} messages during sign-in` })
}

/**
 * The next message of a sign-in; its frame is good until the one after it.
 * @throws NodeRefused, Failure `node_signin_failed` or `node_protocol`
 */
async function hear(node: Leg): Promise<{ frame: Frame; message: NodeMessage | undefined }> {
  const frame = await node.message(MESSAGE_BYTES_MAX)
  const message = decodeNodeMessage(frame)
  if (message?.kind === 'error') throw new NodeRefused(message.refusal, Buffer.from(frame.whole))
  if (message?.kind === 'unsupportedAuthentication') throw unanswered(message.method)
  return { frame, message }
}

/**
 * The node's next word in a SASL exchange: what it says, and the message as it came.
 * @throws NodeRefused, Failure `node_signin_failed` or `node_protocol`
 */
export async function hearSasl(
  node: Leg,
  kind: 'saslContinue' | 'saslFinal',
): Promise<{ data: string; whole: Buffer }> {
  const { message, frame } = await hear(node)
  if (message?.kind === kind) return { data: message.data, whole: Buffer.from(frame.whole) }
  throw new Failure('node_protocol', { log: `message type ${frame.type} in a SASL exchange` })
}

async function answer(
  node: Leg,
  message: Extract<NodeMessage, { kind: 'sasl' | 'cleartextPassword' }>,
  { password, sasl }: Answers,
): Promise<void> {
  if (message.kind === 'cleartextPassword') {
    if (password === undefined) throw unanswered('a password')
    return await password(node)
  }
  if (sasl === undefined) throw unanswered('SASL')
  await sasl(node, message.mechanisms)
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

function unanswered(method: string): Failure {
  return failed(`the node asks for ${method}, which this sign-in doesn't have`)
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log })
}
