/** Sessions towards CockroachDB, whose parameters and users have no case. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'

describe('towards CockroachDB', () => {
  let node: ScriptedNode
  let gate: TestGate
  beforeAll(async () => {
    node = await startScriptedNode()
    gate = await startGate({ node: node.address, cluster: { kind: 'cockroachdb' } })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  it.each(['User', 'DATABASE', 'Options', 'rePlication', 'opt\u0130ons'])(
    'nobody becomes another one by writing %s',
    async (name) => {
      const startups = node.startups.length
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(
        client,
        { user: 'alice', [name]: 'root' },
        await gate.token('alice'),
      )
      expect(refusalOf(said)).toMatchObject({ C: '08P01', M: `parameter ${name} is not allowed` })
      expect(node.startups).toHaveLength(startups)
    },
  )

  it.each(['CRDB:Session_Revival_Token_Base64', 'crdb:session_revıval_token_base64'])(
    'takes no %s',
    async (name) => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, { user: 'alice', [name]: 'x' }, await gate.token('alice'))
      expect(refusalOf(said)).toMatchObject({ C: '08P01' })
    },
  )

  it('names have no case, and the client no say in its address', async () => {
    const client = await openTls(gate.port, gate.caPem)
    const asked = { user: 'ALICE', 'Crdb:Remote_Addr': '10.0.0.1:1', Application_Name: 'x' }
    expect(refusalOf(await signIn(client, asked, await gate.token('Alice')))).toBeUndefined()
    expect(node.startups.at(-1)).toEqual({
      user: 'alice',
      database: 'defaultdb',
      application_name: 'x',
    })
    client.close()
  })

  it('a rule in capitals is about the users that it seems to be about', async () => {
    const ruled = await startGate({
      node: node.address,
      cluster: { kind: 'cockroachdb' },
      top: { access: [{ user: ['/^ADMIN_.*$', 'OPS'], action: 'deny' }, { action: 'allow' }] },
    })
    const answers: Record<string, string | undefined> = {}
    for (const user of ['ADMIN_ann', 'admin_ann', 'OPS', 'ops', 'ann']) {
      const client = await openTls(ruled.port, ruled.caPem)
      answers[user] = refusalOf(await signIn(client, { user }, await ruled.token(user)))?.['M']
      client.close()
    }
    const no = (user: string) =>
      `no access entry for host "127.0.0.1", user "${user}", database "defaultdb"`
    expect(answers).toEqual({
      ADMIN_ann: no('admin_ann'),
      admin_ann: no('admin_ann'),
      OPS: no('ops'),
      ops: no('ops'),
      ann: undefined,
    })
    await ruled.close()
  })

  it('tells the address where the node is said to take it', async () => {
    const told = await startGate({
      node: node.address,
      cluster: { kind: 'cockroachdb', send_remote_addr: true },
    })
    const client = await openTls(told.port, told.caPem)
    await signIn(client, { user: 'alice' }, await told.token('alice'))
    expect(node.startups.at(-1)?.['crdb:remote_addr']).toMatch(/^127\.0\.0\.1:\d+$/)
    client.close()
    await told.close()
  })
})
