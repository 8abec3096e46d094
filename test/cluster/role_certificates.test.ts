/**
 * Which certificate a role comes with, and when a new one is signed: a node's TLS looks at what the
 * context shows, and signatures are counted.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type SecureContext } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Authority, makeAuthority, openAuthority } from '../../src/cluster/authority.ts'
import { openRoleCertificates } from '../../src/cluster/role_certificates.ts'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'

const START = Date.parse('2030-05-05T12:00:00Z')
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

let ca: Ca
let authority: Authority
let node: ReturnType<typeof createServer>
const shown: { cn: string | undefined; validTo: string }[] = []

beforeAll(async () => {
  ca = await makeCa()
  const own = await makeAuthority('Postern client CA', DAY_MS, START)
  const opened = openAuthority(own.certPem, own.keyPem, START)
  if (!opened.ok) throw new Error(opened.problem)
  authority = opened.authority
  const { certPem, keyPem } = await issue(ca, { cn: 'node', sans: ['localhost'] })
  const asking = { requestCert: true, rejectUnauthorized: false }
  node = createServer({ cert: certPem, key: keyPem, ca: own.certPem, ...asking }, (socket) => {
    const { subject, valid_to: validTo } = socket.getPeerCertificate()
    shown.push({ cn: [subject.CN].flat()[0], validTo })
    socket.end()
  })
  node.listen(0, '127.0.0.1')
  await once(node, 'listening')
})
afterAll(() => new Promise((resolve) => node.close(resolve)))

/** Its certificates, with a clock and an authority that a test may turn. */
function open(options: { rolesMax?: number } = {}) {
  const state = { nowMs: START, signed: 0, broken: false }
  const counting: Authority = {
    ...authority,
    get signingKey() {
      state.signed++
      if (state.broken) throw new Error('the key is away')
      return authority.signingKey
    },
  }
  const now = () => state.nowMs
  const certificates = openRoleCertificates(counting, ca.certPem, now, options.rolesMax)
  return Object.assign(state, certificates)
}

/** What a node sees of who comes with the context. */
async function seen(secureContext: SecureContext) {
  const { port } = node.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', secureContext })
  socket.resume()
  await once(socket, 'end')
  return shown.pop()
}

describe('the context of a role', () => {
  it("shows the role's certificate, and verifies the node", async () => {
    const certificates = open()
    for (const role of ['maxroach', 'a"postgres"', 'Größe'])
      expect(await seen(await certificates.contextFor(role))).toMatchObject({ cn: role })
  })

  it('trusts the nodes alone', async () => {
    const own = await makeCa('another')
    const context = await openRoleCertificates(authority, own.certPem, () => START).contextFor('r')
    await expect(seen(context)).rejects.toThrow('unable to verify the first certificate')
    expect(shown.splice(0)).toHaveLength(0)
  })

  it.each([
    { after: 0, signed: 1 },
    { after: 7 * MINUTE_MS - 1, signed: 1 },
    { after: 7 * MINUTE_MS, signed: 2 },
    { after: 60 * MINUTE_MS, signed: 2 },
    // The clock was set back: what was signed then may not be good yet.
    { after: -1_000, signed: 2 },
    { after: -60 * MINUTE_MS, signed: 2 },
  ])('is asked for again after $after ms: signed $signed times', async ({ after, signed }) => {
    const certificates = open()
    const first = await certificates.contextFor('maxroach')
    certificates.nowMs += after
    const second = await certificates.contextFor('maxroach')
    expect([certificates.signed, second === first]).toEqual([signed, signed === 1])
    const { validTo = '' } = (await seen(second)) ?? {}
    const issuedAtMs = signed === 1 ? START : certificates.nowMs
    expect(Date.parse(validTo)).toBe(issuedAtMs + 10 * MINUTE_MS)
  })

  it("is the role's alone", async () => {
    const certificates = open()
    const [one, other] = await Promise.all([
      certificates.contextFor('max'),
      certificates.contextFor('Max'),
    ])
    expect([one === other, certificates.signed]).toEqual([false, 2])
  })

  it('is signed once for all who ask at the same time', async () => {
    const certificates = open()
    const asked = Array.from({ length: 50 }, () => certificates.contextFor('maxroach'))
    expect(new Set(await Promise.all(asked)).size).toBe(1)
    expect(certificates.signed).toBe(1)
  })

  it('is not remembered where it could not be made', async () => {
    const certificates = open()
    certificates.broken = true
    const asked = [certificates.contextFor('maxroach'), certificates.contextFor('maxroach')]
    for (const each of await Promise.allSettled(asked)) expect(each.status).toBe('rejected')
    expect(certificates.signed).toBe(1)
    certificates.broken = false
    expect(await seen(await certificates.contextFor('maxroach'))).toMatchObject({ cn: 'maxroach' })
    expect(certificates.signed).toBe(2)
  })

  it('is not given out beyond the end of the authority', async () => {
    const certificates = open()
    certificates.nowMs = START + DAY_MS - MINUTE_MS
    await certificates.contextFor('maxroach')
    certificates.nowMs = START + DAY_MS
    await expect(certificates.contextFor('maxroach')).rejects.toMatchObject({
      code: 'node_signin_failed',
      log: 'the authority expired on 2030-05-06T12:00:00.000Z',
    })
  })
})

it('remembers so many roles and no more, those that come often the longest', async () => {
  const certificates = open({ rolesMax: 3 })
  for (const role of ['a', 'b', 'c', 'a', 'd']) await certificates.contextFor(role)
  expect(certificates.signed).toBe(4)
  await certificates.contextFor('a')
  expect(certificates.signed).toBe(4)
  await certificates.contextFor('b')
  expect(certificates.signed).toBe(5)
})
