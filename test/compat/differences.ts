/**
 * All that may differ between a session with the server and one through the gate, each with its reason; what
 * isn't here is a fault. docs/compatibility.md shows this table.
 */
import { FAILURES } from '../../src/failure.ts'
import { fields, type Message } from '../support/wire_client.ts'

export interface Difference {
  what: string
  why: string
  /** In every case, or in those alone that name it. */
  always: boolean
  /** With servers older than this one alone. */
  before?: number
  /** Takes it out of what was heard, so that the rest can be compared. */
  mask(messages: Message[]): Message[]
}

export type DifferenceName = keyof typeof DIFFERENCES

const INT32 = 4
const LOST = FAILURES.node_lost.sqlstate
const XLOG_DATA = 'w'.charCodeAt(0)
/** Its type, two positions and a time. */
const XLOG_DATA_HEADER = 1 + 3 * 8

export const DIFFERENCES = {
  'cancel key': {
    what: 'the bytes of BackendKeyData, not their number',
    why: 'a client gets a key of the gate’s own, and never learns the node’s',
    always: true,
    mask: (messages) => blank(messages, 'K', ({ body }) => [0, body.length]),
  },
  'process id': {
    what: 'the process in NotificationResponse',
    why: 'each session has a process of its own. The number is the node’s, as pg_backend_pid() says it, and not that of the client’s cancel key: a client can’t tell its own notifications by it',
    always: true,
    mask: (messages) => blank(messages, 'A', () => [0, INT32]),
  },
  'key length': {
    what: 'protocol 3.1 to 3.9999 in front of PostgreSQL 15, which speaks 3.0 alone: NegotiateProtocolVersion, and the length of the key',
    why: 'the gate speaks 3.2 with clients, whatever the node speaks',
    always: false,
    before: 18,
    mask: (messages) => messages.filter(({ type }) => type !== 'v' && type !== 'K'),
  },
  'protocol breach': {
    what: 'what is said to a message whose length is impossible, and to a Sync or Flush with a body',
    why: 'the gate ends the session there, by an error of its own: where the next message begins nobody can know, or PostgreSQL and the gate would not agree on it',
    always: false,
    mask: (messages) => messages.slice(0, whereIs(messages, 'E')),
  },
  'silent end': {
    what: 'an ErrorResponse (08006) where PostgreSQL closes the connection without a word',
    why: 'the gate tells its client that the node has gone',
    always: false,
    mask: (messages) =>
      messages.filter(({ type, body }) => type !== 'E' || fields(body)['C'] !== LOST),
  },
  'log position': {
    what: 'positions and times in the answers to replication commands, and keepalives',
    why: 'the server’s log has moved on from one run to the next, with a gate or without',
    always: false,
    mask: (messages) =>
      messages
        .filter(({ type, body }) => type !== 'd' || body[0] === XLOG_DATA)
        .map(({ type, body }) => ({ type, body: withoutPositions(type, body) })),
  },
} satisfies Record<string, Difference>

/** What may differ in a case that names these, with a server of this version. */
export function permitted(named: DifferenceName[], version: number): Difference[] {
  const all: [string, Difference][] = Object.entries(DIFFERENCES)
  return all
    .filter(([name, { always }]) => always || named.some((each) => each === name))
    .map(([, difference]) => difference)
    .filter(({ before = Number.POSITIVE_INFINITY }) => version < before)
}

function blank(
  messages: Message[],
  of: string,
  where: (message: Message) => [from: number, to: number],
): Message[] {
  return messages.map((message) => {
    if (message.type !== of) return message
    const body = Buffer.from(message.body)
    return { type: of, body: body.fill(0, ...where(message)) }
  })
}

/** @returns its place; behind the last one where there is none. */
function whereIs(messages: Message[], of: string): number {
  const at = messages.findIndex(({ type }) => type === of)
  return at < 0 ? messages.length : at
}

function withoutPositions(type: string, body: Buffer): Buffer {
  if (type === 'd') return body.subarray(XLOG_DATA_HEADER)
  if (type !== 'D' && type !== 'E') return body
  return Buffer.from(body.toString('latin1').replace(/[0-9A-F]+\/[0-9A-F]+/g, 'X/X'))
}
