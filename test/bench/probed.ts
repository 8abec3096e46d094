/** A Postern that can be looked into: how it is started with probe.ts in it, and how that is asked. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Delay, Question } from './probe.ts'
import type { Stage } from './stage.ts'

export interface Probe {
  /** For Node, in front of the program. */
  options: string[]
  /** Collects garbage. @returns bytes that JavaScript has in use, in its heap and outside */
  collect(): Promise<number>
  /** How late the event loop was since it was asked the last time. */
  delay(): Promise<Delay>
}

/** @param name - of the probe's socket. */
export function makeProbe(stage: Stage, name: string): Probe {
  const path = join(stage.dir, `${name}.probe`)
  const preloaded = pathToFileURL(join(import.meta.dirname, 'probe.ts'))
  preloaded.searchParams.set('at', path)
  const ask = async (question: Question) => {
    const socket = connect(path)
    socket.write(`${question}\n`)
    const [line] = await once(socket, 'data')
    socket.destroy()
    return JSON.parse(String(line))
  }
  return {
    options: ['--import', preloaded.href],
    collect: async () => await ask('gc'),
    delay: async () => await ask('delay'),
  }
}
