/**
 * A target of the fuzzing: cases that are made up, and what holds of each of them, whatever it is. What a
 * judge throws is a finding. Rule for all that is judged: it throws a Failure of the table, or what its
 * own words say that it throws, and nothing else; see `outcome`.
 */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { Failure, type FailureCode } from '../../src/failure.ts'

export interface Target {
  /** `room/what`, for --only. */
  name: string
  /** Its share of the time: more for what takes long and finds much. */
  weight: number
  /** Opens what its cases share: keys, certificates, a gate. */
  open(): Promise<OpenTarget>
}

export interface OpenTarget {
  /** Some cases of a seed, each judged: the first finding, made as small as can be, if there is one. */
  check(batch: Batch): Promise<Finding | undefined>
  /** The text of one case of a seed, which is not judged; the first one is 1. */
  nth(seed: number, number: number): Promise<string>
  close(): Promise<void>
}

export interface Batch {
  seed: number
  cases: number
  /** Called before each of them, and for each that is made of a finding to make it smaller. */
  onCase?: () => void
}

export interface Finding {
  target: string
  seed: number
  problem: string
  counterexample: string
}

/** The weight of what takes a millisecond a case or more. */
export const HEAVY = 4

interface Parts<T> {
  cases: fc.Arbitrary<T>
  /** Throws where something does not hold. */
  judge(one: T): void | Promise<void>
  close?(): Promise<void>
}

export function target<T>(
  name: string,
  cases: fc.Arbitrary<T>,
  judge: (one: T) => void | Promise<void>,
): Target {
  return sharing(name, async () => ({ cases, judge }))
}

/** One whose cases share something that takes time to make. */
export function sharing<T>(name: string, make: () => Promise<Parts<T>>, weight = 1): Target {
  return {
    name,
    weight,
    async open() {
      const { cases, judge, close } = await make()
      return {
        check: (batch) => check(name, cases, judge, batch),
        nth: (seed, number) => nth(cases, seed, number),
        close: async () => await close?.(),
      }
    },
  }
}

async function check<T>(
  name: string,
  cases: fc.Arbitrary<T>,
  judge: Parts<T>['judge'],
  { seed, cases: numRuns, onCase }: Batch,
): Promise<Finding | undefined> {
  const property = fc.asyncProperty(cases, async (one) => {
    onCase?.()
    await judge(one)
  })
  const { failed, counterexample, errorInstance } = await fc.check(property, { seed, numRuns })
  if (!failed) return undefined
  return { target: name, seed, problem: said(errorInstance), counterexample: shown(counterexample) }
}

/** Made as `check` makes it: what comes before it is counted, and not judged. */
async function nth<T>(cases: fc.Arbitrary<T>, seed: number, number: number): Promise<string> {
  let left = number
  const property = fc.asyncProperty(cases, async () => --left > 0)
  const settings = { seed, numRuns: number, endOnFailure: true }
  return shown((await fc.check(property, settings)).counterexample)
}

const COUNTEREXAMPLE_CHARACTERS = 4_000

function shown(counterexample: readonly unknown[] | null): string {
  const text = fc.stringify(counterexample?.[0])
  if (text.length <= COUNTEREXAMPLE_CHARACTERS) return text
  return `${text.slice(0, COUNTEREXAMPLE_CHARACTERS)}… (${text.length} characters)`
}

function said(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const { code, log } = thrown as Partial<Failure>
  const more = thrown instanceof Failure ? `\n${code}: ${log ?? ''}` : ''
  return `${thrown.stack ?? thrown.message}${more}`
}

/** What came of it: a value, or a Failure. */
export type Outcome<T> = { value: T } | { code: FailureCode; says: string }

/**
 * Runs what may fail. What isn't a Failure is thrown on, and so are an internal error, which is a mistake
 * by another name, and a Failure whose words no client should get.
 * @param codes - those that it may fail with; any of the table where none are named.
 */
export function outcome<T>(work: () => T, codes?: readonly FailureCode[]): Outcome<T> {
  try {
    return { value: work() }
  } catch (thrown) {
    return failed(thrown, codes)
  }
}

/** As `outcome`, of what takes time. */
export async function eventually<T>(
  work: Promise<T>,
  codes?: readonly FailureCode[],
): Promise<Outcome<T>> {
  try {
    return { value: await work }
  } catch (thrown) {
    return failed(thrown, codes)
  }
}

/** libpq gives up on a refusal of 30,000 bytes. */
const SAID_CHARACTERS_MAX = 20_000

function failed(
  thrown: unknown,
  codes?: readonly FailureCode[],
): Exclude<Outcome<never>, { value: never }> {
  if (!(thrown instanceof Failure) || thrown.code === 'internal_error') throw thrown
  const { code, message, detail = '', hint = '' } = thrown
  if (codes !== undefined && !codes.includes(code)) throw thrown
  if (/\{\w+\}/.test(thrown.row.say) && message === thrown.row.say)
    throw new Error(`the sentence of ${code} was not filled`)
  if (message.length + detail.length + hint.length > SAID_CHARACTERS_MAX)
    throw new Error(`${code} says ${message.length + detail.length} characters`)
  return { code, says: message }
}

/** Fails the case, with what was seen. */
export function must(holds: boolean, otherwise: string, ...seen: unknown[]): void {
  if (!holds) throw new Error([otherwise, ...seen.map((each) => fc.stringify(each))].join(': '))
}

export function mustEqual(found: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(found, expected)) return
  throw new Error(`${what}: found ${fc.stringify(found)}, expected ${fc.stringify(expected)}`)
}
