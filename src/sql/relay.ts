/**
 * Bytes both ways until someone stops; says which side. Headers are read on the way, and
 * ReadyForQuery's status byte; no other body is looked at, and nothing is assembled.
 * Rule: what one side doesn't take, the other side doesn't send: nothing here grows.
 */
import { asFailure, Failure } from '../failure.ts'
import type { Leg, LegEnded, Side, Sink } from '../leg.ts'
import { Headers } from '../wire/headers.ts'
import { Phase, type State, sessionPhase } from '../wire/phase.ts'

export interface Relay {
  ended: Promise<Ended>
  readonly bytes: { toClient: number; toNode: number }
  phase(): State | 'mid-message'
  /** Puts a NoticeResponse between the node's messages, at the next place where one may stand. */
  inject(notice: Buffer): void
  /** Ends the session when nothing is owed either way and no transaction is open. */
  stopAtQuiet(why: Failure): void
  /** Ends it now. */
  stop(why: Failure): void
}

export interface Ended {
  by: Side | 'gate'
  how: string
  /** What to tell the client, where it isn't a side's own doing. */
  why: Failure | undefined
  /** The client's stream stands between two messages: an ErrorResponse may follow. */
  atBoundary: boolean
  /** The node's last message was an ErrorResponse: the client knows why. */
  explained: boolean
}

/** How far a pipelining client may be ahead (see `Phase.owed`); beyond it the client waits. */
const OWED_MAX = 16_384
/** A leg that was half closed and carries nothing for this long is over. */
const HALF_CLOSED_SILENCE_MS = 60_000

const ERROR_RESPONSE = 'E'.charCodeAt(0)

export function relay(client: Leg, node: Leg): Relay {
  const phase = new Phase()
  let lastFromNode = 0
  const fromClient = new Headers('client', { header: (type) => phase.fromClient(type) })
  const fromNode = new Headers('node', {
    header(type, status) {
      lastFromNode = type
      phase.fromNode(type, status)
    },
  })
  const bytes = { toClient: 0, toNode: 0 }
  const injections: Buffer[] = []
  const ended = Promise.withResolvers<Ended>()
  let over = false
  let stopping: Failure | undefined
  let silence: NodeJS.Timeout | undefined
  const flowToNode = backpressure(client, node)
  const flowToClient = backpressure(node, client)

  const finish = (by: Ended['by'], how: string, why?: Failure) => {
    if (over) return
    over = true
    clearTimeout(silence)
    const atBoundary = fromNode.atBoundary
    const explained = lastFromNode === ERROR_RESPONSE
    ended.resolve({ by, how, why, atBoundary, explained })
  }
  /** A step of the stream; what it throws is that side's breach of the protocol. */
  const step = (side: Side, work: () => boolean): boolean => {
    if (over) return false
    silence?.refresh()
    try {
      return work()
    } catch (thrown) {
      const breach = asFailure(thrown)
      const how = `the ${side} broke the protocol: ${breach.message}`
      finish(side, how, side === 'client' ? breach : new Failure('node_protocol', { log: how }))
      return false
    } finally {
      if (stopping !== undefined && quiet()) finish('gate', stopping.message, stopping)
    }
  }
  const quiet = () => sessionPhase(phase, fromClient, fromNode) === 'quiet'
  const broken = (how: LegEnded) => finish(how.side, how.message)

  const clientSink: Sink = {
    chunk: (chunk) =>
      step('client', () => {
        fromClient.push(chunk)
        bytes.toNode += chunk.length
        flowToNode.write(chunk)
        if (phase.owed > OWED_MAX) flowToNode.hold('owed')
        return true
      }),
    end() {
      node.socket.end()
      silence = setTimeout(
        () => finish('client', 'the client closed its side and the node fell silent'),
        HALF_CLOSED_SILENCE_MS,
      )
    },
    broken,
  }
  const nodeSink: Sink = {
    chunk: (chunk) =>
      step('node', () => {
        fromNode.push(chunk)
        bytes.toClient += chunk.length
        if (phase.owed < OWED_MAX / 2) flowToNode.release('owed')
        if (injections.length === 0 || fromNode.lastBoundary < 0) return flowToClient.write(chunk)
        flowToClient.write(chunk.subarray(0, fromNode.lastBoundary))
        for (const notice of injections.splice(0)) flowToClient.write(notice)
        flowToClient.write(chunk.subarray(fromNode.lastBoundary))
        return true
      }),
    end: () =>
      finish(
        silence === undefined ? 'node' : 'client',
        silence === undefined
          ? 'the node closed the connection'
          : 'the client closed the connection',
      ),
    broken,
  }
  client.flow(clientSink)
  node.flow(nodeSink)
  return {
    ended: ended.promise,
    bytes,
    phase: () => sessionPhase(phase, fromClient, fromNode),
    inject(notice) {
      if (fromNode.atBoundary && !over) flowToClient.write(notice)
      else injections.push(notice)
    },
    stopAtQuiet(why) {
      stopping = why
      if (quiet()) finish('gate', why.message, why)
    },
    stop: (why) => finish('gate', why.message, why),
  }
}

/** Writes from one leg to the other; a full one stops the first one's reading. */
function backpressure(from: Leg, to: Leg) {
  const holds = new Set<string>()
  const release = (why: string) => {
    if (holds.delete(why) && holds.size === 0) from.socket.resume()
  }
  const hold = (why: string) => {
    if (holds.size === 0) from.socket.pause()
    holds.add(why)
  }
  to.socket.on('drain', () => release('full'))
  return {
    hold,
    release,
    /** @returns whether the chunk's memory is still needed: the socket hasn't taken it yet. */
    write(chunk: Buffer): boolean {
      if (!to.socket.write(chunk)) hold('full')
      return to.socket.writableLength > 0
    },
  }
}
