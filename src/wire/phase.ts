/**
 * Where a session stands after its sign-in, told from the headers of both legs: whether either side
 * owes the other anything, and if not, the status of the last ReadyForQuery.
 * https://www.postgresql.org/docs/18/protocol-flow.html
 * Rule: what the node still owes is always among what is kept here; in doubt, the session is busy.
 */
import type { Headers } from './headers.ts'

export type State = 'quiet' | 'transaction' | 'failed' | 'busy' | 'copying'

const QUERY = 0x51
const FUNCTION_CALL = 0x46
const PARSE = 0x50
const BIND = 0x42
const DESCRIBE = 0x44
const EXECUTE = 0x45
const CLOSE = 0x43
const FLUSH = 0x48
const SYNC = 0x53
const COPY_DATA = 0x64
const COPY_DONE = 0x63
const COPY_FAIL = 0x66

const COMMAND_COMPLETE = 0x43
const ERROR_RESPONSE = 0x45
const NOTICE_RESPONSE = 0x4e
const NOTIFICATION_RESPONSE = 0x41
const PARAMETER_STATUS = 0x53
const COPY_IN_RESPONSE = 0x47
const COPY_OUT_RESPONSE = 0x48
const COPY_BOTH_RESPONSE = 0x57
const READY_FOR_QUERY = 0x5a

const STATES: ReadonlyMap<number, State> = new Map([
  [0x49, 'quiet'],
  [0x54, 'transaction'],
  [0x45, 'failed'],
])

/** How a message's ReadyForQuery comes: alone, or behind other answers. */
const ALONE = 1
const BEHIND_ANSWERS = 2
const ANSWERED = ALONE | BEHIND_ANSWERS
/** Extended messages stand between it and what was answered before. */
const EXTENDED = 4

/** What is kept of a message: how it may be answered, and whether a copy may have begun before it. */
const COMMAND = BEHIND_ANSWERS
const LONE_SYNC = ALONE
/** Alone where a copy read the extended messages as its own: CockroachDB lives on after that. */
const SYNC_OF_EXTENDED = ANSWERED | EXTENDED
/** Extended messages, a Query, this Sync: it may fail in closing what the first ones left open. */
const LATE_SYNC = ANSWERED
/** CopyDone or CopyFail: never answered, but Syncs are read unanswered only before it. */
const COPY_END = 0

type Copy = 'none' | 'in' | 'out'

/** The phase with both streams' boundaries: between messages on both legs, or in the middle of one. */
export function sessionPhase(phase: Phase, client: Headers, node: Headers): State | 'mid-message' {
  return client.atBoundary && node.atBoundary ? phase.state : 'mid-message'
}

/**
 * Counting Syncs would drift: PostgreSQL reads those inside COPY FROM STDIN without answering them,
 * and nobody but the node knows where in the client's stream a copy failed. So the messages that may
 * be answered are kept in order, and a ReadyForQuery is matched with the first of them that it can
 * belong to: one that came alone can't answer a Query, one behind other answers can't answer a lone
 * Sync. What isn't matched is dropped only when the node has proved that it is past it. So Syncs sent
 * in a copy that failed leave the session busy until the next Query or extended message is answered.
 */
export class Phase {
  readonly #kept = new Runs()
  /** What a Sync would be if it came now. */
  #nextSync = LONE_SYNC
  #copy: Copy = 'none'
  /** The node has answered something since its last ReadyForQuery. */
  #answered = false
  /** The client took its leave, or said what makes the node end the connection. */
  #over = false
  #status: State = 'quiet'

