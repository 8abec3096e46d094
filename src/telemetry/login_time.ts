/**
 * Where the time of a login goes: whom the gate waits for at each moment, from the connection to the
 * first ReadyForQuery. One who is slow is found by it: the client, the issuer, the node, or the gate itself.
 * Rule: at any moment it is one of them, so that the parts are the whole.
 */

/** `gate` is what is left: judging, writing down, and waiting for its own turn. */
export type Whom = 'client' | 'issuer' | 'node' | 'gate'

export const WHOM: readonly Whom[] = ['client', 'issuer', 'node', 'gate']

/** Milliseconds. */
export type LoginParts = Readonly<Record<Whom, number>>

/** Who is told whom it is waited for. */
export interface Waits {
  /** While something is waited for. What that is waits for itself may be somebody else. */
  waiting<T>(whom: Whom, work: Promise<T>): Promise<T>
}

/** A stretch of time, in milliseconds from the connection. */
export type Lap = readonly [whom: Whom, fromMs: number, toMs: number]

export class LoginTime implements Waits {
  readonly #elapsed: () => number
  readonly #startMs: number
  readonly #parts = { client: 0, issuer: 0, node: 0, gate: 0 }
  readonly #laps: Lap[] | undefined
  #whom: Whom = 'client'
  #sinceMs: number

  /**
   * A client is what is waited for first.
   * @param elapsed - milliseconds on a clock that is never set
   * @param keepsLaps - where each stretch is wanted, and not the sums alone
   */
  constructor(elapsed: () => number, keepsLaps: boolean) {
    this.#elapsed = elapsed
    this.#startMs = elapsed()
    this.#sinceMs = this.#startMs
    this.#laps = keepsLaps ? [] : undefined
  }

  /** From now on. @returns who it was until now */
  turn(whom: Whom): Whom {
    const nowMs = this.#elapsed()
    const before = this.#whom
    this.#parts[before] += nowMs - this.#sinceMs
    if (this.#laps !== undefined && this.#laps.length < LAPS_MAX && nowMs > this.#sinceMs)
      this.#laps.push([before, this.#sinceMs - this.#startMs, nowMs - this.#startMs])
    this.#whom = whom
    this.#sinceMs = nowMs
    return before
  }

  async waiting<T>(whom: Whom, work: Promise<T>): Promise<T> {
    const before = this.turn(whom)
    try {
      return await work
    } finally {
      this.turn(before)
    }
  }

  /** Up to now. */
  parts(): LoginParts {
    this.turn(this.#whom)
    return { ...this.#parts }
  }

  /** The stretches, up to now, where they are kept. */
  laps(): readonly Lap[] {
    this.turn(this.#whom)
    return this.#laps ?? []
  }
}

/** More than any login has that somebody would want to look at. */
const LAPS_MAX = 64
