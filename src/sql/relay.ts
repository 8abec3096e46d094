/**
 * Bytes both ways until someone stops; says which side. Headers are read on the way, and
 * ReadyForQuery's status byte; no other body is looked at, and nothing is assembled.
 * Rule: what one side doesn't take, the other side doesn't send: nothing here grows.
 */
import type { Writable } from 'node:stream'
import { asFailure, Failure } from '../failure.ts'
import type { Leg, Side } from '../leg.ts'
import { Headers } from '../wire/headers.ts'
import { terminate } from '../wire/node_messages.ts'
import { Phase, type State, sessionPhase } from '../wire/phase.ts'
import { Flow } from './flow.ts'

/** How a session came to its end. */
export interface Ended {
  by: Side | 'gate'
  how: string
  /** What to tell the client, where nobody simply left. */
  why: Failure | undefined
  /** The client's stream stands between two messages: an ErrorResponse may follow. */
  atBoundary: boolean
  /** The node's last message was an ErrorResponse: the client knows why. */
  explained: boolean
}

const CLIENT_CLOSED = 'the client closed the connection'
/** How far a pipelining client may be ahead (see `Phase.owed`); beyond it the client waits. */
const OWED_MAX = 16_384
/** A session that a client has half closed and that carries nothing for this long is over. */
const HALF_CLOSED_SILENCE_MS = 60_000

const ERROR_RESPONSE = 'E'.charCodeAt(0)
const PARAMETER_STATUS = 'S'.charCodeAt(0)
const TERMINATE = 'X'.charCodeAt(0)

/** Opened when both legs are signed in; from `begin` on it takes them over, until `ended`. */
export class Relay {
  readonly ended: Promise<Ended>
  readonly bytes = { toClient: 0, toNode: 0 }
  readonly #phase = new Phase()
  readonly #fromClient: Headers
  readonly #fromNode: Headers
  readonly #toNode: Flow
  readonly #toClient: Flow
  readonly #client: Leg
  readonly #node: Leg
  readonly #end: (ended: Ended) => void
  readonly #keepNode: boolean
  #leftQuiet = false
  #parametersTold = false
  #over = false
  #terminated = false
  #partedQuiet = false
  #lastFromNode = 0
  #notices: Buffer[] = []
  #atQuiet: (() => void)[] = []
  #silence: NodeJS.Timeout | undefined
  #idle: NodeJS.Timeout | undefined

