/**
 * Cancelling what a node session is doing: a connection of its own, sixteen bytes, and the node
 * closes. https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 */
import type { Leg } from '../leg.ts'
import { cancelRequest } from '../wire/node_messages.ts'
import { dial } from './dial.ts'
import type { Node } from './node.ts'

/** Resolves when the node has closed; throws when it could not be reached or didn't within the deadline. */
export async function cancel(node: Node, key: Buffer, signal: AbortSignal): Promise<void> {
  const leg: Leg = await dial(node, signal)
  try {
    await closed(leg, cancelRequest(key), signal)
  } finally {
    leg.destroy()
  }
}

async function closed(leg: Leg, request: Buffer, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    const done = () => resolve()
    leg.flow({ chunk: () => undefined, end: done, broken: done })
    leg.send(request)
  })
}
