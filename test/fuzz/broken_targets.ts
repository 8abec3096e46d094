/** Targets that find something, each in its own way: for the test of the program that looks at them. */
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { type Target, target } from './target.ts'

const number = fc.nat(1_000_000)
const kept: Uint8Array[] = []
const BYTES_A_MS = 200_000
const BYTES_MAX = 16 * 1024 ** 2
let lastMs = performance.now()

export const TARGETS: readonly Target[] = [
  target('broken/nothing', number, () => undefined),
  target('broken/grows', number, () => {
    // By time, not by cases: as much on a machine that others load.
    const now = performance.now()
    kept.push(new Uint8Array(Math.min((now - lastMs) * BYTES_A_MS, BYTES_MAX)))
    lastMs = now
  }),
  target('broken/throws', number, (one) => {
    if (one >= 4_711) throw new Error('that is too much')
  }),
  target('broken/hangs', number, (one) => {
    while (one > 10);
  }),
  target('broken/rejects', number, async (one) => {
    if (one > 10) void Promise.reject(new Error('nobody hears of it'))
    await sleep(1)
  }),
  target('broken/nothing_again', number, () => undefined),
]
