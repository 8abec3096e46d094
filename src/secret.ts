/**
 * A value that does not print. A token, a password or a key is carried as a `Secret` from the
 * frame it came in to the one place that may read it. `reveal` is the only way out: grep for it.
 */
import { inspect } from 'node:util'

const MASK = '[secret]'

export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** The text itself. The caller must not log, store or send it anywhere but where it belongs. */
  reveal(): string {
    return this.#text
  }

  get empty(): boolean {
    return this.#text === ''
  }

  toString(): string {
    return MASK
  }

  toJSON(): string {
    return MASK
  }

  [inspect.custom](): string {
    return MASK
  }
}
