/**
 * A node that is not there: something behind the same interface as a node's session whose statements the gate
 * answers itself. To the session's other parts (relay, expiry, revocation, drain) it is one like any.
 * Rule: one statement after the other, each of a bounded length; who doesn't read his answers is asked no more.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { asFailure, Failure } from '../failure.ts'
import { Leg, LegEnded } from '../leg.ts'
import { parameterStatus, readyForQuery } from '../wire/answer_messages.ts'
import { errorResponse } from '../wire/server_messages.ts'
import { decodeStatementMessage } from '../wire/statement_messages.ts'
import { type Answering, openConversation } from './conversation.ts'

export interface VirtualSession {
  /** As a node's. */
  leg: Leg
  opening: { messages: Buffer; readyForQuery: Buffer }
}

/** A statement, with what belongs to its message. */
export const STATEMENT_BYTES_MAX = 16 * 1024

/** @param parameters - what is told of settings in the beginning. */
export function openVirtualSession(
  answering: Answering,
  parameters: Iterable<readonly [name: string, value: string]>,
): VirtualSession {
  const [near, far] = duplexPair()
  const gone = new AbortController()
  // Whatever becomes of the session's end, this one ends with it.
  near.on('close', () => {
    far.destroy()
    gone.abort()
  })
  void converse(new Leg(far as Socket, 'client'), answering, gone.signal)
  return {
    leg: new Leg(near as Socket, 'node'),
    opening: {
      messages: Buffer.concat(Array.from(parameters, (each) => parameterStatus(...each))),
      readyForQuery: readyForQuery('I'),
    },
  }
}

/** To the end of the client's. */
async function converse(client: Leg, answering: Answering, gone: AbortSignal): Promise<void> {
  const conversation = openConversation(answering)
  try {
    for (;;) {
      const frame = await client.message(STATEMENT_BYTES_MAX)
      const said = decodeStatementMessage(frame)
      if (said === undefined) throw unknown(frame.type)
      if (said.kind === 'terminate') break
      await tell(client, conversation.hear(said), gone)
    }
    client.close()
  } catch (thrown) {
    client.close(thrown instanceof LegEnded ? undefined : lastWords(thrown))
  }
}

/** Of an answer, at once. */
const PORTION_BYTES = 64 * 1024

/** As fast as the client reads. */
async function tell(client: Leg, answer: AsyncIterable<Buffer>, gone: AbortSignal): Promise<void> {
  let waiting: Buffer[] = []
  let bytes = 0
  const send = async () => {
    if (bytes > 0) client.send(Buffer.concat(waiting))
    waiting = []
    bytes = 0
    if (client.socket.writableNeedDrain) await once(client.socket, 'drain', { signal: gone })
  }
  for await (const message of answer) {
    waiting.push(message)
    bytes += message.length
    if (bytes >= PORTION_BYTES) await send()
  }
  await send()
}

function unknown(type: number): Failure {
  const problem = `invalid frontend message type ${type}`
  return new Failure('protocol_violation', { values: { problem } })
}

function lastWords(thrown: unknown): Buffer {
  const { row, message } = asFailure(thrown)
  return errorResponse({ severity: 'FATAL', sqlstate: row.sqlstate, message })
}
