/** One look at a node: a real PostgreSQL by each way there is to it, and nodes that are ill. */
import { createServer, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { Node } from '../../src/cluster/node.ts'
import { probe } from '../../src/cluster/probe.ts'
import { FAILURES, NODE_SAYS } from '../../src/failure.ts'
import { nodeAt } from '../support/managed_node.ts'
import { error, type Script, startScriptedNode } from '../support/scripted_node.ts'
import { scriptedSql } from '../support/scripted_sql.ts'

const { host, port, socketDir, caPem } = inject('postgres')
const tcp = nodeAt({ host, port })
const unix = nodeAt({ path: `${socketDir}/.s.PGSQL.${port}` })
const tls = (serverName: string): Node => {
  const secureContext = createSecureContext({ ca: caPem })
  return { ...tcp, tls: { secureContext, serverName, direct: false } }
}

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

const look = async (node: Node, role?: string, ms = 5_000) =>
  await probe({ node, healthUrl: undefined }, role, AbortSignal.timeout(ms))

async function scripted(script: Script): Promise<Node> {
  const node = await startScriptedNode(script)
  closing.push(() => node.close())
  return nodeAt({ host: '127.0.0.1', port: node.port })
}

/** Whatever it is, it is no PostgreSQL. */
async function listening(answer: (socket: Socket) => void): Promise<Node> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined))
    answer(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const bound = server.address()
  const own = typeof bound === 'object' && bound !== null ? bound.port : 0
  return nodeAt({ host: '127.0.0.1', port: own })
}

const GOOD = { seen: 'good', why: '' }

describe('a real PostgreSQL is well', () => {
  it.each([
    ['over TCP', tcp],
    ['over a unix socket', unix],
    ['over TLS', tls('localhost')],
  ])('%s, without a role', async (_name, node) => {
    expect(await look(node)).toEqual({ ...GOOD, standby: undefined })
  })

  it('as a role that may sign in, which sees that it is no standby', async () => {
    expect(await look(unix, 'maxroach')).toEqual({ ...GOOD, standby: false })
  })

  it('as a role that it refuses', async () => {
    expect(await look(unix, 'nobody_at_all')).toMatchObject({ seen: 'good', standby: undefined })
  })

  it('but not where its certificate has another name', async () => {
    expect(await look(tls('other.test'))).toMatchObject({
      seen: 'bad',
      why: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    })
  })
})

describe('a node that', () => {
  const refusing = (sqlstate: string): Script => ({
    greet: ({ send }) => send(error(sqlstate, 'no')),
  })

  it.each([
    ['is shutting down', NODE_SAYS.shuttingDown, 'draining'],
    ['takes nobody now', NODE_SAYS.notNow, 'draining'],
    ['has crashed', NODE_SAYS.crashed, 'bad'],
    ['is full', FAILURES.too_many_connections.sqlstate, 'good'],
    ['has no such database', '3D000', 'good'],
  ])('%s is told by its words', async (_name, sqlstate, seen) => {
    expect(await look(await scripted(refusing(sqlstate)), 'manager')).toMatchObject({ seen })
  })

  it.each([
    ['t', true],
    ['f', false],
  ])('says %s is a standby: %s', async (said, standby) => {
    const sql = scriptedSql(() => [{ standby: said }])
    expect(await look(await scripted(sql.script), 'manager')).toEqual({ ...GOOD, standby })
    expect(sql.asked).toEqual(['SELECT pg_is_in_recovery() AS standby'])
  })

  it('is one of CockroachDB is asked as little as there is', async () => {
    const sql = scriptedSql(() => [])
    const node: Node = { ...(await scripted(sql.script)), dialect: 'cockroachdb' }
    expect(await look(node, 'manager')).toEqual({ ...GOOD, standby: false })
    expect(sql.asked).toEqual(['SELECT 1'])
  })

  it('asks for a password that the gate has not is there, though', async () => {
    const asking: Script = { greet: ({ askPassword }) => askPassword(() => undefined) }
    expect(await look(await scripted(asking), 'manager')).toMatchObject({ seen: 'good' })
  })

  it.each<[string, (socket: Socket) => void, string]>([
    ['closes', (socket) => socket.end(), 'the node closed the connection'],
    ['speaks something else', (socket) => socket.end('H'), 'H as an answer'],
    ['says nothing', () => undefined, 'no answer within health.timeout'],
  ])('%s is not well', async (_name, answer, why) => {
    expect(await look(await listening(answer), undefined, 300)).toMatchObject({
      seen: 'bad',
      why: expect.stringContaining(why),
    })
  })

  it('is not there is not well', async () => {
    expect(await look(nodeAt({ host: '127.0.0.1', port: 1 }))).toMatchObject({
      seen: 'bad',
      why: expect.stringContaining('ECONNREFUSED'),
    })
  })
})
