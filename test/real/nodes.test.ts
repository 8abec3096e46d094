/**
 * A gate before several nodes, as clients and operators see it: where sessions go, what they are told
 * when nobody is there, what the log and the metrics say. Nodes are scripted, so that they can be ill
 * in every way; real ones are in faults_nodes.test.ts.
 */
import { createServer, type Server } from 'node:http'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CertificateAndKey, localCertificates, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES, NODE_SAYS } from '../../src/failure.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import {
  error,
  letIn,
  type Script,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { scriptedSql } from '../support/scripted_sql.ts'
import { openTls, refusalOf, signIn, type WireClient } from '../support/wire_client.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function startNode(script?: Script): Promise<ScriptedNode> {
  const node = await startScriptedNode(script)
  closing.push(() => node.close())
  return node
}

/** Looks are quick, so that a test needn't wait. */
const HEALTH = { interval: '20ms', timeout: '2s', down_after: 2, up_after: 2 }

async function openGate(
  nodes: (ScriptedNode | Record<string, unknown>)[],
  cluster: Record<string, unknown> = {},
): Promise<TestGate> {
  const listed = nodes.map((node) => ('sockets' in node ? { address: node.address } : node))
  const gate = await startGate({ node: '127.0.0.1:1', cluster: { nodes: listed, ...cluster } })
  closing.push(() => gate.close())
  return gate
}

interface LoggedIn {
  client: WireClient
  refusal: Record<string, string> | undefined
}

async function logIn(gate: TestGate): Promise<LoggedIn> {
  const client = await openTls(gate.port, gate.caPem)
  closing.push(() => client.close())
  const said = await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  return { client, refusal: refusalOf(said) }
}

async function expectIn(gate: TestGate, times = 1): Promise<void> {
  for (let at = 0; at < times; at++) expect((await logIn(gate)).refusal).toBeUndefined()
}

/** Of lines like `name{a="b"} 1`, those with all of these words. */
async function metrics(gate: TestGate, ...words: string[]): Promise<string[]> {
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  return text.split('\n').filter((line) => words.every((word) => line.includes(word)))
}

const stateOf = async (gate: TestGate, node: string) => {
  const lines = await metrics(gate, 'postern_nodes{', `node="${node}"`)
  return lines.filter((line) => line.endsWith(' 1')).map((line) => /state="(\w+)"/.exec(line)?.[1])
}

describe('sessions', () => {
  it('go to every node, as its weight says, and the audit stream says where', async () => {
    const [one, two] = [await startNode(), await startNode()]
    const gate = await openGate([one, { address: two.address, weight: 3 }])
    await expectIn(gate, 8)
    expect([one.startups.length, two.startups.length]).toEqual([2, 6])
    const at = (address: string) => gate.audit.filter(({ Node }) => Node === address)
    expect([at(one.address).length, at(two.address).length]).toEqual([2, 6])
  })

  it('go elsewhere when one has ended', async () => {
    const [one, two] = [await startNode(), await startNode()]
    const gate = await openGate([one, two])
    const clients = [await logIn(gate), await logIn(gate)]
    for (const { client } of clients) client.close()
    await gate.event('client_session_end')
    await gate.event('client_session_end')
    await expectIn(gate, 4)
    expect([one.startups.length, two.startups.length]).toEqual([3, 3])
  })

  it('go to the locality that is preferred', async () => {
    const [near, far] = [await startNode(), await startNode()]
    const gate = await openGate([far, { address: near.address, locality: 'here' }], {
      prefer: { locality: 'here' },
    })
    await expectIn(gate, 3)
    expect([near.startups.length, far.startups.length]).toEqual([3, 0])
    await near.close()
    await expectIn(gate, 2)
    expect(far.startups).toHaveLength(2)
  })
})

