/**
 * The bench's end of the programs that sign in (visitor.ts): a closed loop of a few clients at a time, who
 * come and leave, or come and stay. There are two of them, since one has less to give than a peer can take;
 * each order is shared out, and what the clients themselves cost is measured with it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { readMachine } from './machine.ts'
import { ENVIRONMENT, type Environment } from './program.ts'

export interface Clients {
  /** Where and who, for libpq. */
  client: Environment
  /** Given one after the other, and from the first again. */
  passwords: string[]
  parallel: number
  /** Whichever is reached first. */
  visits: number
  seconds: number
}

export type Order =
  | ({ kind: 'visit' | 'stay' } & Clients)
  /** Of those who stay: how many still can; all are to ask for a wide row, then a small one; all are to go. */
  | { kind: 'count' }
  | { kind: 'work'; parallel: number }
  | { kind: 'leave' }

/** What one program did, or all. */
export interface Stay {
  visits: number
  seconds: number
  /** Of the programs that sign in. */
  cpuSeconds: number
}

export type Told = Stay | { failed: string }

export interface Visitors {
  /** @returns also which share, 0 to 1, the programs took of the CPU that they could have had. */
  carryOut(order: Order): Promise<Stay & { share: number }>
  close(): Promise<void>
}

/** Of clients at one time. */
export const PARALLEL = 4
const PROCESSES = 2

export function openVisitors(): Visitors {
  const program = join(import.meta.dirname, 'visitor.ts')
  const start = () => fork(program, { env: ENVIRONMENT, execArgv: [], serialization: 'advanced' })
  const children = Array.from({ length: PROCESSES }, start)
  return {
    async carryOut(order) {
      const before = await readMachine()
      const orders = shares(order, PROCESSES)
      const told = await Promise.all(children.map((child, at) => tell(child, orders[at] ?? order)))
      const { idleSeconds } = await readMachine()
      const done = {
        visits: told.reduce((sum, { visits }) => sum + visits, 0),
        seconds: Math.max(...told.map(({ seconds }) => seconds)),
        cpuSeconds: told.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
      }
      return { ...done, share: shareOf(done, PROCESSES, idleSeconds - before.idleSeconds) }
    },
    async close() {
      await Promise.all(children.map(end))
    },
  }
}

/** Each program has one thread that works; what nobody used they could have had. */
export function shareOf(
  { seconds, cpuSeconds }: Pick<Stay, 'seconds' | 'cpuSeconds'>,
  processes: number,
  idleSeconds: number,
): number {
  const could = Math.min(processes * seconds, cpuSeconds + idleSeconds)
  return could > 0 ? cpuSeconds / could : 0
}

/** An order for each program: together they are the one that was given. */
export function shares(order: Order, count: number): Order[] {
  const part = (all: number, at: number) => Math.ceil((all - at) / count)
  return Array.from({ length: count }, (_, at) => {
    if (order.kind === 'work') return { ...order, parallel: part(order.parallel, at) }
    if (order.kind !== 'visit' && order.kind !== 'stay') return order
    const { passwords } = order
    return {
      ...order,
      passwords:
        passwords.length < count ? passwords : passwords.filter((_, n) => n % count === at),
      parallel: part(order.parallel, at),
      visits: part(order.visits, at),
    }
  })
}

/** Has so many more people stay. Throws unless all who stay, `all` of them, can still. */
export async function moveIn(visitors: Visitors, clients: Clients, all: number): Promise<void> {
  await visitors.carryOut({ ...clients, kind: 'stay' })
  const { visits } = await visitors.carryOut({ kind: 'count' })
  if (visits !== all) throw new Error(`${visits} sessions stand where there should be ${all}`)
}

async function tell(child: ChildProcess, order: Order): Promise<Stay> {
  child.send(order)
  const told = await answerOf(child)
  if ('failed' in told) throw new Error(`a client that signs in failed: ${told.failed}`)
  return told
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
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
