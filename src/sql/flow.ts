/**
 * One direction of a session: writes to a leg, and stops the other one's reading while that is too much. A
 * long stream comes in pieces that are not worth a read and a write each: it is made to come in larger ones.
 * Rule: what has been read goes on at once; only what comes right behind it may have to wait, for a moment.
 */
import type { Writable } from 'node:stream'
import type { Leg } from '../leg.ts'

/** A stream is what goes on for so long without a word from the other side: rows, or a COPY. */
const STREAM_BYTES = 256 * 1024
/** PostgreSQL sends 8 KB at a time. */
const PIECE_BYTES = 32 * 1024
/** In it the kernel gathers what takes one read and one write then. */
const GATHER_MS = 1

/** What one session may carry before the others have their turn: libuv reads a socket 32 times in a row. */
const TURN_BYTES = 64 * 1024

/** Why the leg isn't read. */
const FULL = 1
const OWED = 2
const GATHERING = 4
const OTHERS_TURN = 8

export class Flow {
  readonly #from: Leg
  readonly #to: Leg
  readonly #gathers: boolean
  #held = 0
  /** Bytes since the other side spoke. */
  #streamed = 0
  /** Bytes since the others had their turn. */
  #inTurn = 0
  #gathered: NodeJS.Timeout | undefined
  #turn: NodeJS.Immediate | undefined
  readonly #onDrain = () => this.#release(FULL)

  /** @param gathers - larger pieces come of a rest: of a client's socket Node reads on, and hands out what it read one by one. */
  constructor(from: Leg, to: Leg, gathers: boolean) {
    this.#from = from
    this.#to = to
    this.#gathers = gathers
    to.socket.on('drain', this.#onDrain)
  }

  /** @returns where the chunk waits, if it does: its memory is needed until then. */
  write(bytes: Buffer): Writable | undefined {
    this.#streamed += bytes.length
    this.#inTurn += bytes.length
    const { socket } = this.#to
    if (!socket.write(bytes)) this.#hold(FULL)
    if (this.#inTurn >= TURN_BYTES) this.#letOthers()
    if (this.#gathers && this.#streamed > STREAM_BYTES && bytes.length < PIECE_BYTES) this.#gather()
    return socket.writableLength > 0 ? socket : undefined
  }

  /** Something came the other way: what follows may be an answer to it. */
  otherSpoke(): void {
    this.#streamed = 0
  }

  /** The other side owes too much already. */
  holdForAnswers(): void {
    this.#hold(OWED)
  }

  answered(): void {
    this.#release(OWED)
  }

  /** It is over: the legs may be somebody else's. */
  close(): void {
    clearTimeout(this.#gathered)
    clearImmediate(this.#turn)
    this.#to.socket.off('drain', this.#onDrain)
  }

  #letOthers(): void {
    this.#inTurn = 0
    this.#hold(OTHERS_TURN)
    this.#turn = setImmediate(() => this.#release(OTHERS_TURN))
  }

  /** Not with TLS: one read of it comes as many records, and each would wait. */
  #gather(): void {
    if (this.#from.encrypted) return
    this.#hold(GATHERING)
    if (this.#gathered === undefined)
      this.#gathered = setTimeout(() => this.#release(GATHERING), GATHER_MS)
    else this.#gathered.refresh()
  }

  #hold(why: number): void {
    if (this.#held === 0) this.#from.socket.pause()
    this.#held |= why
  }

  #release(why: number): void {
    if (this.#held === 0) return
    this.#held &= ~why
    if (this.#held === 0) this.#from.socket.resume()
  }
}
