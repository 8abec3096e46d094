/**
 * A run of the fuzzing: targets one after the other in a thread of their own, which is watched. A finding
 * is what a judge threw, a case that does not end, memory that grows, or what nobody caught.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { type Done, type Order, openProgress, type Progress } from './progress.ts'
import type { Finding, Target } from './target.ts'

export interface Run {
  /** Which exports the targets as TARGETS. */
  module: URL
  targets: readonly Target[]
  seconds: number
  seed: number
  say(text: string): void
  /** Ends it after the cases that are under way. */
  stop: AbortSignal
  /** A case that takes longer hangs; milliseconds. */
  hangMs?: number
}

const HANG_MS = 20_000
const LOOK_MS = 250
/** The heap may have so much more in the end than after the first third. */
const GROWN_BYTES_MAX = 32 * 1024 ** 2

/** @returns what was found; each is said as it is found, with how to repeat it. */
export async function fuzz(run: Run): Promise<Finding[]> {
  const { targets, seed, say, stop } = run
  const started = performance.now()
  const since = () => (performance.now() - started) / 1000
  const findings: Finding[] = []
  let cases = 0
  let thread: Thread | undefined
  say(`seed ${seed}\n`)
  for (const [index, { name, weight }] of targets.entries()) {
    if (stop.aborted) break
    thread ??= openThread(run)
    // What one target took too much, the others share.
    const share = weight / sum(targets.slice(index))
    const seconds = Math.max((run.seconds - since()) * share, 0.001)
    const done = await thread.judge({ target: name, seconds, seed })
    cases += done.cases
    say(row(name, done))
    const found = done.finding ?? grown(name, seed, done)
    if (found !== undefined) {
      findings.push(found)
      say(described(found))
    }
    if (done.broken) thread = undefined
  }
  await thread?.close()
  const pace = Math.round(cases / since())
  say(
    `${cases} cases in ${Math.round(since())} s, ${pace} a second; seed ${seed}; findings: ${findings.length}\n`,
  )
  return findings
}

function sum(targets: readonly Target[]): number {
  return targets.reduce((all, { weight }) => all + weight, 0)
}

function row(name: string, { cases, seconds, slowestMs, grownBytes }: Done): string {
  const columns = [
    name.padEnd(24),
    String(cases).padStart(9),
    `${Math.round(cases / Math.max(seconds, 0.001))}/s`.padStart(10),
    `slowest ${Math.round(slowestMs)} ms`.padStart(18),
    `heap ${(grownBytes / 1024 ** 2).toFixed(1)} MiB`.padStart(18),
  ]
  return `${columns.join('')}\n`
}

function described({ target, seed, problem, counterexample }: Finding): string {
  const again = `npm run fuzz -- --only ${target} --seed ${seed} --minutes 1`
  return `\nFINDING in ${target}\n${problem}\n\n  case: ${counterexample}\n  again: ${again}\n\n`
}

function grown(target: string, seed: number, { grownBytes, cases }: Done): Finding | undefined {
  if (grownBytes <= GROWN_BYTES_MAX) return undefined
  const problem = `the heap grew by ${grownBytes} bytes in ${cases} cases`
  return { target, seed, problem, counterexample: 'all of them' }
}

interface Thread {
  judge(order: Order): Promise<Done & { broken: boolean }>
  close(): Promise<void>
}

function openThread({ module, targets, stop, hangMs = HANG_MS }: Run): Thread {
  const progress = openProgress()
  const worker = new Worker(new URL('./judging.ts', import.meta.url), {
    workerData: { module: module.href, memory: progress.memory },
  })
  const onStop = () => progress.stop()
  stop.addEventListener('abort', onStop)
  if (stop.aborted) onStop()
  const close = async () => {
    stop.removeEventListener('abort', onStop)
    await worker.terminate()
  }
  return {
    close,
    async judge(order) {
      const started = performance.now()
      const before = progress.judged()
      const ended = new AbortController()
      try {
        worker.postMessage(order)
        const [done] = (await Promise.race([
          once(worker, 'message', { signal: ended.signal }),
          hang(progress, hangMs, ended.signal),
        ])) as [Done]
        return { ...done, broken: false }
      } catch (thrown) {
        await close()
        return {
          cases: progress.judged() - before,
          seconds: (performance.now() - started) / 1000,
          slowestMs: 0,
          grownBytes: 0,
          finding: await brokenBy(thrown, targets, order, progress),
          broken: true,
        }
      } finally {
        ended.abort()
      }
    },
  }
}

/** Rejects once nothing was judged for so long. */
async function hang(progress: Progress, ms: number, ended: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  let last = { judged: progress.judged(), atMs: performance.now() }
  const timer = setInterval(() => {
    const judged = progress.judged()
    if (judged !== last.judged) last = { judged, atMs: performance.now() }
    else if (performance.now() - last.atMs > ms)
      reject(new Error(`a case does not end in ${ms} ms`))
  }, LOOK_MS)
  ended.addEventListener('abort', () => clearInterval(timer))
  return promise
}

/** The case is made once more, to be shown. */
async function brokenBy(
  thrown: unknown,
  targets: readonly Target[],
  { target, seed: first }: Order,
  progress: Progress,
): Promise<Finding> {
  const { seed, number } = progress.now()
  const problem = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)
  const open = await targets.find(({ name }) => name === target)?.open()
  const counterexample = number === 0 ? 'none yet' : ((await open?.nth(seed, number)) ?? '')
  await open?.close()
  return { target, seed: number === 0 ? first : seed, problem, counterexample }
}
