/**
 * A node's answer to one Query of the gate's own, on a session that was or will be a client's: exactly
 * what it should be, message by message. https://www.postgresql.org/docs/18/protocol-flow.html
 * Rule: what isn't expected is a doubt, and who has a doubt uses the session no more.
 */
import type { Leg } from '../leg.ts'
import { decodeParameterStatus } from '../wire/parameter_status.ts'
import { decodeRowMessage } from '../wire/rows.ts'

/** Why a session is not to be used again; for the log. */
export class Doubt extends Error {}

/** A row that is asked for, and each setting that the node tells of on the way. */
const MESSAGES_MAX = 100
const MESSAGE_BYTES_MAX = 64 * 1024

/**
 * @param tags - of which the one CommandComplete has one; `SELECT 1` for one row.
 * @param parameters - what the node said when the session began: it may say that again.
 * @returns the row, empty where there is none
 * @throws Doubt; what ended the leg or its deadline
 */
export async function exactAnswer(
  leg: Leg,
  tags: readonly string[],
  parameters: ReadonlyMap<string, string>,
): Promise<(string | null)[]> {
  let row: (string | null)[] | undefined
  let complete = false
  for (let messages = 0; messages < MESSAGES_MAX; messages++) {
    const frame = await leg.message(MESSAGE_BYTES_MAX)
    const type = String.fromCharCode(frame.type)
    if (type === 'S') {
      const [name, value] = decodeParameterStatus(frame.body)
      if (parameters.get(name) !== value) throw new Doubt(`${name} is another one now`)
    } else if (type === 'T' && !complete) continue
    else if (type === 'D' && !complete && row === undefined) {
      const said = decodeRowMessage(frame)
      row = said?.kind === 'row' ? said.values : []
    } else if (type === 'C' && !complete && tags.includes(tagIn(frame.body))) {
      complete = true
    } else if (type === 'Z' && complete && frame.body.toString() === 'I') return row ?? []
    else throw new Doubt(`message type ${type} in the place of ${complete ? 'the end' : tags[0]}`)
  }
  throw new Doubt(`more than ${MESSAGES_MAX} messages`)
}

/** Behind it a NUL, and nothing more. */
function tagIn(body: Buffer): string {
  return body.at(-1) === 0 ? body.toString('latin1', 0, body.length - 1) : ''
}
