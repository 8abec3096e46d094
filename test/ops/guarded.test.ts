/** What operators see of who is kept out: by rules, lists, revocations and failures; and of a state that is away. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { type StateNode, startStateNode } from '../support/state_node.ts'
import { goodClaims, mint } from '../support/tokens.ts'
import { openPlain, openTls, refusalOf, signIn } from '../support/wire_client.ts'

const STATE_METRICS = /^postern_(?:revocations|access_entries|state_age_seconds) /m

/** What somebody is told; nothing for who is let in. */
async function login(gate: TestGate, user: string, token?: string): Promise<string | undefined> {
  const client = await openTls(gate.port, gate.caPem)
  try {
    const who = { user, database: 'postgres' }
    const said = await signIn(client, who, token ?? (await gate.token(user)))
    return refusalOf(said)?.['M']
  } finally {
    client.close()
  }
}

async function page(gate: TestGate, path: string): Promise<[status: number, text: string]> {
  const response = await fetch(gate.opsUrl + path)
  return [response.status, await response.text()]
}

/** By its name and labels; undefined where there is none. */
async function metric(gate: TestGate, name: string): Promise<number | undefined> {
  const [, text] = await page(gate, '/metrics')
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return line === undefined
    ? undefined
    : Number(line.slice(name.length + 1).replace('Inf', 'Infinity'))
}

describe('a gate with a state', () => {
  let node: StateNode
  let gate: TestGate
  const clock = { ms: 0 }
  const refused = (by: string) => metric(gate, `postern_access_refused_total{by="${by}"}`)

  beforeAll(async () => {
    node = await startStateNode(18)
    await node.sql('CREATE ROLE maxroach LOGIN; CREATE ROLE uma LOGIN; CREATE ROLE carl LOGIN')
    const place = await node.make('gatestate')
    gate = await startGate({
      node: node.address,
      cluster: { sign_in: 'trust' },
      limits: { failed_login_delay: '1s' },
      top: {
        state: { cluster: 'test', ...place },
        access: [{ user: ['maxroach', 'uma'], action: 'allow' }],
      },
      elapsed: () => clock.ms,
    })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })
  const change = (text: string) =>
    node.sql(
      `BEGIN; ${text}; UPDATE postern.changes SET number = number + 1; NOTIFY postern_state; COMMIT`,
      'gatestate',
    )

  it('counts who is kept out, by what said so', async () => {
    expect(await login(gate, 'carl')).toMatch(/^no access entry for host /)
    expect(await refused('rule')).toBe(1)
    expect([await refused('list'), await refused('revoked')]).toEqual([undefined, undefined])
    expect(await metric(gate, 'postern_revocations')).toBe(0)
    await change(`INSERT INTO postern.revocations (kind, value) VALUES ('token', 'gone')`)
    await expect.poll(() => metric(gate, 'postern_revocations'), { interval: 5 }).toBe(1)
    const token = await gate.token('uma', { jti: 'gone' })
    expect(await login(gate, 'uma', token)).toBe(FAILURES.token_revoked.say)
    expect(await refused('revoked')).toBe(1)
    await change(
      `INSERT INTO postern.access_entries (list, kind, item) VALUES ('deny', 'ip', '127.0.0.1')`,
    )
    await expect.poll(() => metric(gate, 'postern_access_entries'), { interval: 5 }).toBe(1)
    expect(await login(gate, 'maxroach')).toMatch(/^no access entry for host /)
    expect(await refused('list')).toBe(1)
    await change('DELETE FROM postern.access_entries')
    await expect.poll(() => metric(gate, 'postern_access_entries'), { interval: 5 }).toBe(0)
    expect(await login(gate, 'maxroach')).toBeUndefined()
  })

  it('counts who has to wait, and those whose failures are remembered', async () => {
    const before = Number(await metric(gate, 'postern_throttle_entries'))
    const wrong = await mint(gate.key, { claims: { ...goodClaims('uma'), aud: 'another' } })
    clock.ms += 10_000
    expect(await login(gate, 'uma', wrong)).toBe('JWT authentication: invalid audience')
    expect(await login(gate, 'uma')).toBe(FAILURES.too_many_failures.say)
    expect(await metric(gate, 'postern_throttled_total{reason="wait"}')).toBe(1)
    // The revoked token was a failure of hers as well.
    expect([before, await metric(gate, 'postern_throttle_entries')]).toEqual([1, 1])
    clock.ms += 10_000
    expect(await login(gate, 'uma')).toBeUndefined()
    expect(await metric(gate, 'postern_throttle_entries')).toBe(0)
  })

  it('is not ready, and says why, while the state is too old for newcomers', async () => {
    expect(await page(gate, '/readyz')).toEqual([200, 'ok\n'])
    await node.stop()
    const lost = () => gate.log.some(({ msg }) => /shared state can't be read/.test(String(msg)))
    await expect.poll(lost, { interval: 5, timeout: 10_000 }).toBe(true)
    expect(await page(gate, '/readyz')).toEqual([200, 'ok\n'])
    const heardMs = Number(await metric(gate, 'postern_state_age_seconds')) * 1_000
    clock.ms += 61_000 - heardMs
    expect(await page(gate, '/readyz')).toEqual([
      FAILURES['not_ready'].http,
      'the shared state was last heard of 61 s ago; state.max_age allows 60 s\n',
    ])
    expect(await page(gate, '/livez')).toEqual([200, 'ok\n'])
    expect(await metric(gate, 'postern_state_age_seconds')).toBe(61)
    expect(await login(gate, 'maxroach')).toBe(FAILURES.state_stale.say)
    expect(await refused('state')).toBe(1)
    await node.start()
    const ready = async () => (await page(gate, '/readyz'))[0]
    await expect.poll(ready, { interval: 20, timeout: 20_000 }).toBe(200)
    expect(await login(gate, 'maxroach')).toBeUndefined()
    expect(await metric(gate, 'postern_state_age_seconds')).toBe(0)
  }, 60_000)
})

describe('a gate without one', () => {
  let node: ScriptedNode
  let gate: TestGate
  beforeAll(async () => {
    node = await startScriptedNode()
    const nowMs = Date.now()
    const limits = { handshakes_per_second: 2 }
    gate = await startGate({ node: node.address, limits, now: () => nowMs })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  it('says nothing of it, nor of failures that nobody waits for', async () => {
    const [, text] = await page(gate, '/metrics')
    expect(text).not.toMatch(STATE_METRICS)
    expect(text).not.toMatch(/^postern_throttle_entries/m)
  })

  it('counts the handshakes that were too many', async () => {
    for (let at = 0; at < 5; at++) {
      const client = await openPlain({ host: '127.0.0.1', port: gate.port })
      client.write(Buffer.alloc(1))
      client.socket.on('error', () => undefined)
      if (at >= 2) while ((await client.bytes(1)).length > 0);
      client.close()
    }
    expect(await metric(gate, 'postern_throttled_total{reason="handshakes"}')).toBe(3)
  })
})
