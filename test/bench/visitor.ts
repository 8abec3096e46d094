/**
 * The program that signs in, in a process of its own: it is told what to do by the bench (visitors.ts), says
 * when it is ready, begins when it is told, and ends with it.
 */
import type { Socket } from 'node:net'
import { hostOf, move, visit } from './visit.ts'
import type { Order, Told } from './visitors.ts'

const staying: Socket[] = []

process.once('disconnect', () => process.exit())
process.on('message', (order: Order) => {
  void carryOut(order).then(tell, (thrown: unknown) => tell({ failed: String(thrown) }))
})

function tell(what: Told): void {
  process.send?.(what)
}

async function carryOut(order: Order): Promise<Told> {
  if (order.kind === 'count')
    return { visits: staying.filter((socket) => !socket.closed).length, seconds: 0 }
  if (order.kind === 'leave') {
    const gone = staying.splice(0).map(
      (socket) =>
        new Promise((resolve) => {
          socket.removeAllListeners('error').on('error', () => undefined)
          socket.once('close', resolve).destroy()
        }),
    )
    await Promise.all(gone)
    return { visits: 0, seconds: 0 }
  }
  const host = hostOf(order.client)
  const start = process.hrtime.bigint()
  let begun = 0
  const isOver = () =>
    begun >= order.visits || Number(process.hrtime.bigint() - start) / 1e9 > order.seconds
  const one = async () => {
    while (!isOver()) {
      const password = order.passwords[begun++ % order.passwords.length] ?? ''
      if (order.kind === 'stay') staying.push(await move(host, password))
      else await visit(host, password)
    }
  }
  await Promise.all(Array.from({ length: order.parallel }, one))
  return { visits: begun, seconds: Number(process.hrtime.bigint() - start) / 1e9 }
}
