/** Processes as workers: what they inherit, what is heard of them, and of those that could not be started. */
import { once } from 'node:events'
import net, { connect } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { inheritedSocket, type Link, ownChannel, startWorker } from '../../src/peers/processes.ts'
import { keepFile } from '../support/tools.ts'

type Said = { at: number; said?: string }

/** Says when it listens; told to end, it says a lot. */
const PROGRAM = `
import { createServer } from 'node:net'
import { ownChannel } from '${new URL('../../src/peers/processes.ts', import.meta.url).href}'
const channel = ownChannel(process)
const server = createServer((socket) => socket.end('served'))
server.listen({ fd: ${inheritedSocket(1)} }, () => channel.send({ at: 0, said: process.argv[2] }))
channel.onMessage((message) => {
  if (message === 'leave') server.close()
  else process.exitCode = 3
  for (let at = 1; at <= 1000; at++) channel.send({ at, said: 'x'.repeat(1000) })
  channel.close()
})
`

const bound: net.BoundSocket[] = []
const links: Link<string, Said>[] = []
afterEach(() => {
  for (const link of links.splice(0)) link.kill()
  for (const socket of bound.splice(0)) socket.close()
})

async function begin() {
  const argv = ['node', await keepFile('worker.mjs', PROGRAM), 'argument']
  const sockets = bound.map((each) => each.fd())
  const link = startWorker<string, Said>({ argv, env: process.env }, sockets)
  links.push(link)
  return link
}

async function open() {
  for (let at = 0; at < 2; at++) bound.push(new net.BoundSocket({ host: '127.0.0.1' }))
  const link = await begin()
  const heard: Said[] = []
  const listening = new Promise<Said>((resolve) =>
    link.onMessage((message) => {
      heard.push(message)
      resolve(message)
    }),
  )
  const gone = new Promise<string>((resolve) => link.onGone(resolve))
  expect(await listening).toEqual({ at: 0, said: 'argument' })
  return { link, heard, gone, port: bound[1]?.address().port ?? 0 }
}

it.each([
  ['leave', 'exit code 0'],
  ['exit', 'exit code 3'],
])('is heard to its last word (%s), and then it is gone', async (message, how) => {
  const { link, heard, gone, port } = await open()
  const socket = connect({ host: '127.0.0.1', port })
  expect(String((await once(socket, 'data'))[0])).toBe('served')
  link.send(message)
  expect(await gone).toBe(how)
  expect(heard.map(({ at }) => at)).toEqual(Array.from({ length: 1_001 }, (_, at) => at))
  link.send('what nobody hears')
  expect(link.waiting).toBe(0)
})

it('is gone when it is killed; its socket stays for the next one', async () => {
  const { link, gone, port } = await open()
  link.kill()
  expect(await gone).toBe('SIGKILL')
  const waiting = connect({ host: '127.0.0.1', port })
  await once(waiting, 'connect')
  await begin()
  expect(String((await once(waiting, 'data'))[0])).toBe('served')
})

it('that the system does not find is gone, and says so', async () => {
  const { execPath } = process
  process.execPath = '/nonexistent/node'
  try {
    const link = startWorker<string, Said>({ argv: ['node', 'worker.mjs'], env: process.env }, [])
    link.send('what nobody hears')
    expect(await new Promise((resolve) => link.onGone(resolve))).toMatch(/^spawn .* ENOENT$/)
  } finally {
    process.execPath = execPath
  }
})

it('that the system does not start throws', () => {
  const env = { HUGE: 'x'.repeat(4 * 1024 ** 2) }
  expect(() => startWorker({ argv: ['node', 'worker.mjs'], env }, [])).toThrow('E2BIG')
})

it('is none where nobody started it as one', () => {
  expect(ownChannel(process)).toBeUndefined()
})