  get state(): State {
    if (this.#over) return 'busy'
    if (this.#copy !== 'none') return 'copying'
    if (this.#answered || this.#nextSync === SYNC_OF_EXTENDED || this.#owes()) return 'busy'
    return this.#status
  }

  /**
   * The runs of like messages that the node may still answer: what this object's memory grows with.
   * The relay pauses a client beyond a bound of its own.
   */
  get owed(): number {
    return this.#kept.length
  }

  fromClient(type: number): void {
    switch (type) {
      case COPY_DATA:
      case FLUSH:
        return
      case PARSE:
      case BIND:
      case DESCRIBE:
      case EXECUTE:
      case CLOSE:
        this.#nextSync = SYNC_OF_EXTENDED
        return
      case SYNC:
        this.#kept.push(this.#nextSync)
        this.#nextSync = LONE_SYNC
        return
      case QUERY:
      case FUNCTION_CALL:
        this.#kept.push(COMMAND)
        if (this.#nextSync === SYNC_OF_EXTENDED) this.#nextSync = LATE_SYNC
        return
      case COPY_DONE:
      case COPY_FAIL:
        this.#kept.push(COPY_END | (this.#nextSync & EXTENDED))
        return
      default:
        this.#over = true
    }
  }

  /** `status` is ReadyForQuery's byte, and ignored with any other type. */
  fromNode(type: number, status: number): void {
    switch (type) {
      case READY_FOR_QUERY:
        this.#ready(status)
        return
      case NOTICE_RESPONSE:
      case NOTIFICATION_RESPONSE:
      case PARAMETER_STATUS:
        return
      case COPY_IN_RESPONSE:
        this.#copy = 'in'
        break
      case COPY_OUT_RESPONSE:
      case COPY_BOTH_RESPONSE:
        this.#copy = 'out'
        break
      case COMMAND_COMPLETE:
        if (this.#copy === 'in') this.#copied()
        this.#copy = 'none'
        break
      case ERROR_RESPONSE:
        this.#copy = 'none'
        break
    }
    this.#answered = true
  }

  /** Matches a ReadyForQuery with the first message it can belong to, and lets go of all before it. */
  #ready(status: number): void {
    const way = this.#answered ? BEHIND_ANSWERS : ALONE
    this.#answered = false
    this.#copy = 'none'
    this.#status = STATES.get(status) ?? 'busy'
    const kept = this.#kept
    let first = 0
    while (first < kept.length && (kept.kind(first) & way) === 0) first++
    if (first === kept.length) return
    while (first-- > 0) kept.drop()
    kept.take()
  }

  /**
   * A COPY FROM STDIN succeeded, so its end is among what is kept. All before that end is behind the
   * node: answered, or a Sync that it read in the copy and will not answer. Except the Query that
   * began the copy, which nothing but such Syncs can stand behind. Where Execute began it, its own
   * Sync was read in the copy, and the first one behind the end is answered in its place.
   */
  #copied(): void {
    const kept = this.#kept
    let heir = this.#dropAnswered()
    let end = 0
    while (end < kept.length && (kept.kind(end) & ANSWERED) !== 0) end++
    if (end === kept.length) return
    let command = false
    for (; end > 0; end--) {
      const kind = kept.kind(0)
      kept.drop()
      if (kind === LONE_SYNC) continue
      if (kind !== LATE_SYNC) command = kind === COMMAND
      if (kind !== COMMAND) heir = kind
      else if (heir !== LONE_SYNC) heir = LATE_SYNC
    }
    kept.take()
    if (heir !== LONE_SYNC) this.#bequeath(heir)
    if (command) kept.putBack(COMMAND)
  }

  /**
   * The node is at a Query, or at an Execute, and past all that is kept before it.
   * @returns what the next Sync inherits from one that no ReadyForQuery was matched with.
   */
  #dropAnswered(): number {
    const kept = this.#kept
    let heir = LONE_SYNC
    while (kept.length > 0 && kept.kind(0) !== COMMAND && (kept.kind(0) & EXTENDED) === 0) {
      if (kept.kind(0) === LATE_SYNC) heir = LATE_SYNC
      kept.drop()
    }
    return heir
  }

  /** What the Sync `heir` would have closed is closed by the next Sync, be it here yet or not. */
  #bequeath(heir: number): void {
    const kept = this.#kept
    const end = kept.length > 0 ? kept.kind(0) : COMMAND
    const ends = (end & ANSWERED) === 0 ? kept.drop() : 0
    const next = kept.length > 0 ? kept.kind(0) : this.#nextSync
    if (next !== LONE_SYNC) {
      this.#makeLate()
    } else if (kept.length === 0) {
      this.#nextSync = heir
    } else {
      kept.take()
      kept.putBack(heir)
    }
    if (ends > 0) kept.putBack(end | (heir & EXTENDED), ends)
  }

  /** The next Sync has something to close. */
  #makeLate(): void {
    const kept = this.#kept
    let next = 0
    while (next < kept.length && (kept.kind(next) & ALONE) === 0) next++
    if (next < kept.length) {
      if (kept.kind(next) === LONE_SYNC) kept.change(next, LATE_SYNC)
    } else if (this.#nextSync === LONE_SYNC) {
      this.#nextSync = LATE_SYNC
    }
  }

  #owes(): boolean {
    for (let i = 0; i < this.#kept.length; i++) {
      if ((this.#kept.kind(i) & ANSWERED) !== 0) return true
    }
    return false
  }
}

const KIND_BITS = 3
const KIND_MASK = (1 << KIND_BITS) - 1
const ONE = 1 << KIND_BITS
const RUN_MAX = 2 ** 30

/** A queue of kinds, oldest first, like neighbours in one entry: `count << KIND_BITS | kind`. */
class Runs {
  length = 0
  #ring = new Int32Array(8)
  #first = 0

  kind(index: number): number {
    return this.#at(index) & KIND_MASK
  }

  push(kind: number): void {
    const last = this.length - 1
    if (last >= 0 && this.kind(last) === kind && this.#at(last) < RUN_MAX) {
      this.#set(last, this.#at(last) + ONE)
    } else {
      this.#makeRoom()
      this.#set(this.length++, ONE | kind)
    }
  }

  change(index: number, kind: number): void {
    this.#set(index, (this.#at(index) & ~KIND_MASK) | kind)
  }

  putBack(kind: number, count = 1): void {
    this.#makeRoom()
    this.#first = (this.#first - 1) & (this.#ring.length - 1)
    this.length++
    this.#set(0, (count << KIND_BITS) | kind)
  }

  /** Takes one off the first run. */
  take(): void {
    const first = this.#at(0) - ONE
    if (first < ONE) this.drop()
    else this.#set(0, first)
  }

  /** Takes the whole first run. @returns how many there were. */
  drop(): number {
    const count = this.#at(0) >> KIND_BITS
    this.#first = (this.#first + 1) & (this.#ring.length - 1)
    this.length--
    return count
  }

  #at(index: number): number {
    return this.#ring[(this.#first + index) & (this.#ring.length - 1)] ?? 0
  }

  #set(index: number, run: number): void {
    this.#ring[(this.#first + index) & (this.#ring.length - 1)] = run
  }

  #makeRoom(): void {
    if (this.length < this.#ring.length) return
    const larger = new Int32Array(this.#ring.length * 2)
    for (let i = 0; i < this.length; i++) larger[i] = this.#at(i)
    this.#ring = larger
    this.#first = 0
  }
}
