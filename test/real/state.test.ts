/**
 * What gates share, from the beginning: setup's blocks are followed to the letter, the doctor is content, a
 * gate opens with it, and `postern revoke` tells those that run.
 */
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { openState } from '../../src/state/state.ts'
import {
  blocksOf,
  type FreshNode,
  follow,
  type Printed,
  postern,
  startFreshNode,
} from '../support/fresh_node.ts'
import { onEachWorker } from '../support/on_workers.ts'
import { startServe, writeConfig } from '../support/serve.ts'
import { nodesAt, type StateNode, startStateNode } from '../support/state_node.ts'
import { ISSUER } from '../support/tokens.ts'
import { startPostern } from '../support/tools.ts'
import { openTls, refusalOf, signIn, type WireClient } from '../support/wire_client.ts'

/** As the audit stream shows something longer. */
const CUT = `${'x'.repeat(256)}…`

describe('a PostgreSQL that nothing is on yet', () => {
  let node: FreshNode
  let dir: string
  beforeAll(async () => {
    node = await startFreshNode(18)
    dir = await mkdtemp(join(tmpdir(), 'postern-shared-'))
    writeConfiguration({ cluster: 'main' })
  })
  afterAll(async () => {
    await node.close()
    await rm(dir, { recursive: true, force: true })
  })

  const configFile = () => join(dir, 'postern.yaml')
  const path = () => `${node.socketDir}/.s.PGSQL.${node.port}`
  function writeConfiguration(state: Record<string, unknown> | undefined) {
    const main = {
      kind: 'postgresql',
      nodes: [{ address: path() }],
      sign_in: 'peer',
      'server.jwt_authentication.issuers.configuration': ['https://iss.test'],
    }
    const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
    writeFileSync(configFile(), JSON.stringify({ listeners, clusters: { main }, state }))
  }
  const osUser = ['--os-user', userInfo().username]
  const run = (...args: string[]) => postern([...args, '--config', configFile()], dir)

  /** In a database that is not there when the others are followed. */
  async function inState(text: string) {
    const { socketDir: host, port } = node
    const client = new pg.Client({ host, port, user: 'admin', database: 'postern_state' })
    await client.connect()
    await client.query(text).finally(() => client.end())
  }

  it('has what setup prints, and the doctor says what is missing until then', async () => {
    const before = await run('cluster', 'doctor', ...osUser)
    expect(before.stdout).toMatch(/✗ state {9}as postern_state in the database postern_state: /)
    expect(before.stdout).toContain('hint: postern cluster setup prints the role, the database')
    const { stdout } = await run('cluster', 'setup', ...osUser)
    const within = ({ place }: Printed) => place.endsWith('in the database postern_state')
    const blocks = blocksOf(stdout)
    await follow(
      blocks.filter((block) => !within(block)),
      node,
      dir,
    )
    const open = await run('cluster', 'doctor', ...osUser)
    expect(open.stdout).toContain('✗ state         PUBLIC has CONNECT on DATABASE postern_state')
    const refused = await run('revoke', 'list')
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining('run: REVOKE ALL ON DATABASE postern_state FROM PUBLIC'),
    ])
    for (const { text } of blocks.filter(within)) await inState(text)
    const after = await run('cluster', 'doctor', ...osUser)
    expect(after.stdout).toContain("✓ state         postern_state is postern_state's alone")
  })

  it('takes what is revoked, tells gates that run, and gives it back', async () => {
    const running = await openState(
      { role: 'postern_state', database: 'postern_state', maxAgeMs: 60_000 },
      {
        nodes: () => nodesAt({ path: path() }),
        log: { info: () => undefined, error: () => undefined } as never,
        now: Date.now,
        elapsed: () => performance.now(),
      },
    )
    const known = () => running.snapshot().revocations.length
    const iss = 'https://iss.test'
    const revoked = await run('revoke', 'subject', iss, 'maxroach', '--why', 'has left')
    expect(revoked).toEqual({
      code: 0,
      stdout:
        'Revoked: subject maxroach of https://iss.test: has left\nGates that follow the state have it at once, and end the sessions of those who may not stay.\n',
      stderr: '',
    })
    await expect.poll(known, { interval: 5 }).toBe(1)
    await run('revoke', 'digest', 'AB'.repeat(32), '--until', '2100-01-01')
    await run('revoke', 'token', 'jti-1', '--issuer', iss)
    await run('revoke', 'session', '1869a5c2d3f4e5b6')
    await run('revoke', 'issuer', iss, '--before', '2026-01-31T12:00:00Z')
    await run('revoke', 'all', '--before', 'now')
    await expect.poll(known, { interval: 5 }).toBe(6)
    const { stdout } = await run('revoke', 'list')
    const lines = stdout.trim().split('\n')
    expect(lines.map((line) => line.replace(/^\S+Z {2}|before \S+Z(?= \(by)/g, '')).sort()).toEqual(
      [
        `digest ${'ab'.repeat(32)}, until 2100-01-01T00:00:00Z (by somebody)`,
        'every token, issued  (by somebody)',
        'issuer https://iss.test, issued  (by somebody)',
        'session 1869a5c2d3f4e5b6 (by somebody)',
        'subject maxroach of https://iss.test: has left (by somebody)',
        'token jti-1 of https://iss.test (by somebody)',
      ],
    )
    expect(await run('revoke', 'lift', 'subject', iss, 'maxroach')).toMatchObject({
      code: 0,
      stdout: 'Lifted: subject maxroach of https://iss.test\n',
    })
    await expect.poll(known, { interval: 5 }).toBe(5)
    expect(await run('revoke', 'lift', 'subject', iss, 'maxroach')).toMatchObject({
      code: 64,
      stderr: 'postern: this is not revoked; postern revoke list\n',
    })
    await running.close()
  })

  it.each<[string[], boolean]>([
    [['issuer', 'https://iss.test'], false],
    [['issuer', 'https://iss.test/'], true],
    [['subject', 'iss.test', 'maxroach'], true],
    [['token', 'jti-2', '--issuer', 'https://ISS.test'], true],
    [['token', 'jti-2'], false],
    [['session', 'https://other.test'], false],
  ])('revoke %j is told as what nobody takes tokens of: %s', async (args, isStrange) => {
    const { code, stdout, stderr } = await run('revoke', ...args)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^Revoked: /)])
    const issuer = args[0] === 'token' ? args[3] : args[1]
    const warning = `postern: warning: no cluster of this configuration takes tokens of the issuer ${issuer}: it has to be spelled as in 'iss'\n`
    expect(stderr).toBe(isStrange ? warning : '')
  })

  it.each<[string[], string]>([
    [['all'], 'say which tokens, by --before'],
    [['digest', 'abc'], 'a digest is 64 hexadecimal digits'],
    [['token'], "missing required argument 'id'"],
    [['subject', 'https://iss.test'], "missing required argument 'subject'"],
    [['session', 's', '--before', 'now'], "unknown option '--before'"],
    [['issuer', 'i', '--before', 'yesterday'], 'write a time like'],
    [['nothing'], "unknown command 'nothing'"],
    [['subject', 'https://iss.test', CUT], 'this ends where the audit stream cuts'],
    [['token', CUT], 'revoke the token by its digest'],
  ])('revoke %j is refused before anything is asked', async (args, says) => {
    const { code, stderr } = await run('revoke', ...args)
    expect([code, stderr]).toEqual([64, expect.stringContaining(says)])
  })

  it('is told of nothing by a configuration without it', async () => {
    writeConfiguration(undefined)
    const { code, stderr } = await run('revoke', 'list')
    expect([code, stderr]).toEqual([64, expect.stringContaining('the configuration has no state')])
    expect((await run('cluster', 'doctor', ...osUser)).stdout).not.toContain('state')
  })
})

