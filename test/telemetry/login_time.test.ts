/** Where the time of a login goes: by a clock of ours, and in logins in which everybody takes his time. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { LoginTime, WHOM } from '../../src/telemetry/login_time.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { openIssuerServer } from '../support/issuer_server.ts'
import { letIn, type Script, startScriptedNode } from '../support/scripted_node.ts'
import { makeKey, mint } from '../support/tokens.ts'
import { JWT_OPTION, openTls, password, startup } from '../support/wire_client.ts'

/** How long each of them takes; a timer may be a moment early, never much. */
const SLOW_MS = 100
const LEAST_MS = 95
const JWT = 'server.jwt_authentication'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

it("each moment is somebody's, and who is waited for within a wait has his own", async () => {
  let nowMs = 1_000
  const after = async (ms: number) => {
    await Promise.resolve()
    nowMs += ms
  }
  const time = new LoginTime(() => nowMs, true)
  await after(5)
  expect(time.turn('gate')).toBe('client')
  await after(1)
  await time.waiting('issuer', after(20))
  const asked = async () => {
    await after(3)
    await time.waiting('client', after(40))
    await after(4)
  }
  await time.waiting('node', asked())
  await expect(
    time.waiting(
      'node',
      after(7).then(() => Promise.reject('no')),
    ),
  ).rejects.toBe('no')
  await after(2)
  expect(time.parts()).toEqual({ client: 45, issuer: 20, node: 14, gate: 3 })
  expect(time.laps()).toEqual([
    ['client', 0, 5],
    ['gate', 5, 6],
    ['issuer', 6, 26],
    ['node', 26, 29],
    ['client', 29, 69],
    ['node', 69, 73],
    ['node', 73, 80],
    ['gate', 80, 82],
  ])
})

it('stretches are kept where they are wanted, and not without end', async () => {
  let nowMs = 0
  const kept = new LoginTime(() => nowMs++, true)
  const sums = new LoginTime(() => nowMs++, false)
  for (let at = 0; at < 500; at++) for (const time of [kept, sums]) time.turn('node')
  expect(kept.laps().length).toBe(64)
  expect(sums.laps()).toEqual([])
})

async function openWith(script: Script, cluster: Record<string, unknown> = {}): Promise<TestGate> {
  const ca = await makeCa()
  const tls = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
  const node = await startScriptedNode({ ...script, tls })
  closing.push(() => node.close())
  const files = { '/etc/postern/node-ca.crt': ca.certPem }
  const nodeTls = { ca_file: 'node-ca.crt' }
  const gate = await startGate({ node: node.address, nodeTls, files, cluster })
  closing.push(() => gate.close())
  return gate
}

/** Signs in, and thinks about the password for a while. */
async function comeIn(gate: TestGate, secret: string, options = {}): Promise<void> {
  const client = await openTls(gate.port, gate.caPem)
  closing.push(() => client.close())
  client.write(startup({ user: 'maxroach', ...options }))
  const [asked] = await client.until('R')
  expect(asked?.body.readInt32BE(0)).toBe(3)
  await sleep(SLOW_MS)
  client.write(password(secret))
  await client.until('Z')
}

const slowly = (then: () => void) => void setTimeout(then, SLOW_MS)

async function sumsOf(gate: TestGate): Promise<Record<string, number>> {
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  const sums = text.matchAll(/^postern_login_phase_seconds_sum\{phase="(\w+)"\} (.*)$/gm)
  return Object.fromEntries([...sums].map(([, phase = '', sum]) => [phase, Number(sum) * 1000]))
}

it('client, issuer and node are told apart in the audit stream and the metrics', async () => {
  const issuer = await openIssuerServer()
  closing.push(() => issuer.close())
  const key = await makeKey('published')
  issuer.publish(key)
  for (const page of [issuer.discovery, issuer.jwks]) page.delayMs = SLOW_MS
  const gate = await openWith(
    { greet: (conversation) => slowly(() => letIn(conversation)) },
    {
      [`${JWT}.jwks`]: undefined,
      [`${JWT}.issuers.configuration`]: issuer.issuer,
      [`${JWT}.issuers.custom_ca`]: issuer.caPem,
      [`${JWT}.jwks_auto_fetch.enabled`]: true,
    },
  )
  const claims = { iss: issuer.issuer, aud: 'postern-test', sub: 'maxroach', exp: 4_000_000_000 }
  await comeIn(gate, await mint(key, { claims }), JWT_OPTION)
  const { Duration, Durations } = await gate.event('client_authentication_ok')
  const parts = Durations as Record<string, number>
  expect(Object.keys(parts)).toEqual(WHOM)
  for (const slow of ['client', 'issuer', 'node']) expect(parts[slow]).toBeGreaterThan(LEAST_MS)
  expect(Duration).toBeGreaterThan(3 * LEAST_MS)
  const sums = await sumsOf(gate)
  for (const whom of WHOM) expect(sums[whom]).toBeCloseTo(parts[whom] ?? NaN, 0)
})

it('a client whom the node asks is waited for, and not the node', async () => {
  const gate = await openWith(
    { greet: (conversation) => conversation.askPassword(() => slowly(() => letIn(conversation))) },
    { non_jwt_logins: 'passthrough', passthrough_scram: 'no_channel_binding' },
  )
  await comeIn(gate, 'a password of the node')
  const { Durations } = await gate.event('client_authentication_ok')
  const { client, node, issuer } = Durations as Record<string, number>
  expect(client).toBeGreaterThan(LEAST_MS)
  expect(node).toBeGreaterThan(LEAST_MS)
  expect(issuer).toBe(0)
})

it('a login that is refused is in no phase', async () => {
  const gate = await openWith({})
  await comeIn(gate, 'no token', JWT_OPTION).catch(() => undefined)
  await gate.event('client_authentication_failed')
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  expect(text).not.toMatch(/^postern_login_phase_seconds_sum/m)
})
