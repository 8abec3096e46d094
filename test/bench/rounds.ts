/**
 * Alternating rounds: each runs every peer once, in shuffled order, so that what the machine does
 * meanwhile hits all of them. A ratio is reckoned within a round, and the median of the ratios counts.
 */
import { randomInt } from 'node:crypto'

/** What one run of one peer came to, by name. */
export type Figures = Record<string, number>

/** The rounds of one peer, in order. */
export type Samples = Figures[]

export interface Summary {
  median: number
  /** (most - least) / median. */
  spread: number
  least: number
  most: number
}

/** A figure that targets.ts asks for. */
export interface Measured extends Summary {
  /** The programs that sign in had no more CPU to go faster: the figure is theirs, and judges nobody. */
  capped?: boolean
  /** What isn't as the target's words have it. */
  note?: string
}

export async function alternate<T>(
  entries: readonly T[],
  rounds: number,
  measure: (entry: T, round: number) => Promise<Figures>,
): Promise<Map<T, Samples>> {
  const samples = new Map<T, Samples>(entries.map((entry) => [entry, []]))
  for (let round = 0; round < rounds; round++)
    for (const entry of shuffled(entries)) samples.get(entry)?.push(await measure(entry, round))
  return samples
}

/** Of one figure over the rounds. */
export function summarise(samples: Samples, figure: string): Summary {
  return summaryOf(samples.map((sample) => figureOf(sample, figure)))
}

/** One peer's figure by another one's, round by round. */
export function ratio(of: Samples, by: Samples, figure: string): Summary {
  return summaryOf(
    of.map((sample, round) => figureOf(sample, figure) / figureOf(by[round] ?? {}, figure)),
  )
}

export function summaryOf(values: number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b)
  const [least = Number.NaN] = sorted
  const most = sorted.at(-1) ?? Number.NaN
  const middle = (sorted.length - 1) / 2
  const median = ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2
  return { median, spread: most === least ? 0 : (most - least) / median, least, most }
}

function figureOf(sample: Figures, figure: string): number {
  const value = sample[figure]
  if (value === undefined) throw new Error(`no figure ${figure} was measured`)
  return value
}

/** Fisher and Yates'. */
function shuffled<T>(entries: readonly T[]): T[] {
  const order = [...entries]
  for (let at = order.length - 1; at > 0; at--) {
    const other = randomInt(at + 1)
    const [here, there] = [order[at], order[other]]
    if (here !== undefined && there !== undefined) [order[at], order[other]] = [there, here]
  }
  return order
}
