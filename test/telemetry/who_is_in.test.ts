/** Who is signed in, by what the audit stream tells: from the first line of a session to its last. */
import { expect, it } from 'vitest'
import { openKnown } from '../../src/telemetry/known.ts'
import { end, failed, ok } from '../support/audit_events.ts'

function open(write: () => Promise<void> | undefined = () => undefined) {
  const known = openKnown(() => 1_000)
  return { ...known, write: known.audited(write) }
}

it('has a session from its beginning to its end, with all that is known of it', async () => {
  const { whoIsIn, write } = open()
  await write(3, ok())
  await write(4, ok({ SessionID: 'b2', User: 'maxroach', TokenExpiry: 0 }))
  expect(whoIsIn.size).toBe(2)
  expect(whoIsIn.sessions()[0]).toEqual({
    id: 'a1',
    cluster: 'main',
    user: 'carl',
    database: 'bank',
    node: 'db:5432',
    principal: 'carl@example.com',
    issuer: 'https://issuer.test',
    tokenId: 'jti',
    tokenDigest: 'ab'.repeat(32),
    tokenExpiry: 1_900_000_000,
    address: '192.0.2.7:5000',
    transport: 'hostssl',
    method: 'jwt_token',
    applicationName: 'psql',
    rule: 'access[0] (postern.yaml:3:5)',
    login: { ms: 12, parts: { client: 1, issuer: 2, node: 8, gate: 1 } },
    sinceMs: 1_000,
    worker: 3,
  })
  expect(whoIsIn.sessions()[1]?.tokenExpiry).toBeUndefined()
  await write(3, end())
  expect(whoIsIn.sessions().map(({ id }) => id)).toEqual(['b2'])
  expect(whoIsIn.event('a1')).toBeUndefined()
  expect(whoIsIn.event('b2')).toMatchObject({ worker: 4, event: { User: 'maxroach' } })
})

it('has none whose line could not be written, and none that failed behind it', async () => {
  const { whoIsIn, write } = open(() => {
    throw new Error('the disk is full')
  })
  expect(() => write(0, ok())).toThrow('the disk is full')
  expect(whoIsIn.sessions()).toEqual([])
  const later = open()
  await later.write(0, ok())
  await later.write(0, failed())
  expect(later.whoIsIn.sessions()).toEqual([])
})

it('a worker tells of its own sessions alone', async () => {
  const { whoIsIn, write } = open()
  await write(3, ok())
  await write(4, end())
  await write(4, ok({ User: 'ops', Node: 'console' }))
  expect(whoIsIn.event('a1')).toMatchObject({ worker: 3, event: { User: 'carl' } })
  await write(3, end())
  expect(whoIsIn.size).toBe(0)
})

it('an end is one, though it could not be written', async () => {
  let full = false
  const { whoIsIn, write } = open(() => {
    if (full) throw new Error('the disk is full')
    return undefined
  })
  await write(0, ok())
  full = true
  expect(() => write(0, end())).toThrow()
  expect(whoIsIn.sessions()).toEqual([])
})
