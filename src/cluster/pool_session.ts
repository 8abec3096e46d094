/**
 * One node session of a pool, from client to client: in use, being reset, idle, being checked, and in
 * the end closed.
 * Rule: in any doubt it is closed; and its slot is free once its socket has closed, never before.
 */
import { once } from 'node:events'
import { type Leg, LegEnded } from '../leg.ts'
import type { Grant } from '../policy/decide.ts'
import { terminate } from '../wire/node_messages.ts'
import { type ParameterStatuses, parameterStatuses } from '../wire/parameter_status.ts'
import { cancel } from './cancel.ts'
import type { SignedIn } from './connect.ts'
import { Doubt } from './exact_answer.ts'
import { UNTIL_CLOSED } from './leave.ts'
import type { Node } from './node.ts'
import type { PoolParts, PoolPlan } from './pool.ts'
import { poolCheck } from './pool_check.ts'
import { poolReset } from './pool_reset.ts'
import type { Slot } from './pool_slots.ts'

/** Why a session was closed that might have been kept. */
export type NotKept =
  /** The client left in the middle of something, or did not leave by itself. */
  | 'unclean'
  /** Somebody wanted to cancel what it did: the node may act on it late. */
  | 'canceled'
  | 'reset_failed'
  | 'check_failed'
  | 'old'
  | 'idle'
  /** Somebody else needed its place. */
  | 'room'
  /** The node ended it, or said something unasked, while it was idle. */
  | 'lost'
  /** The node is not up, or is the cluster's no more. */
  | 'node'
  | 'closing'

/** How a client left that had nothing under way. */
export interface LeftQuiet {
  /** Somebody wanted to cancel what the session did. */
  canceled: boolean
  /** The node told of a setting since the session was this client's. */
  parametersTold: boolean
}

/** What a client gets. */
export interface Pooled extends SignedIn {
  /** It was another client's before. */
  warm: boolean
  /**
   * In the place of closing the leg: takes the session back. The node may have said nothing since the
   * client left. Undefined for a session that is nobody else's.
   */
  keep: ((how: LeftQuiet) => void) | undefined
  /**
   * Closes the leg, and counts the session until the node has closed it as well, for a minute at most: what
   * it does has to be cancelled. Undefined where no pool counts it.
   */
  leave: (() => void) | undefined
}

export interface PoolSessionParts extends Pick<PoolParts, 'elapsed' | 'isUp' | 'tell'> {
  plan: Pick<PoolPlan, 'maxAgeMs' | 'idleTimeoutMs'>
  isClosing(): boolean
  /** Those that nobody has any more, and whose places count until the node has closed them. */
  lingering: Set<PoolSession>
}

/** Where it is, and who may have it. */
interface Whose extends Pick<Grant, 'role' | 'database'> {
  node: Node
  /** Undefined for a session that is nobody else's. */
  key: string | undefined
}

const RESET_MS = 5_000
const CHECK_MS = 1_000
/** How long it may take to be gone, for whom its place is wanted. */
const GONE_MS = 1_000
const CANCEL_MS = 5_000

export class PoolSession {
  readonly node: Node
  readonly role: string
  readonly database: string
  readonly #key: string | undefined
  readonly #signedIn: SignedIn
  readonly #parts: PoolSessionParts
  readonly #bornMs: number
  /** Of its beginning; read when it is first kept. */
  #statuses: ParameterStatuses | undefined
  /** Undefined while its place is somebody else's. */
  #slot: Slot<PoolSession> | undefined
  #inUse = false
  /** While it is idle. */
  #timer: NodeJS.Timeout | undefined