describe('a node that', () => {
  const answers = (sqlstate: string): Script => ({
    greet: ({ send }) => send(error(sqlstate, 'not now')),
  })

  it.each<[string, Script]>([
    ['ends the sign-in', { greet: ({ socket }) => socket.end() }],
    ['breaks off the sign-in', { greet: ({ socket }) => socket.destroy() }],
    ['is shutting down', answers(NODE_SAYS.shuttingDown)],
    ['has crashed', answers(NODE_SAYS.crashed)],
    ['is starting up', answers(NODE_SAYS.notNow)],
    ['never answers', { greet: () => undefined }],
  ])('%s costs nobody a login', async (_name, script) => {
    const [ill, well] = [await startNode(script), await startNode()]
    const gate = await openGate([ill, well], { connect_timeout: '500ms' })
    await expectIn(gate, 6)
    expect(well.startups).toHaveLength(6)
    const failures = await metrics(gate, 'postern_node_failures_total', ill.address)
    if (ill.startups.length > 0) expect(failures).toHaveLength(1)
  })

  it('is not there any more costs nobody a login, and is down', async () => {
    const [gone, well] = [await startNode(), await startNode()]
    const gate = await openGate([gone, well], { health: HEALTH })
    await expectIn(gate, 2)
    await gone.close()
    await expectIn(gate, 6)
    await expect.poll(() => stateOf(gate, gone.address)).toEqual(['down'])
    expect(await stateOf(gate, well.address)).toEqual(['up'])
    const told = gate.log.find(({ msg }) => String(msg).startsWith('the node is down'))
    expect(told).toMatchObject({ level: 'warn', cluster: 'test', node: gone.address })
    expect(told).toHaveProperty('msg', expect.stringContaining('ECONNREFUSED'))
  })

  it('refuses with words of its own is not asked to be another one', async () => {
    const full = error(FAILURES.too_many_connections.sqlstate, 'sorry, too many clients already')
    const [one, two] = [await startNode({ greet: ({ send }) => send(full) }), await startNode()]
    const gate = await openGate([{ address: one.address, locality: 'near' }, two], {
      prefer: { locality: 'near' },
      health: HEALTH,
    })
    for (let at = 0; at < 4; at++) {
      const { refusal } = await logIn(gate)
      expect(refusal).toEqual({
        S: 'FATAL',
        V: 'FATAL',
        C: '53300',
        M: 'sorry, too many clients already',
      })
    }
    expect([one.startups.length, two.startups.length]).toEqual([4, 0])
    expect(await stateOf(gate, one.address)).toEqual(['up'])
    expect(await metrics(gate, 'postern_node_failures_total{')).toEqual([])
  })
})

describe('where no node works', () => {
  it('the client is told something safe, and the log everything', async () => {
    const [one, two] = [await startNode(), await startNode()]
    const gate = await openGate([one, two], { connect_timeout: '100ms' })
    await one.close()
    await two.close()
    const { refusal } = await logIn(gate)
    expect(refusal).toMatchObject({ C: '08006', M: FAILURES.node_unreachable.say })
    expect(JSON.stringify(refusal)).not.toContain('127.0.0.1')
    const { Detail } = await gate.event('client_authentication_failed')
    expect(Detail).toMatch(/tried 2 nodes, \d+ times in all: node .*ECONNREFUSED/)
    for (const { address } of [one, two]) expect(Detail).toContain(`node ${address}: connect`)
  })

  it('a node that is back within a second is in time', async () => {
    const node = await startNode()
    const gate = await openGate([node])
    let refused = 0
    // Ends the first sign-ins as a node does that isn't ready yet.
    const starting = await startNode({
      greet: (conversation) => {
        if (refused++ < 3) conversation.send(error(NODE_SAYS.notNow, 'starting up'))
        else letIn(conversation)
      },
    })
    await expectIn(gate)
    await expectIn(await openGate([starting]))
    expect(refused).toBe(4)
  })
})