describe('a gate with workers', () => {
  let node: StateNode
  const clients: WireClient[] = []
  beforeAll(async () => {
    node = await startStateNode(18)
    await node.make('postern_state')
  })
  afterAll(() => node.close())

  const more = { workers: 2, state: { cluster: 'test' } }
  const sessions = () => node.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'postern_state'")

  it('has one session with it, from the beginning to the end', async () => {
    const gate = await startServe({ node: `127.0.0.1:${node.port}` }, more)
    expect(await sessions()).toHaveLength(1)
    gate.child.kill('SIGTERM')
    expect(await gate.ended).toMatchObject({ code: 0 })
    await expect.poll(sessions, { interval: 20 }).toEqual([])
  })

  it('has what was revoked end sessions on every worker, and nobody come in by it', async () => {
    await node.sql('CREATE ROLE maxroach LOGIN')
    await node.sql('CREATE DATABASE defaultdb')
    const gate = await startServe({ node: `127.0.0.1:${node.port}` }, more)
    const token = await gate.token('maxroach')
    const live = await onEachWorker(gate, clients, 2, token)
    await node.sql(
      `BEGIN; INSERT INTO postern.revocations (kind, issuer, value) VALUES ('subject', '${ISSUER}', 'maxroach');
       UPDATE postern.changes SET number = number + 1; NOTIFY postern_state; COMMIT`,
      'postern_state',
    )
    for (const { client } of live.values()) {
      const [last] = (await client.until('E')).slice(-1)
      expect(refusalOf(last === undefined ? [] : [last])).toMatchObject({ C: '57P01' })
    }
    const tries = Array.from({ length: 8 }, async () => {
      const client = await openTls(gate.port, gate.caPem)
      clients.push(client)
      return refusalOf(await signIn(client, { user: 'maxroach', database: 'postgres' }, token))?.[
        'M'
      ]
    })
    expect(new Set(await Promise.all(tries))).toEqual(new Set([FAILURES.token_revoked.say]))
    for (const client of clients.splice(0)) client.close()
    gate.child.kill('SIGTERM')
    expect(await gate.ended).toMatchObject({ code: 0 })
  })

  it('does not open where others could write there, and says what to run', async () => {
    await node.sql('GRANT CONNECT ON DATABASE postern_state TO PUBLIC')
    const { configFile } = await writeConfig({ node: `127.0.0.1:${node.port}` }, more)
    const program = startPostern(['serve', '--config', configFile])
    await program.until(/run: REVOKE ALL ON DATABASE postern_state FROM PUBLIC/)
    expect((await program.ended).code).toBe(1)
  })
})
