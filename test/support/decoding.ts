/** How decoders are tested: fed in every way that bytes can arrive, and judged by what a user sees. */
import { expect } from 'vitest'
import { Failure, type FailureCode } from '../../src/failure.ts'
import { Framing } from '../../src/wire/framing.ts'

/** What the one who is refused reads; a silent failure is known by its code alone. */
export type Refusal = { sqlstate: string; says: string } | { silent: FailureCode }

/** The value, or the refusal. Anything else that is thrown is a bug, and thrown on. */
export function outcome<T>(work: () => T): T | Refusal {
  try {
    return work()
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    return refusalIn(thrown)
  }
}

export function refusalIn({ code, row, message }: Failure): Refusal {
  return row.silent ? { silent: code } : { sqlstate: row.sqlstate, says: message }
}

/**
 * What `take` finds in the bytes, asked after each chunk until it answers; undefined if it never
 * does. It must be the same whether they come whole, byte by byte, or cut once at any place.
 */
export function taken<T>(
  bytes: Buffer,
  take: (framing: Framing) => T | undefined,
): T | Refusal | undefined {
  const [whole, ...others] = Array.from(arrivals(bytes), (chunks) => takeFrom(chunks, take))
  expect(others).toEqual(others.map(() => whole))
  return whole
}

function takeFrom<T>(chunks: Buffer[], take: (framing: Framing) => T | undefined) {
  const framing = new Framing()
  for (const chunk of chunks) {
    framing.push(chunk)
    const found = outcome(() => take(framing))
    if (found !== undefined) return found
  }
  return undefined
}

/** Cutting longer bytes at every place would take long; they are cut at so many. */
const CUTS_MAX = 300

function* arrivals(bytes: Buffer): Generator<Buffer[]> {
  yield [Buffer.from(bytes)]
  yield Array.from(bytes, (byte) => Buffer.from([byte]))
  const stride = Math.ceil(bytes.length / CUTS_MAX)
  for (let cut = 1; cut < bytes.length; cut += stride)
    yield [Buffer.from(bytes.subarray(0, cut)), Buffer.from(bytes.subarray(cut))]
}