describe('a health page', () => {
  async function startPage(): Promise<{ port: number; status: number; asked: string[] }> {
    const page = { port: 0, status: 200, asked: [] as string[] }
    const server: Server = createServer((request, response) => {
      page.asked.push(`${request.headers.host} ${request.url}`)
      response.writeHead(page.status).end('{}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const bound = server.address()
    page.port = typeof bound === 'object' && bound !== null ? bound.port : 0
    return page
  }

  it('takes a node out before it closes, and back in', async () => {
    const [one, two, page] = [await startNode(), await startNode(), await startPage()]
    const url = `http://127.0.0.1:${page.port}/health?ready=1`
    const gate = await openGate([{ address: one.address, health_url: url }, two], {
      health: HEALTH,
    })
    await expect.poll(() => page.asked.length).toBeGreaterThan(2)
    expect(page.asked[0]).toBe(`127.0.0.1:${page.port} /health?ready=1`)
    expect(await stateOf(gate, one.address)).toEqual(['up'])
    page.status = 503
    await expect.poll(() => stateOf(gate, one.address)).toEqual(['draining'])
    await expectIn(gate, 4)
    expect([one.startups.length, two.startups.length]).toEqual([0, 4])
    page.status = 500
    await expect.poll(() => stateOf(gate, one.address)).toEqual(['down'])
    page.status = 200
    await expect.poll(() => stateOf(gate, one.address)).toEqual(['up'])
    await expectIn(gate, 4)
    expect(one.startups).toHaveLength(4)
  })

  it('that says 503 for a node that is gone counts as gone', async () => {
    const [one, two, page] = [await startNode(), await startNode(), await startPage()]
    page.status = 503
    const url = `http://127.0.0.1:${page.port}/`
    await one.close()
    const gate = await openGate([{ address: one.address, health_url: url }, two], {
      health: HEALTH,
    })
    await expect.poll(() => stateOf(gate, one.address)).toEqual(['down'])
  })
})

describe('with a management role', () => {
  const database = (standby: () => boolean) =>
    scriptedSql((sql) =>
      sql.includes('pg_is_in_recovery') ? [{ standby: standby() ? 't' : 'f' }] : [],
    )
  const management = { role: 'manager' }
  const users = (node: ScriptedNode) =>
    node.startups.filter(({ user }) => user === 'maxroach').length

  it('sessions go to the primary, and to the next one when that changes', async () => {
    let primary = 1
    const sql = [1, 2].map((number) => database(() => primary !== number))
    const [one, two] = [await startNode(sql[0]?.script), await startNode(sql[1]?.script)]
    const gate = await openGate([one, two], { management, target: 'read_write', health: HEALTH })
    await expectIn(gate, 3)
    expect([users(one), users(two)]).toEqual([3, 0])
    primary = 2
    await expect
      .poll(async () => {
        await expectIn(gate)
        return users(two)
      })
      .toBeGreaterThan(0)
  })

  it('read_only sessions stay off the primary', async () => {
    const sql = [database(() => false), database(() => true)]
    const [one, two] = [await startNode(sql[0]?.script), await startNode(sql[1]?.script)]
    const gate = await openGate([one, two], { management, target: 'read_only', health: HEALTH })
    await expectIn(gate, 3)
    expect([users(one), users(two)]).toEqual([0, 3])
  })

  it('its session follows the nodes', async () => {
    const sql = [database(() => false), database(() => false)]
    const [one, two] = [await startNode(sql[0]?.script), await startNode(sql[1]?.script)]
    const gate = await openGate([one, two], { management, health: HEALTH })
    await expectIn(gate)
    const asked = () =>
      sql.map(({ asked }) => asked.filter((text) => text.includes('rolsuper')).length)
    const [first] = asked()
    const [alive, dead] = first === 1 ? [1, one] : [0, two]
    await dead.close()
    const client = await openTls(gate.port, gate.caPem)
    closing.push(() => client.close())
    // Another user: what is known of the first one is remembered.
    const said = await signIn(client, { user: 'carl' }, await gate.token('carl'))
    expect(refusalOf(said)).toBeUndefined()
    expect(asked()[alive]).toBe(1)
  })
})

describe('over TLS', () => {
  let certificates: Record<'good' | 'otherName', CertificateAndKey>
  let caPem: string
  beforeAll(async () => {
    const ca = await makeCa()
    certificates = await localCertificates(ca)
    caPem = ca.certPem
  })

  it('a node whose certificate is not its own is down, and nobody signs in there', async () => {
    const tls = (pair: CertificateAndKey) => ({ tls: { ...pair, alpn: ['postgresql'] } })
    const wrong = await startNode(tls(certificates.otherName))
    const good = await startNode(tls(certificates.good))
    const nodes = [wrong, good].map(({ address }) => ({ address, tls: { ca_file: 'node.crt' } }))
    const gate = await startGate({
      node: '127.0.0.1:1',
      cluster: { nodes, health: HEALTH },
      files: { '/etc/postern/node.crt': caPem },
    })
    closing.push(() => gate.close())
    await expectIn(gate, 4)
    expect([wrong.startups.length, good.startups.length]).toEqual([0, 4])
    await expect.poll(() => stateOf(gate, wrong.address)).toEqual(['down'])
    expect(await stateOf(gate, good.address)).toEqual(['up'])
  })
})
