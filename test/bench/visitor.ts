/**
 * A program that signs in, in a process of its own: it is told what to do by the bench (visitors.ts), says
 * when it is done and what it cost, and ends with the bench.
 */
import type { Socket } from 'node:net'
import { hostOf, move, visit, work } from './visit.ts'
import type { Order, Told } from './visitors.ts'

const staying: Socket[] = []

process.once('disconnect', () => process.exit())
process.on('message', (order: Order) => {
  void timed(order).then(tell, (thrown: unknown) => tell({ failed: String(thrown) }))
})

function tell(what: Told): void {
  process.send?.(what)
}

async function timed(order: Order): Promise<Told> {
  const cpu = process.cpuUsage()
  const start = process.hrtime.bigint()
  const visits = await carryOut(order, () => Number(process.hrtime.bigint() - start) / 1e9)
  const { user, system } = process.cpuUsage(cpu)
  const seconds = Number(process.hrtime.bigint() - start) / 1e9
  return { visits, seconds, cpuSeconds: (user + system) / 1e6 }
}

/** @returns how many did it. */
async function carryOut(order: Order, elapsed: () => number): Promise<number> {
  switch (order.kind) {
    case 'count':
      return staying.filter((socket) => !socket.closed).length
    case 'leave':
      return await leave()
    case 'work':
      return await inParallel(order.parallel, async (at) => {
        const socket = staying[at]
        if (socket !== undefined) await work(socket)
        return socket !== undefined
      })
  }
  const { client, passwords, parallel, visits, seconds } = order
  const host = hostOf(client)
  return await inParallel(parallel, async (at) => {
    if (at >= visits || elapsed() > seconds) return false
    const password = passwords[at % passwords.length] ?? ''
    if (order.kind === 'stay') staying.push(await move(host, password))
    else await visit(host, password)
    return true
  })
}

/** Some at a time, until one says that there was nothing to do. @returns how many there were. */
async function inParallel(parallel: number, one: (at: number) => Promise<boolean>) {
  let next = 0
  let done = 0
  const loop = async () => {
    while (await one(next++)) done++
  }
  await Promise.all(Array.from({ length: parallel }, loop))
  return done
}

async function leave(): Promise<number> {
  const gone = staying.splice(0).map(
    (socket) =>
      new Promise((resolve) => {
        socket.removeAllListeners('error').on('error', () => undefined)
        socket.once('close', resolve).destroy()
      }),
  )
  return (await Promise.all(gone)).length
}
