/** The thread that judges cases, so that somebody else can see that it hangs; see supervise.ts. */
import { setImmediate } from 'node:timers/promises'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { parentPort, workerData } from 'node:worker_threads'
import { type Done, type Order, openProgress, type Progress } from './progress.ts'
import type { Finding, OpenTarget, Target } from './target.ts'

/** Cases of a seed: whoever repeats a seed meets the same ones. */
const BATCH = 200

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

function heapBytes(): number {
  collectGarbage()
  const { used_heap_size, external_memory } = getHeapStatistics()
  return used_heap_size + external_memory
}

async function judge(
  open: OpenTarget,
  { seconds, seed }: Order,
  progress: Progress,
): Promise<Done> {
  const started = performance.now()
  const since = () => (performance.now() - started) / 1000
  let [cases, slowestMs, heapAtFirst] = [0, 0, 0]
  let finding: Finding | undefined
  for (let batch = 0; finding === undefined && since() < seconds; batch++) {
    let last = performance.now()
    const onCase = () => {
      progress.next()
      const now = performance.now()
      // The first one has waited for nothing yet.
      slowestMs = Math.max(slowestMs, now - last)
      last = now
      cases += 1
    }
    progress.begin(seed + batch)
    finding = await open.check({ seed: seed + batch, cases: BATCH, onCase })
    // Timers and sockets have their turn, too.
    await setImmediate()
    // What is compiled and remembered once is there by then.
    if (heapAtFirst === 0 && (since() > seconds / 3 || progress.isStopped()))
      heapAtFirst = heapBytes()
    if (progress.isStopped()) break
  }
  const grownBytes = heapAtFirst === 0 ? 0 : heapBytes() - heapAtFirst
  return { cases, seconds: since(), slowestMs, grownBytes, finding }
}

const { module, memory } = workerData as { module: string; memory: SharedArrayBuffer }
const { TARGETS } = (await import(module)) as { TARGETS: readonly Target[] }
const progress = openProgress(memory)

parentPort?.on('message', async (order: Order) => {
  const target = TARGETS.find(({ name }) => name === order.target)
  if (target === undefined) throw new Error(`there is no target ${order.target}`)
  const open = await target.open()
  const done = await judge(open, order, progress)
  // Who hears of it may end this thread.
  await open.close()
  parentPort?.postMessage(done)
})
