/**
 * Lesson 5.17 where somebody has to wait: guesses side by side, of which one fails. What the others are told says
 * nothing of them, not even that they were right; and names that are made up are no way around a wait.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import type { GateOptions, TestGate } from '../support/gate.ts'
import {
  JWT_OPTION,
  type Message,
  message,
  openTls,
  password,
  startup,
  type WireClient,
} from '../support/wire_client.ts'
import { attempt, battlefield, bearing, IN, USER } from './attempt.ts'

const field = battlefield()
const clients: WireClient[] = []
afterEach(() => {
  for (const client of clients.splice(0)) client.close()
})

const THROTTLED = `08C00: ${FAILURES.too_many_failures.say}`
const LEAVE_TO_FAIL = message('p', '\x01')
const CHALLENGE = 11

interface Way {
  /** What the startup packet says of it. */
  parameters: Record<string, string>
  answer(token: string): Buffer
}
const WAYS: Record<string, Way> = {
  'a password': { parameters: JWT_OPTION, answer: password },
  OAUTHBEARER: { parameters: {}, answer: bearing },
}

/** As far as the gate's question. */
async function begin(
  { port, caPem }: TestGate,
  way: Way,
  more: Record<string, string>,
): Promise<WireClient> {
  const client = await openTls(port, caPem)
  clients.push(client)
  client.write(startup({ ...USER, ...way.parameters, ...more }))
  expect((await client.next())?.type).toBe('R')
  return client
}

/** Everything that comes of it, to the end of the connection; but for the request id, which is everybody's own. */
async function end(client: WireClient, way: Way, token: string): Promise<string[]> {
  client.write(way.answer(token))
  const said: Message[] = []
  for (let each = await client.next(); each !== undefined; each = await client.next()) {
    said.push(each)
    if (each.type === 'R' && each.body.readInt32BE(0) === CHALLENGE) client.write(LEAVE_TO_FAIL)
    if (each.type === 'Z') client.close()
  }
  return said.map(
    ({ type, body }) => type + body.toString('latin1').replace(/request id: [0-9a-f]+/, ''),
  )
}

const ISSUERS_OF_OTHERS = [{ issuer: 'https://other.test', action: 'allow' }]

describe.each(Object.entries(WAYS))('5.17 a wait gives nothing away: by %s', (_name, way) => {
  it.each<[what: string, options: Partial<GateOptions>, more: Record<string, string>]>([
    ['would have come in', {}, {}],
    ['no rule would have let in', { top: { access: ISSUERS_OF_OTHERS } }, {}],
    ['may not replicate', {}, { replication: 'true' }],
  ])('of a token that is right and %s', async (_what, options, more) => {
    const gate = await field.gate({
      ...options,
      cluster: { 'server.oauthbearer_authentication.enabled': true },
      limits: { failed_login_delay: '10m' },
    })
    const wrong = await gate.token('carl')
    const right = await gate.token('maxroach')
    const [first, ...others] = await Promise.all(
      Array.from({ length: 5 }, () => begin(gate, way, more)),
    )
    const failed = await end(first as WireClient, way, wrong)
    expect(failed.at(-1)).toContain('JWT authentication: invalid principal')
    const tokens = [right, wrong, `${right}x`, way.answer === bearing ? '' : 'no token']
    const told = await Promise.all(
      others.map((client, at) => end(client, way, tokens[at] as string)),
    )
    expect(told[0]).toHaveLength(1)
    expect(told[0]?.[0]).toContain(`C08C00\0M${FAILURES.too_many_failures.say}\0`)
    expect(new Set(told.map((each) => each.join()))).toEqual(new Set([told[0]?.join()]))
    // And whoever comes now is asked for nothing.
    const late = await openTls(gate.port, gate.caPem)
    clients.push(late)
    late.write(startup({ ...USER, ...way.parameters, ...more }))
    expect((await late.next())?.type).toBe('E')
    expect(await late.next()).toBeUndefined()
  })
})

describe('5.24 names that are made up', () => {
  it('have nobody who failed forgotten, and keep nobody out, be it for the first time', async () => {
    const gate = await field.gate({ limits: { failed_login_delay: '10m' } })
    const wrong = await gate.token('somebody_else')
    const as = (user: string) => attempt(gate, wrong, { ...USER, user })
    expect(await as('carl')).toMatch(/invalid principal/)
    for (let at = 0; at < 70; at++) expect(await as(`made_up_${at}`)).toMatch(/invalid principal/)
    for (const user of ['made_up_0', 'carl']) expect(await as(user)).toBe(THROTTLED)
    expect(await attempt(gate, await gate.token('maxroach'))).toBe(IN)
    const metrics = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    expect(metrics).toMatch(/^postern_throttle_entries 71$/m)
  })
})
