/** A worker in a process of its own, told by the test what its primary would tell it. */
import { readFileSync, statSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, inject, it } from 'vitest'
import { parseConfig } from '../src/config/config.ts'
import type { Source } from '../src/config/source.ts'
import type { ToPrimary, ToWorker } from '../src/peers/messages.ts'
import { type Link, startWorker } from '../src/peers/processes.ts'
import { writeConfig } from './support/serve.ts'
import { MAIN } from './support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)

let link: Link<ToWorker, ToPrimary>
let socket: net.BoundSocket
afterEach(() => {
  link.kill()
  socket.close()
})

async function begun() {
  const { configFile } = await writeConfig({ node })
  const { source } = parseConfig(configFile, readFileSync(configFile, 'utf8'), {
    env: () => undefined,
    readFile: (path) => readFileSync(path, 'utf8'),
    fileMode: (path) => statSync(path).mode & 0o777,
    now: Date.now,
  })
  socket = new net.BoundSocket({ host: '127.0.0.1' })
  const argv = ['node', MAIN, 'serve', '--config', configFile]
  link = startWorker({ argv, env: process.env }, [socket.fd()])
  const heard: ToPrimary[] = []
  link.onMessage((message) => heard.push(message))
  const gone = new Promise<string>((resolve) => link.onGone(resolve))
  return { source, heard, gone }
}

const kinds = (heard: ToPrimary[]) =>
  heard.map(({ kind }) => kind).filter((kind) => !['log', 'count'].includes(kind))

const broken = (source: Source): Source => ({ ...source, text: 'listeners: 7' })

it('does what it is told while it opens, when it is open', async () => {
  const { source, heard, gone } = await begun()
  link.send({ kind: 'begin', number: 1, workers: 2, source })
  link.send({ kind: 'elsewhere', connections: 1 })
  link.send({ kind: 'ping' })
  link.send({ kind: 'renew', source: broken(source) })
  link.send({ kind: 'renew', source })
  link.send({ kind: 'drain' })
  link.send({ kind: 'retire' })
  expect(await gone).toBe('exit code 0')
  expect(kinds(heard)).toEqual(['pong', 'open', 'drained'])
  const { port } = socket.address()
  expect(heard).toContainEqual({ kind: 'open', addresses: [{ host: '127.0.0.1', port }] })
  const log = heard.flatMap((each) => (each.kind === 'log' ? [each.line] : [])).join('')
  expect(log).toContain('the configuration in use is kept: ')
})

it('opens by what the sockets were bound, and then goes by what is in force', async () => {
  const { source, heard, gone } = await begun()
  const file = JSON.parse(source.text)
  const text = JSON.stringify({
    ...file,
    listeners: [{ address: '127.0.0.1:1', tls: file.listeners[0].tls }, ...file.listeners],
  })
  link.send({
    kind: 'begin',
    number: 1,
    workers: 2,
    source: { ...source, text },
    listening: source,
  })
  link.send({ kind: 'close' })
  expect(await gone).toBe('exit code 0')
  expect(heard.find(({ kind }) => kind === 'open')).toMatchObject({
    addresses: [{ port: socket.address().port }],
  })
})

it('says why it cannot open, and ends', async () => {
  const { source, heard, gone } = await begun()
  link.send({ kind: 'begin', number: 1, workers: 2, source: broken(source) })
  link.send({ kind: 'drain' })
  expect(await gone).toBe('exit code 0')
  expect(heard.at(-1)).toMatchObject({
    kind: 'failed',
    problem: expect.stringContaining('"clusters" is required'),
  })
})

it('asks for what gates share before it opens, so that it refuses nobody for not knowing', async () => {
  const { source, heard, gone } = await begun()
  link.send({ kind: 'begin', number: 1, workers: 2, source, state: { maxAgeMs: 60_000 } })
  const question = () => heard.find((each) => each.kind === 'ask')
  await expect
    .poll(question, { interval: 5, timeout: 10_000 })
    .toMatchObject({ ask: { kind: 'state', known: 0 } })
  expect(kinds(heard)).toEqual(['ask'])
  const snapshot = { number: '1', revocations: [], entries: [], settings: [] }
  const answer = { kind: 'state', number: 1, ageMs: 0, snapshot } as const
  link.send({ kind: 'answer', id: question()?.id ?? 0, answer })
  link.send({ kind: 'retire' })
  expect(await gone).toBe('exit code 0')
  expect(kinds(heard).slice(0, 2)).toEqual(['ask', 'open'])
})
