/**
 * `postern serve` as an operator meets it: what it says of its life, to whom it answers, how it ends
 * with sessions in it, and how it starts again after it was killed.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { expect, inject, it } from 'vitest'
import { type Served, startServe } from '../support/serve.ts'
import {
  expectNoToken,
  JWT_SWITCH,
  makeDirectory,
  pgConfig,
  startPostern,
} from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

async function signIn(gate: Served, more: pg.ClientConfig = {}) {
  const client = new pg.Client(pgConfig(gate, 'carl', await gate.token('carl'), more))
  const failed = new Promise<Error>((resolve) => client.on('error', resolve))
  await client.connect()
  return { client, failed }
}

async function get(gate: Served, path: string) {
  const answer = await fetch(`http://127.0.0.1:${gate.opsPort}${path}`)
  return { status: answer.status, text: await answer.text() }
}

it('opens, answers, and closes with a word to every session', async () => {
  const gate = await startServe({ node })
  const { client, failed } = await signIn(gate)
  expect((await client.query('select current_user as me')).rows).toEqual([{ me: 'carl' }])
  expect(await get(gate, '/livez')).toEqual({ status: 200, text: 'ok\n' })
  expect(await get(gate, '/readyz')).toEqual({ status: 200, text: 'ok\n' })
  expect((await get(gate, '/metrics')).text).toContain('postern_sessions 1')

  gate.child.kill('SIGTERM')
  expect(await failed).toMatchObject({
    severity: 'FATAL',
    code: '57P01',
    message: 'terminating connection due to administrator command',
    hint: expect.stringMatching(/^request id: [0-9a-f]{16}$/),
  })
  const { code, stdout, stderr } = await gate.ended
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.map(({ msg }) => msg)).toEqual(
    expect.arrayContaining(['the gate is open', 'the gate is closed']),
  )

  const audit = await gate.auditText()
  const events = audit
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(events.map(({ EventType }) => EventType)).toEqual([
    'login_decision',
    'client_authentication_ok',
    'client_session_end',
  ])
  expect((await stat(gate.auditFile)).mode & 0o777).toBe(0o600)
  expectNoToken(gate.minted, stderr, audit)
})

it('takes the place of a gate that was killed, but not of one that lives', async () => {
  const directory = await makeDirectory()
  const listeners = [{ directory, port: 26257, mode: '0700' }]
  const first = await startServe({ node, listeners })
  first.child.kill('SIGKILL')
  await first.ended
  const second = await startServe({ node, listeners })
  expect((await stat(join(directory, '.s.PGSQL.26257'))).mode & 0o777).toBe(0o700)

  const third = await startPostern(['serve', '--config', second.configFile]).ended
  expect([third.code, third.stderr]).toEqual([
    1,
    expect.stringMatching(/^postern: cannot listen on .*\.s\.PGSQL\.26257: listen EADDRINUSE/m),
  ])
  const by = { host: directory, port: 26257, ssl: false, options: JWT_SWITCH }
  const { client } = await signIn(second, by)
  await client.end()
  second.child.kill('SIGINT')
  expect((await second.ended).code).toBe(0)
})
