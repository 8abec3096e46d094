/** The corpus of `npm run compat` in small: one server, one gate, without TLS and with it. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { differences, type Played, playAll } from './corpus.ts'
import { GATES, type Gate, startGate } from './gates.ts'
import { makeTrust, type Server, startServer } from './servers.ts'
import type { Heard, Transcript } from './wire_case.ts'

const TOGETHER_MS = 60_000
/** What a server may say once a client has asked for its password. */
const MESSAGES = [...'123ACDEGHIKNRSTVWZcdnstv']

let dir: string
let server: Server
let gate: Gate
let direct: Played

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-compat-'))
  await chmod(dir, 0o711)
  server = await startServer(18, await makeTrust(dir))
  gate = await startGate(GATES.usual, server)
  direct = await playAll(server, server.direct)
}, TOGETHER_MS)
afterAll(async () => {
  await gate?.stop()
  await server?.close()
  await rm(dir, { recursive: true, force: true, maxRetries: 5 })
})

it('has every message of the protocol that a server may send', () => {
  const heard = [...direct.values()].flatMap((transcript) => [...transcript.values()])
  const types = new Set(heard.flatMap(({ messages }) => messages.map(({ type }) => type)))
  expect([...types].sort()).toEqual(MESSAGES)
})

it.each([
  { type: 'D', found: 1 },
  { type: 'Z', found: 1 },
  { type: 'K', found: 0 },
])('finds $found differences where one byte of a $type is another', ({ type, found }) => {
  const [name = ''] = direct.keys()
  const changed = new Map(direct).set(name, withOneByteChanged(direct.get(name), type))
  expect(differences(server, direct, changed)).toHaveLength(found)
})

it.each(['plain', 'tls'] as const)(
  'gets the same bytes through a gate: %s',
  async (how) => {
    const through = await playAll(server, gate[how])
    expect(differences(server, direct, through)).toEqual([])
    expect(through.size).toBe(direct.size)
  },
  TOGETHER_MS,
)

function withOneByteChanged(transcript: Transcript = new Map(), of: string): Transcript {
  const change = ({ messages, closed }: Heard): Heard => {
    const at = messages.findIndex(({ type }) => type === of)
    const { type, body } = messages[at] ?? { type: of, body: Buffer.alloc(1) }
    const other = Buffer.from(body)
    other[other.length - 1] = (other.at(-1) ?? 0) ^ 1
    return { closed, messages: messages.with(at, { type, body: other }) }
  }
  return new Map([...transcript].map(([name, heard]) => [name, change(heard)]))
}