  /** @param keepNode - a client that leaves quietly doesn't end the node's session: it may be another's. */
  constructor(client: Leg, node: Leg, keepNode = false) {
    const { promise, resolve } = Promise.withResolvers<Ended>()
    this.ended = promise
    this.#end = resolve
    this.#client = client
    this.#node = node
    this.#keepNode = keepNode
    this.#toNode = new Flow(client, node, false)
    this.#toClient = new Flow(node, client, true)
    this.#fromClient = new Headers('client', {
      header: (type) => {
        if (type === TERMINATE) {
          this.#terminated = true
          this.#partedQuiet = this.#phase.state === 'quiet'
        }
        this.#phase.fromClient(type)
      },
    })
    this.#fromNode = new Headers('node', {
      header: (type, status) => {
        this.#lastFromNode = type
        this.#parametersTold ||= type === PARAMETER_STATUS
        this.#phase.fromNode(type, status)
      },
    })
  }

  /** With what the client sent ahead; where it was stopped by now, nothing goes on. */
  begin(): void {
    if (this.#over) return
    this.#client.flow({
      chunk: (bytes) => this.#clientSays(bytes),
      end: () => this.#clientLeaves(),
      broken: (how) => this.#clientIsGone(how),
    })
    this.#node.flow({
      chunk: (bytes) => this.#nodeSays(bytes),
      end: () => this.#nodeLeaves('the node closed the connection'),
      broken: (how) => this.#nodeLeaves(how),
    })
  }

  get phase(): State | 'mid-message' {
    return sessionPhase(this.#phase, this.#fromClient, this.#fromNode)
  }

  /** The node owes nothing: all was quiet, or was so when the client said goodbye. */
  get idle(): boolean {
    return this.phase === 'quiet' || this.#partedQuiet || this.#node.ended
  }

  /** The client left while nothing was under way, and nothing was heard of the node since. */
  get leftQuiet(): boolean {
    return this.#leftQuiet
  }

  /** A ParameterStatus passed by. */
  get parametersTold(): boolean {
    return this.#parametersTold
  }

  /** Puts a NoticeResponse between the node's messages, at the next place where one may stand. */
  inject(notice: Buffer): void {
    if (this.#over) return
    if (this.#fromNode.atBoundary) this.#toClient.write(notice)
    else this.#notices.push(notice)
  }

  /** Calls back once nothing is owed either way and no transaction is open: now, or later, or never. */
  whenQuiet(act: () => void): void {
    this.#atQuiet.push(act)
    this.#lookForQuiet()
  }

  /** Ends the session then. */
  stopAtQuiet(why: Failure): void {
    this.whenQuiet(() => this.stop(why))
  }

  /** Ends it once it has been quiet, and carried nothing, for so long. Called once. */
  stopWhenIdle(ms: number, why: Failure): void {
    if (this.#over) return
    const look = () => (this.phase === 'quiet' ? this.stop(why) : this.#idle?.refresh())
    this.#idle = setTimeout(look, ms).unref()
  }

  /** Ends it now. */
  stop(why: Failure): void {
    this.#finish('gate', why.message, why)
  }

  #clientSays(bytes: Buffer): Writable | undefined {
    if (this.#over) return undefined
    if (this.#keepNode && isTerminate(bytes) && this.phase === 'quiet') {
      this.#clientIsGone(CLIENT_CLOSED)
      return undefined
    }
    if (!this.#read('client', this.#fromClient, bytes)) return undefined
    this.bytes.toNode += bytes.length
    this.#toClient.otherSpoke()
    const waitsIn = this.#toNode.write(bytes)
    if (this.#phase.owed > OWED_MAX) this.#toNode.holdForAnswers()
    this.#lookForQuiet()
    return waitsIn
  }

  #nodeSays(bytes: Buffer): Writable | undefined {
    if (this.#over) {
      this.#leftQuiet = false
      return undefined
    }
    if (!this.#read('node', this.#fromNode, bytes)) return undefined
    this.bytes.toClient += bytes.length
    this.#toNode.otherSpoke()
    if (this.#phase.owed < OWED_MAX / 2) this.#toNode.answered()
    const waitsIn =
      this.#notices.length === 0 ? this.#toClient.write(bytes) : this.#withNotices(bytes)
    this.#lookForQuiet()
    return waitsIn
  }

  /** @returns false where the bytes break the protocol; none of them goes on then. */
  #read(side: Side, headers: Headers, bytes: Buffer): boolean {
    this.#silence?.refresh()
    this.#idle?.refresh()
    try {
      headers.push(bytes)
      return true
    } catch (thrown) {
      const breach = asFailure(thrown)
      const how = `the ${side} broke the protocol: ${breach.message}`
      this.#finish(
        side,
        how,
        side === 'client' ? breach : new Failure('node_protocol', { log: how }),
      )
      return false
    }
  }

  #withNotices(bytes: Buffer): Writable | undefined {
    const boundary = this.#fromNode.lastBoundary
    if (boundary < 0) return this.#toClient.write(bytes)
    this.#toClient.write(bytes.subarray(0, boundary))
    for (const notice of this.#notices.splice(0)) this.#toClient.write(notice)
    return this.#toClient.write(bytes.subarray(boundary))
  }

  /** The client may still read: the node answers what it was asked, then closes. */
  #clientLeaves(): void {
    if (this.#over) return
    if (this.#keepNode && this.phase === 'quiet') {
      this.#clientIsGone(CLIENT_CLOSED)
      return
    }
    this.#node.socket.end()
    const how = 'the client closed its side, and the node fell silent'
    this.#silence = setTimeout(() => this.#finish('client', how), HALF_CLOSED_SILENCE_MS)
  }

  #clientIsGone(how: string): void {
    if (this.#over) return
    this.#leftQuiet = this.#keepNode && this.phase === 'quiet'
    this.#finish('client', how)
  }

  /** Because it was asked to, or by itself. */
  #nodeLeaves(how: string): void {
    this.#leftQuiet = false
    const asked = this.#terminated || this.#silence !== undefined
    if (asked) this.#finish('client', CLIENT_CLOSED)
    else this.#finish('node', how, new Failure('node_lost', { log: how }))
  }

  #lookForQuiet(): void {
    if (this.#atQuiet.length === 0 || this.phase !== 'quiet') return
    for (const act of this.#atQuiet.splice(0)) act()
  }

  #finish(by: Ended['by'], how: string, why?: Failure): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#silence)
    clearTimeout(this.#idle)
    this.#toNode.close()
    this.#toClient.close()
    const explained = this.#lastFromNode === ERROR_RESPONSE
    this.#end({ by, how, why, atBoundary: this.#fromNode.atBoundary, explained })
  }
}

/** A Terminate, whole and alone, as clients send it. One that comes otherwise ends the node's session. */
function isTerminate(bytes: Buffer): boolean {
  return bytes.length === terminate.length && terminate.equals(bytes)
}
