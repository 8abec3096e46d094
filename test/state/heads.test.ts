/** Heads of audit streams in the database that gates share, on a real PostgreSQL: kept, and printed. */
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openState, type State } from '../../src/state/state.ts'
import { KEY_TEXT } from '../support/sealed.ts'
import { startServe } from '../support/serve.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { pgConfig } from '../support/tools.ts'
import { runIn } from '../support/world.ts'

let node: StateNode
let state: State
let dir: string
let nowMs = 1_800_000_000_000
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-heads-'))
  node = await startStateNode(18)
  const place = await node.make('heads')
  const log = { info: () => undefined, warn: () => undefined, error: expect.unreachable } as never
  const parts = { nodes: node.nodes, log, now: () => nowMs, elapsed: () => 0 }
  state = await openState({ ...place, maxAgeMs: 60_000 }, parts, { postgresql: 600_000 })
  const main = {
    kind: 'postgresql',
    nodes: [{ address: `127.0.0.1:${node.port}` }],
    sign_in: 'trust',
  }
  const file = {
    listeners: [{ directory: '/run' }],
    clusters: { main },
    state: { cluster: 'main', ...place },
  }
  writeFileSync(join(dir, 'postern.yaml'), JSON.stringify(file))
})
afterAll(async () => {
  await state.close()
  await node.close()
  await rm(dir, { recursive: true })
})

const MAC = 'A'.repeat(43)
const heads = async (...args: string[]) => {
  const stop = new AbortController().signal
  const { code, stdout, stderr } = await runIn(
    dir,
    ['audit', 'heads', '--config', 'postern.yaml', ...args],
    { stop },
  )
  expect([code, stderr]).toEqual([0, ''])
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

it('keeps the last head of each chain, which only goes forward, and prints them in their order', async () => {
  expect(await heads()).toEqual([])
  await state.keepHead({ chain: 'c1', seq: 7, mac: MAC }, 'gate-1')
  nowMs += 10_000
  await state.keepHead({ chain: 'c2', seq: 1, mac: MAC }, "gate'2")
  nowMs += 10_000
  await state.keepHead({ chain: 'c1', seq: 9, mac: MAC }, 'gate-1')
  await state.keepHead({ chain: 'c1', seq: 8, mac: 'B'.repeat(43) }, 'gate-1')
  expect(await heads()).toEqual([
    { At: '2027-01-15T08:00:10.000Z', Gate: "gate'2", Chain: 'c2', Seq: 1, Mac: MAC },
    { At: '2027-01-15T08:00:20.000Z', Gate: 'gate-1', Chain: 'c1', Seq: 9, Mac: MAC },
  ])
  expect(await heads('--gate', 'gate-1')).toMatchObject([{ Chain: 'c1' }])
  expect(await heads('--gate', 'gate-3')).toEqual([])
  nowMs += 10_000
  await state.keepHead({ chain: 'c0', seq: 2, mac: MAC }, 'gate-1')
  expect(await state.lastHead('gate-1')).toMatchObject({ chain: 'c0', seq: 2, mac: MAC })
  expect(await state.lastHead('gate-3')).toBeUndefined()
})

it('has the last head of a gate that ended, which its stream has to reach', async () => {
  const { configFile, auditFile, ...gate } = await startServe(
    { node: `127.0.0.1:${node.port}`, files: { 'audit.key': KEY_TEXT } },
    {
      audit: { to: 'audit.log', seal: { key_file: 'audit.key' } },
      state: { cluster: 'test', role: 'heads', database: 'heads' },
    },
  )
  const client = new pg.Client(pgConfig(gate, 'nobody', await gate.token('nobody')))
  await expect(client.connect()).rejects.toThrow('password authentication failed')
  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
  const own = await heads('--gate', hostname())
  expect(own).toMatchObject([{ Gate: hostname(), Seq: 2 }])
  writeFileSync(join(dir, 'heads'), `${JSON.stringify(own[0])}\n`)
  const key = join(dirname(configFile), 'audit.key')
  const verify = async () =>
    await runIn(dir, ['audit', 'verify', auditFile, '--key-file', key, '--head', 'heads'])
  expect(await verify()).toMatchObject({ code: 0 })
  const lines = readFileSync(auditFile, 'utf8').split(/(?<=\n)/)
  writeFileSync(auditFile, lines.slice(0, 2).join(''))
  expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining('✗ cut: ') })
})

it('forgets those of more than a year ago, of the gate that is there', async () => {
  nowMs += 401 * 86_400_000
  await state.keepHead({ chain: 'c3', seq: 1, mac: MAC }, 'gate-1')
  expect((await heads('--gate', 'gate-1')).map(({ Chain }) => Chain)).toEqual(['c3'])
  expect((await heads('--gate', "gate'2")).map(({ Chain }) => Chain)).toEqual(['c2'])
})
