/** Sockets that are bound before anybody listens, by two gates at once. */
import { once } from 'node:events'
import { readdir, stat } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type BoundSockets, bindSockets } from '../../src/sql/bound_sockets.ts'
import type { Bind } from '../../src/sql/listener.ts'
import { makeDirectory } from '../support/tools.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

async function bind(where: Bind): Promise<BoundSockets> {
  const sockets = await bindSockets([where])
  closing.push(sockets.close)
  return sockets
}

/** What a worker does; here in this process, which then has the descriptor. */
async function listen(path: string) {
  const server = net.createServer().listen(path)
  closing.push(() => void server.close())
  await once(server, 'listening')
}

describe('a unix socket', () => {
  const there = async () => {
    const directory = await makeDirectory()
    return { directory, bind: { path: join(directory, '.s.PGSQL.5432'), mode: 0o750 } }
  }

  it('has its name when somebody listens, and none at the end', async () => {
    const { directory, bind: where } = await there()
    const sockets = await bind(where)
    expect(await readdir(directory)).not.toContain('.s.PGSQL.5432')
    await sockets.publish()
    expect(await readdir(directory)).toEqual(['.s.PGSQL.5432'])
    expect((await stat(where.path)).mode & 0o777).toBe(0o750)
    sockets.close()
    expect(await readdir(directory)).toEqual([])
  })

  it('leaves nothing where nobody came to listen', async () => {
    const { directory, bind: where } = await there()
    const sockets = await bind(where)
    sockets.close()
    expect(await readdir(directory)).toEqual([])
  })

  it('takes the name of one that is stale', async () => {
    const { directory, bind: where } = await there()
    // Nobody listens on it.
    const stale = new net.BoundSocket({ path: where.path })
    closing.push(() => stale.close())
    const sockets = await bind(where)
    await sockets.publish()
    expect(await readdir(directory)).toEqual(['.s.PGSQL.5432'])
    sockets.close()
  })

  it('is refused where another one listens: before, or by then', async () => {
    const { bind: where } = await there()
    const sockets = await bind(where)
    await listen(where.path)
    const refusal = { code: 'cannot_listen', message: expect.stringContaining('somebody listens') }
    await expect(sockets.publish()).rejects.toMatchObject(refusal)
    await expect(bindSockets([where])).rejects.toMatchObject(refusal)
    sockets.close()
    expect((await stat(where.path)).isSocket()).toBe(true)
  })

  it('that lost its name to another gate does not take it along', async () => {
    const { bind: where } = await there()
    const first = await bind(where)
    const second = await bind(where)
    await first.publish()
    await second.publish()
    first.close()
    expect((await stat(where.path)).isSocket()).toBe(true)
    second.close()
    await expect(stat(where.path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('needs a Node.js that can bind one', async () => {
    const { bind: where } = await there()
    const { prototype } = net.BoundSocket
    const able = Object.getOwnPropertyDescriptor(prototype, 'isPipe') ?? {}
    Reflect.deleteProperty(prototype, 'isPipe')
    closing.push(() => Object.defineProperty(prototype, 'isPipe', able))
    await expect(bindSockets([where])).rejects.toMatchObject({
      code: 'cannot_listen',
      message: `cannot listen on ${where.path}: it needs Node.js 24.21 or later`,
    })
  })
})

it('a port that another one listens on is refused', async () => {
  const server = net.createServer().listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  await expect(bindSockets([{ host: '127.0.0.1', port }])).rejects.toMatchObject({
    code: 'cannot_listen',
    message: expect.stringContaining('EADDRINUSE'),
  })
})
