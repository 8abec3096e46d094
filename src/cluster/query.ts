/**
 * A few statements over a signed-in leg, by the simple protocol, for those who set a cluster up: no
 * client's statement ever comes here. https://www.postgresql.org/docs/18/protocol-flow.html
 * Rule: an answer is bounded in messages and bytes.
 */
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import { decodeNodeMessage } from '../wire/node_messages.ts'
import { decodeRowMessage, query as queryMessage } from '../wire/rows.ts'
import { NodeRefused } from './sign_in.ts'

/** Columns by name, as text. */
export type Row = Record<string, string | null>

const MESSAGES_MAX = 20_000
const MESSAGE_BYTES_MAX = 1024 * 1024
const ANSWER_BYTES_MAX = 16 * 1024 * 1024
/** CommandComplete, EmptyQueryResponse. */
const IGNORED = ['C', 'I']

/**
 * @param aside - takes messages that are no part of the answer, by their type: true where it has.
 * @throws NodeRefused when the node says no; the leg is good for another statement then.
 */
export async function query(
  leg: Leg,
  sql: string,
  aside: (type: number) => boolean = () => false,
): Promise<Row[]> {
  leg.send(queryMessage(sql))
  let names: string[] = []
  let refused: NodeRefused | undefined
  let bytes = 0
  const rows: Row[] = []
  for (let messages = 0; messages < MESSAGES_MAX; messages++) {
    const frame = await leg.message(MESSAGE_BYTES_MAX)
    bytes += frame.whole.length
    if (bytes > ANSWER_BYTES_MAX)
      throw new Failure('node_protocol', {
        log: `more than ${ANSWER_BYTES_MAX} bytes as an answer`,
      })
    if (IGNORED.includes(String.fromCharCode(frame.type)) || aside(frame.type)) continue
    const part = decodeRowMessage(frame)
    if (part?.kind === 'columns') names = part.names
    if (part?.kind === 'row')
      rows.push(Object.fromEntries(names.map((name, at) => [name, part.values[at] ?? null])))
    if (part !== undefined) continue
    const said = decodeNodeMessage(frame)
    if (said?.kind === 'error') refused = new NodeRefused(said.refusal, Buffer.from(frame.whole))
    else if (said?.kind === 'readyForQuery') {
      if (refused !== undefined) throw refused
      return rows
    } else if (said?.kind !== 'notice' && said?.kind !== 'parameterStatus')
      throw new Failure('node_protocol', { log: `message type ${frame.type} as an answer` })
  }
  throw new Failure('node_protocol', { log: `more than ${MESSAGES_MAX} messages as an answer` })
}
