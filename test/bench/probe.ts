/**
 * Preloaded into a Postern that is looked into (`--import`): answers on a unix socket, one line a question.
 * `gc` collects all garbage, gives back what that leaves free, and says what memory is in use (buffers are
 * outside of JavaScript's heap, and are its own for all that); `delay` says
 * how late the event loop was since it was asked the last time.
 * https://nodejs.org/docs/latest-v24.x/api/perf_hooks.html
 */
import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

export type Question = 'gc' | 'delay'

export interface Delay {
  /** Milliseconds by which a timer was late. */
  p50: number
  p99: number
  max: number
}

/** A timer that is due after so long; what it takes longer is the delay. */
export const RESOLUTION_MS = 1

/** Each entry is the time from one timer to the next. */
export function delayOf(delays: ReturnType<typeof monitorEventLoopDelay>): Delay {
  const late = (ns: number) => Math.max(0, ns / 1e6 - RESOLUTION_MS)
  return {
    p50: late(delays.percentile(50)),
    p99: late(delays.percentile(99)),
    max: late(delays.max),
  }
}

const TURNS = 4
const TURN_MS = 200

const at = new URL(import.meta.url).searchParams.get('at')
if (at !== null) listen(at)

function listen(path: string): void {
  setFlagsFromString('--expose-gc')
  const collect: (how: object) => void = runInNewContext('gc')
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  const answer: Record<Question, () => unknown> = {
    async gc() {
      // What is looked after by finalizers and weak references goes in turns.
      for (let turn = 0; turn < TURNS; turn++) {
        collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
        await delay(TURN_MS)
      }
      const { heapUsed, external } = process.memoryUsage()
      // ArrayBuffers are counted in `external`.
      return heapUsed + external
    },
    delay(): Delay {
      const late = delayOf(delays)
      delays.enable()
      delays.reset()
      return late
    },
  }
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (line) => {
      const said = async () => await answer[line.toString().trim() as Question]()
      void said().then((what) => socket.write(`${JSON.stringify(what)}\n`))
    })
  })
  rmSync(path, { force: true })
  server.listen(path).unref()
}
