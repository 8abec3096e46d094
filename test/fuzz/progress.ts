/**
 * What the thread that judges cases and the one that watches it share: memory, since whoever hangs sends no
 * messages; and the messages themselves.
 */
import type { Finding } from './target.ts'

/** What the judging thread is asked for: one target, for so long. */
export interface Order {
  target: string
  seconds: number
  seed: number
}

export interface Done {
  cases: number
  seconds: number
  /** Of the cases; milliseconds. */
  slowestMs: number
  /** What the heap has more than after the first cases. */
  grownBytes: number
  finding: Finding | undefined
}

/** Where in the shared memory what is. */
const PLACES = { judged: 0, seed: 1, number: 2, stop: 3 }

export function openProgress(memory = new SharedArrayBuffer(4 * Object.keys(PLACES).length)) {
  const cells = new Int32Array(memory)
  return {
    memory,
    /** Another batch of cases begins. */
    begin(seed: number): void {
      Atomics.store(cells, PLACES.seed, seed)
      Atomics.store(cells, PLACES.number, 0)
    },
    /** Another case of it. */
    next(): void {
      Atomics.add(cells, PLACES.number, 1)
      Atomics.add(cells, PLACES.judged, 1)
    },
    judged: () => Atomics.load(cells, PLACES.judged),
    /** The case that is judged: the seed of its batch, and which one it is. */
    now: () => ({
      seed: Atomics.load(cells, PLACES.seed),
      number: Atomics.load(cells, PLACES.number),
    }),
    /** After the batch that is under way. */
    stop: () => void Atomics.store(cells, PLACES.stop, 1),
    isStopped: () => Atomics.load(cells, PLACES.stop) === 1,
  }
}

export type Progress = ReturnType<typeof openProgress>
