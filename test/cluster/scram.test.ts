/**
 * Sign-in by a secret a role, against a scripted node: with and without TLS, wrong secrets, and nodes
 * that cheat. PostgreSQL itself is in test/real/scram.test.ts.
 */
import { createHash, pbkdf2Sync, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { openRoleSecrets, type RoleSecrets, type StretchPassword } from '../../src/cluster/scram.ts'
import { signIn as signInTo } from '../../src/cluster/sign_in.ts'
import { type Ca, type CertificateAndKey, issue, makeCa } from '../../src/dev/certificates.ts'
import { Failure } from '../../src/failure.ts'
import { Leg } from '../../src/leg.ts'
import { Secret } from '../../src/secret.ts'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import { type ScramOptions, saslOffer, scramScript } from '../support/scram_node.ts'
import {
  authenticationOk,
  error,
  letIn,
  readyForQuery,
  type Script,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { message, openTls, refusalOf, signIn, uint32 } from '../support/wire_client.ts'

const PASSWORD = "the role's own secret"
const passwords = { maxroach: PASSWORD }

const closing: (() => Promise<void>)[] = []
let ca: Ca
let certificate: CertificateAndKey
let endPoint: Buffer

beforeAll(async () => {
  ca = await makeCa('the CA of the nodes')
  certificate = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
  endPoint = createHash('sha256').update(new X509Certificate(certificate.certPem).raw).digest()
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(script: Script, more: Partial<GateOptions> = {}): Promise<TestGate> {
  const node = await startScriptedNode(script)
  closing.push(node.close)
  const gate = await startGate({
    node: node.address,
    ...more,
    cluster: { sign_in: 'scram', scram: { secrets: passwords }, ...more.cluster },
  })
  closing.push(async () => {
    await gate.close()
    expect(JSON.stringify([gate.audit, gate.log])).not.toContain(PASSWORD)
  })
  return gate
}

const openEncrypted = (options: ScramOptions) => {
  const script = scramScript({ endPoint, ...options })
  const gate = open(
    { ...script, tls: certificate },
    {
      nodeTls: { ca_file: 'node-ca.crt' },
      files: { '/etc/postern/node-ca.crt': ca.certPem },
    },
  )
  return { script, gate }
}

/** What the client is told, and what the log is. */
async function refusal(gate: TestGate, user = 'maxroach') {
  const client = await openTls(gate.port, gate.caPem)
  closing.push(async () => client.close())
  const told = refusalOf(await signIn(client, { user }, await gate.token(user)))
  if (told === undefined) return undefined
  const { Detail } = await gate.event('client_authentication_failed')
  return { sqlstate: told['C'], log: String(Detail) }
}

describe('a node that keeps to the rules', () => {
  it('in clear: the plain mechanism', async () => {
    const script = scramScript({ passwords })
    expect(await refusal(await open(script))).toBeUndefined()
    expect(script.heard).toMatchObject([{ mechanism: 'SCRAM-SHA-256' }])
    expect(script.heard[0]?.first).toMatch(/^n,,n=,r=[A-Za-z0-9+/]{24}$/)
  })

  it('over TLS: bound to its certificate', async () => {
    const { gate, script } = openEncrypted({ passwords })
    expect(await refusal(await gate)).toBeUndefined()
    expect(script.heard).toMatchObject([{ mechanism: 'SCRAM-SHA-256-PLUS' }])
    expect(script.heard[0]?.first).toMatch(/^p=tls-server-end-point,,n=,r=/)
  })

  it('over TLS, with the better mechanism gone: it is told that we have it', async () => {
    const { gate, script } = openEncrypted({ passwords, offer: ['SCRAM-SHA-256'] })
    expect(await refusal(await gate)).toBeUndefined()
    expect(script.heard[0]?.first).toMatch(/^y,,n=,r=/)
  })

  it('each sign-in has a nonce of its own', async () => {
    const script = scramScript({ passwords })
    const gate = await open(script)
    for (let times = 0; times < 3; times++) expect(await refusal(gate)).toBeUndefined()
    expect(new Set(script.heard.map(({ first }) => first)).size).toBe(3)
  })

  it('names of a CockroachDB have no case', async () => {
    const script = scramScript({ passwords })
    const cluster = { kind: 'cockroachdb', scram: { secrets: { MaxRoach: PASSWORD } } }
    expect(await refusal(await open(script, { cluster }))).toBeUndefined()
  })
})

it('another password: the role is refused', async () => {
  const script = scramScript({ passwords: { maxroach: 'another' } })
  const told = await refusal(await open(script))
  expect(told).toMatchObject({ sqlstate: '28P01' })
  expect(told?.log).toMatch('refused "maxroach": 28P01: password authentication failed')
})

it('a certificate other than the one that was seen: the role is refused', async () => {
  const { gate } = openEncrypted({ passwords, endPoint: Buffer.alloc(32) })
  expect(await refusal(await gate)).toMatchObject({ sqlstate: '28P01' })
})

it('a role without a secret: nobody is asked', async () => {
  const script = scramScript({ passwords })
  const told = await refusal(await open(script), 'carl')
  expect(told?.sqlstate).toBe('08006')
  expect(told?.log).toMatch('scram.secrets has none for the role "carl"')
  expect(script.heard).toEqual([])
})

const md5 = message('R', Buffer.concat([uint32(5), uint32(1)]))
const scram = (options: Partial<ScramOptions>) => scramScript({ passwords, ...options })
const COULD_NOT = 'the gate could not sign in to the database; '
const BROKE = 'the database broke the protocol; '

describe('a node that', () => {
  it.each<[string, () => Script, string]>([
    [
      'asks for nothing',
      () => ({}),
      `${COULD_NOT}the node let the role in and asks for no secret (trust, or peer)`,
    ],
    [
      'says no more than that it is ready',
      () => ({ greet: ({ send }) => send(readyForQuery()) }),
      `${COULD_NOT}the node let the role in and asks for no secret (trust, or peer)`,
    ],
    [
      'wants the password in clear',
      () => ({ greet: ({ askPassword }) => askPassword(() => undefined) }),
      `${COULD_NOT}the node asks for a password, which this sign-in doesn't have`,
    ],
    [
      'wants MD5',
      () => ({ greet: ({ send }) => send(md5) }),
      `${COULD_NOT}the node asks for MD5Password, which this sign-in doesn't have`,
    ],
    [
      'offers another mechanism',
      () => scram({ offer: ['SCRAM-SHA-1'] }),
      `${COULD_NOT}the node asks for SASL by ["SCRAM-SHA-1"], without SCRAM-SHA-256`,
    ],
    [
      'asks for a great deal of work',
      () => scram({ iterations: 2_000_000_000 }),
      `${BROKE}SCRAM: it asks for 2000000000 iterations, and 1000000 are the most`,
    ],
    [
      'asks for next to none, to guess the secret by itself',
      () => scram({ iterations: 1 }),
      `${BROKE}SCRAM: it asks for 1 iterations, and 4096 are the fewest`,
    ],
    [
      'has a nonce of its own',
      () => scram({ first: (text) => text.replace('r=', 'r=x') }),
      `${BROKE}SCRAM: its nonce does not extend ours`,
    ],
    [
      "doesn't know the secret, and lets the role in",
      () => scram({ final: () => `v=${Buffer.alloc(32, 1).toString('base64')}` }),
      `${COULD_NOT}SCRAM: the node did not prove that it knows the secret of the role`,
    ],
    [
      'lets the role in before it has proven anything',
      () => scram({ instead: letIn }),
      `${BROKE}message type 82 in a SASL exchange`,
    ],
    [
      'asks again',
      () => scram({ instead: ({ send }) => send(saslOffer(['SCRAM-SHA-256'])) }),
      `${BROKE}message type 82 in a SASL exchange`,
    ],
    [
      'asks again when it has its answer',
      () => scram({ letIn: ({ send }) => send(saslOffer(['SCRAM-SHA-256'])) }),
      `${COULD_NOT}the node asks for a second answer`,
    ],
    [
      'says a notice in between',
      () => scram({ instead: ({ send }) => send(message('N', 'SNOTICE\0Mhm\0\0')) }),
      `${BROKE}message type 78 in a SASL exchange`,
    ],
    [
      'says an error in between',
      () => scram({ instead: ({ send }) => send(error('28000', 'not today')) }),
      'password authentication failed for user maxroach; node ',
    ],
    [
      'begins in the middle',
      () => ({ greet: ({ send }) => send(authenticationOk, message('R', uint32(12))) }),
      `${BROKE}message type 82 during sign-in`,
    ],
  ])('%s', async (_name, script, log) => {
    const told = await refusal(await open(script()))
    expect(told?.log.slice(0, log.length)).toBe(log)
  })
})

describe('a password is stretched', () => {
  const roles = { carl: 'pencil', dora: 'pencil', eve: 'cannot be stretched' }
  const [one, other] = ['W22ZaJ0SNY7soEsUEjb6gQ==', 'AAAAAAAAAAAAAAAAAAAAAA==']
  const THIRD = 'BBBBBBBBBBBBBBBBBBBBBA=='
  const NEVER = new AbortController().signal
  const secrets = new Map(Object.entries(roles).map(([role, text]) => [role, new Secret(text)]))
  const stretched: StretchPassword = async (password, salt, iterations) => {
    if (password === roles.eve) throw new Error('no')
    return pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  }

  it.each<[string, [role: keyof typeof roles, salt: string][], number | undefined, number]>([
    ['once for one salt', Array(3).fill(['carl', one]), undefined, 1],
    [
      'again for another salt',
      [
        ['carl', one],
        ['carl', other],
        ['carl', one],
      ],
      undefined,
      2,
    ],
    [
      'for each role',
      [
        ['carl', one],
        ['dora', one],
        ['carl', one],
      ],
      undefined,
      2,
    ],
    [
      'again where there was no room',
      [
        ['carl', one],
        ['dora', one],
        ['carl', one],
      ],
      1,
      3,
    ],
    [
      'again where it failed',
      [
        ['eve', one],
        ['eve', one],
      ],
      undefined,
      2,
    ],
  ])('%s', async (_name, signIns, keysMax, expected) => {
    const stretch = vi.fn(stretched)
    const known = openRoleSecrets(secrets, stretch, keysMax)
    for (const [role, salt] of signIns) {
      const node = await startScriptedNode(scramScript({ passwords: roles, salt }))
      const socket = connect(node.port, '127.0.0.1')
      await once(socket, 'connect')
      const signal = AbortSignal.timeout(5_000)
      const leg = new Leg(socket, 'node', signal)
      const signedIn = signInTo(leg, [['user', role]], known.answersFor(role, signal))
      if (role === 'eve') await expect(signedIn).rejects.toThrow('no')
      else expect((await signedIn).cancelKey).toBeDefined()
      leg.destroy()
      await node.close()
    }
    expect(stretch).toHaveBeenCalledTimes(expected)
  })

  /** Sign-ins as one role at the same time, each to a node of its own with this salt. */
  async function signInsTo(
    known: RoleSecrets,
    salts: string[],
    signals: AbortSignal[],
    final = (verifier: string) => verifier,
  ) {
    return await Promise.allSettled(
      salts.map(async (salt, at) => {
        const signal = signals[at] ?? AbortSignal.timeout(5_000)
        const node = await startScriptedNode(scramScript({ passwords: roles, salt, final }))
        closing.push(node.close)
        const socket = connect(node.port, '127.0.0.1')
        await once(socket, 'connect')
        const leg = new Leg(socket, 'node', AbortSignal.timeout(5_000))
        closing.push(async () => leg.destroy())
        await signInTo(leg, [['user', 'carl']], known.answersFor('carl', signal))
      }),
    )
  }

  it('once, though nodes that prove nothing have asked for other salts meanwhile', async () => {
    const stretch = vi.fn(stretched)
    const known = openRoleSecrets(secrets, stretch, 1)
    expect(await signInsTo(known, [one], [])).toMatchObject([{ status: 'fulfilled' }])
    const final = () => `v=${Buffer.alloc(32, 1).toString('base64')}`
    const cheated = await signInsTo(known, [other, THIRD], [], final)
    expect(cheated.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(await signInsTo(known, [one], [])).toMatchObject([{ status: 'fulfilled' }])
    expect(stretch.mock.calls.map(([, salt]) => salt.toString('base64'))).toEqual([
      one,
      other,
      THIRD,
    ])
  })

  it('once for who come at the same time', async () => {
    const stretch = vi.fn(stretched)
    const known = openRoleSecrets(secrets, stretch)
    const ended = await signInsTo(known, [one, one, one], [])
    expect(ended.map(({ status }) => status)).toEqual(Array(3).fill('fulfilled'))
    expect(stretch).toHaveBeenCalledTimes(1)
  })

  it('or not at all: who waits for a turn waits no longer than its login', async () => {
    const busy = Promise.withResolvers<void>()
    const stretch = vi.fn(async (...work: Parameters<StretchPassword>) => {
      await busy.promise
      return await stretched(...work)
    })
    const known = openRoleSecrets(secrets, stretch)
    const login = new AbortController()
    const salts = [one, other, THIRD, THIRD]
    const all = signInsTo(known, salts, [NEVER, NEVER, login.signal, login.signal])
    await expect.poll(() => stretch.mock.calls.length).toBe(2)
    login.abort(new Failure('login_timeout'))
    const late = await signInsTo(known, [THIRD], [login.signal])
    busy.resolve()
    const ended = [...(await all), ...late]
    expect(
      ended.map((each) => (each.status === 'rejected' ? each.reason.code : each.status)),
    ).toEqual(['fulfilled', 'fulfilled', ...Array(3).fill('login_timeout')])
    expect(stretch).toHaveBeenCalledTimes(2)
  })
})