  constructor(signedIn: SignedIn, { node, role, database, key }: Whose, parts: PoolSessionParts) {
    this.node = node
    this.role = role
    this.database = database
    this.#key = key
    this.#signedIn = signedIn
    this.#parts = parts
    this.#bornMs = parts.elapsed()
    signedIn.leg.socket.once('close', () => {
      if (this.#inUse && key !== undefined) this.#tell('unclean')
      parts.lingering.delete(this)
      this.#slot?.free()
    })
  }

  /** To a client, new or checked. */
  hand(slot: Slot<PoolSession>): Pooled {
    const { leg, opening } = this.#signedIn
    this.#slot = slot
    this.#inUse = true
    if (leg.socket.closed) slot.free()
    const keep = this.#key === undefined ? undefined : (how: LeftQuiet) => this.#keep(how)
    // What a fresh session is told once (a notice) is not told again, what it is told of settings is.
    const statuses = this.#statuses
    const leave = () => this.#end()
    if (statuses === undefined) return { leg, opening, warm: false, keep, leave }
    return { leg, opening: { ...opening, messages: statuses.bytes }, warm: true, keep, leave }
  }

  /** Whoever takes it over has its slot. */
  takeOver(): void {
    this.#slot = undefined
    this.#wake()
  }

  /** @throws the signal's reason. @returns whether it will do for the next client; if not, it is gone. */
  async isGood(ms: number, signal: AbortSignal): Promise<boolean> {
    const { dialect, signIn } = this.node
    const parameters = this.#statuses?.values ?? new Map()
    const about = { role: this.role, dialect, signIn, parameters }
    try {
      if (this.#leftMs() <= 0) return await this.gone('old')
      const work = (leg: Leg) => poolCheck(leg, about)
      await within(this.#signedIn.leg, Math.min(CHECK_MS, ms / 2), work, signal)
      return true
    } catch (thrown) {
      // The new one may need its place on the node; one that doesn't answer isn't waited for.
      const answered = thrown instanceof Doubt && !signal.aborted
      await this.gone('check_failed', { detail: String(thrown), ms: answered ? GONE_MS : 0 })
      signal.throwIfAborted()
      return false
    }
  }

  /** Closes it, and waits until the node has seen it, for as long as that makes sense. */
  async gone(why: NotKept, { detail = '', ms = GONE_MS } = {}): Promise<false> {
    const { leg } = this.#signedIn
    this.#close(why, detail)
    if (ms === 0) leg.destroy()
    if (leg.socket.closed) return false
    const closed = once(leg.socket, 'close', { signal: AbortSignal.timeout(GONE_MS) })
    await closed.catch(() => leg.destroy())
    return false
  }

  /** It is idle; resolves when the node has closed it, too. */
  async leave(why: NotKept): Promise<void> {
    this.#slot?.withdraw()
    this.#wake()
    await this.gone(why)
  }

  /** Without a word. */
  destroy(): void {
    this.#signedIn.leg.destroy()
  }

  /** It is idle, and not to be had any more. */
  withdraw(why: NotKept, detail?: string): void {
    this.#slot?.withdraw()
    this.#wake()
    this.#close(why, detail)
  }

  #keep({ canceled, parametersTold }: LeftQuiet): void {
    this.#inUse = false
    const why = canceled ? 'canceled' : this.#misfit()
    if (why !== undefined) {
      this.#tell(why)
      this.#end(terminate)
      return
    }
    const { leg, opening } = this.#signedIn
    const first = this.#statuses === undefined
    this.#statuses ??= parameterStatuses(opening.messages)
    const { dialect } = this.node
    const about = { dialect, parameters: this.#statuses.values, parametersTold, first }
    within(leg, RESET_MS, () => poolReset(leg, about)).then(
      () => this.#rest(),
      (thrown: unknown) => {
        this.#tell('reset_failed', String(thrown))
        if (thrown instanceof Doubt) this.#end(terminate)
        else this.#cut()
      },
    )
  }

  /**
   * The reset has to wait for something, which the client may have seen to: another session of its own holds
   * a lock. The node is told to give it up; the place counts until it has closed, or there would be no bound.
   */
  #cut(): void {
    const { leg, opening } = this.#signedIn
    if (leg.socket.closed) return
    if (opening.cancelKey !== undefined)
      cancel(this.node, opening.cancelKey, AbortSignal.timeout(CANCEL_MS)).catch(() => undefined)
    this.#end(terminate)
  }

  /** Idle, and listening: whatever is heard of the node now ends it. */
  #rest(): void {
    const why = this.#misfit()
    let lost: string | undefined
    const lose = (how: string) => {
      lost ??= how
      if (this.#timer !== undefined) this.withdraw('lost', how)
    }
    this.#signedIn.leg.flow({
      chunk() {
        lose('it said something unasked')
        return undefined
      },
      end: () => lose('it closed the connection'),
      broken: lose,
    })
    if (why !== undefined || lost !== undefined) {
      this.#close(why ?? 'lost', lost)
      return
    }
    const { idleTimeoutMs } = this.#parts.plan
    const leftMs = this.#leftMs()
    const end = () => this.withdraw(leftMs > idleTimeoutMs ? 'idle' : 'old')
    this.#timer = setTimeout(end, Math.min(idleTimeoutMs, leftMs)).unref()
    this.#parts.tell({ kind: 'idle', change: 1 })
    this.#slot?.offer(this, this.#key ?? '')
  }

  #wake(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#parts.tell({ kind: 'idle', change: -1 })
  }

  /** It has nothing to do: a node that is well closes it at once. */
  #close(why: NotKept, detail?: string): void {
    this.#tell(why, detail)
    this.#signedIn.leg.close(terminate)
  }

  /** A client had it just now: the node may have to end a statement first, or to drop what there is. */
  #end(lastWords?: Buffer): void {
    const { leg } = this.#signedIn
    if (leg.socket.closed) return
    if (this.#parts.isClosing()) leg.close(lastWords)
    else if (!this.#parts.isUp(this.node)) this.destroy()
    else {
      this.#parts.lingering.add(this)
      leg.close(lastWords, UNTIL_CLOSED)
    }
  }

  /** Why it can't be kept now. */
  #misfit(): NotKept | undefined {
    if (this.#parts.isClosing()) return 'closing'
    if (!this.#parts.isUp(this.node)) return 'node'
    return this.#leftMs() > 0 ? undefined : 'old'
  }

  #leftMs(): number {
    return this.#parts.plan.maxAgeMs - (this.#parts.elapsed() - this.#bornMs)
  }

  #tell(why: NotKept, detail = ''): void {
    this.#parts.tell({ kind: 'closed', why, detail })
  }
}

const LATE = new LegEnded('node', 'gave no answer in time')

/** Messages on the leg, from this moment on, for as long as the work may take. */
async function within(
  leg: Leg,
  ms: number,
  work: (leg: Leg) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const late = new AbortController()
  const giveUp = () => late.abort(LATE)
  const timer = setTimeout(giveUp, ms)
  signal?.addEventListener('abort', giveUp, { once: true })
  leg.speak(late.signal)
  try {
    await work(leg)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
  }
}
