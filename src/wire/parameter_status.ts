/**
 * ParameterStatus: what a server says of its settings when a session begins, and whenever one of them
 * is another. https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-ASYNC
 */
import { Failure } from '../failure.ts'

const PARAMETER_STATUS = 'S'.charCodeAt(0)
const HEADER_BYTES = 5

export interface ParameterStatuses {
  /** The messages as they came, and nothing else. */
  bytes: Buffer
  /** By name; the last one where it was said twice. */
  values: ReadonlyMap<string, string>
}

/** Those among whole messages, one after the other. */
export function parameterStatuses(messages: Buffer): ParameterStatuses {
  const found: Buffer[] = []
  const values = new Map<string, string>()
  for (let at = 0; at < messages.length; ) {
    const end = at + 1 + messages.readInt32BE(at + 1)
    if (messages[at] === PARAMETER_STATUS) {
      found.push(messages.subarray(at, end))
      values.set(...decodeParameterStatus(messages.subarray(at + HEADER_BYTES, end)))
    }
    at = end
  }
  return { bytes: Buffer.concat(found), values }
}

/** @returns name and value */
export function decodeParameterStatus(body: Buffer): [string, string] {
  const [name, value, rest, ...more] = body.toString('utf8').split('\0')
  if (name === undefined || value === undefined || rest !== '' || more.length > 0)
    throw new Failure('node_protocol', { log: "malformed 'S' message" })
  return [name, value]
}
