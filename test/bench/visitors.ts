/**
 * The bench's end of the program that signs in (visitor.ts): a closed loop of a few clients at a time, who
 * come and leave, or come and stay.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ENVIRONMENT, type Environment } from './program.ts'

export type Order =
  | {
      kind: 'visit' | 'stay'
      /** Where and who, for libpq. */
      client: Environment
      /** Given one after the other, and from the first again. */
      passwords: string[]
      parallel: number
      /** Whichever is reached first. */
      visits: number
      seconds: number
    }
  /** Of those who stay: how many still can; and all are to go. */
  | { kind: 'count' }
  | { kind: 'leave' }

export interface Stay {
  visits: number
  seconds: number
}

export type Told = Stay | { failed: string }

export interface Visitors {
  carryOut(order: Order): Promise<Stay>
  close(): Promise<void>
}

/** Of clients at one time. */
export const PARALLEL = 4

export function openVisitors(): Visitors {
  const program = join(import.meta.dirname, 'visitor.ts')
  const child = fork(program, { env: ENVIRONMENT, execArgv: [], serialization: 'advanced' })
  return {
    async carryOut(order) {
      child.send(order)
      const told = await answerOf(child)
      if ('failed' in told) throw new Error(`a client that signs in failed: ${told.failed}`)
      return told
    },
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'close')
    },
  }
}

function answerOf(child: ChildProcess): Promise<Told> {
  return new Promise((resolve) => {
    const ended = () => resolve({ failed: 'its process ended' })
    child.once('close', ended)
    child.once('message', (told: Told) => {
      child.off('close', ended)
      resolve(told)
    })
  })
}
