/** Room for clients that a node judges: who gets in, who waits, and who waits no longer. */
import { afterEach, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import { openPassages } from '../../src/sql/passages.ts'
import { startGate } from '../support/gate.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { error, letIn, type Script, startScriptedNode } from '../support/scripted_node.ts'
import { openTls, password, refusalOf, signIn, startup } from '../support/wire_client.ts'

const OF_ADDRESS = 4
const AT_ONCE = 16
const REFUSED = new Failure('role_refused', { values: { user: 'maxroach' } })

describe('passages', () => {
  /** Passages that last until they are told how to end, and seconds that pass when they are told to. */
  function open(workers = 1) {
    const seconds: (() => void)[] = []
    const pause = () => new Promise<void>((resolve) => void seconds.push(resolve))
    const passages = openPassages(workers, pause)
    const begun: { address: string; end(failure?: Failure): void }[] = []
    const over: string[] = []
    const login = new AbortController()
    return {
      begun,
      over,
      login,
      async second(): Promise<void> {
        for (const pass of seconds.splice(0)) pass()
        await turns()
      },
      async come(address: string, times = 1, signal = login.signal): Promise<void> {
        for (let time = 0; time < times; time++) {
          const take = passages.take(address, signal, async () => {
            const { promise, resolve, reject } = Promise.withResolvers<string>()
            const end = (failure?: Failure) =>
              failure === undefined ? resolve('in') : reject(failure)
            begun.push({ address, end })
            return await promise
          })
          const told = (thrown: unknown) => `${asFailure(thrown).code}: ${asFailure(thrown).log}`
          void take.catch(told).then((how) => over.push(how))
        }
        await turns()
      },
    }
  }

  it('are four of an address, however many others come, and sixteen in all', async () => {
    const { begun, come } = open()
    await come('192.0.2.1', 50)
    expect(begun).toHaveLength(OF_ADDRESS)
    for (const last of [2, 3, 4, 5, 6]) await come(`192.0.2.${last}`, 4)
    expect(begun).toHaveLength(AT_ONCE)
    await come('2001:db8::1')
    begun[0]?.end()
    await turns()
    expect(begun).toHaveLength(AT_ONCE + 1)
    // Who waited for room in all goes before those who wait behind their own address.
    expect(begun.at(-1)?.address).toBe('192.0.2.5')
  })

  it.each<[workers: number, ofAddress: number, inAll: number]>([
    [1, 4, 16],
    [2, 2, 8],
    [3, 1, 5],
    [16, 1, 1],
    [64, 1, 1],
  ])('of %i workers are %i of an address in each, and %i in all', async (workers, one, all) => {
    const { begun, come } = open(workers)
    await come('192.0.2.1', 10)
    expect(begun).toHaveLength(one)
    for (let last = 2; last < 30; last++) await come(`192.0.2.${last}`)
    expect(begun).toHaveLength(all)
  })

  it('go on when others come in, first come first served', async () => {
    const { begun, come, over } = open()
    await come('', 6)
    for (const each of begun.slice(0, 2)) each.end()
    await turns()
    expect(begun).toHaveLength(6)
    expect(over).toEqual(['in', 'in'])
  })

  it.each<[string, Failure, toldAtOnce: boolean]>([
    ['who was refused, and hears of it then', REFUSED, false],
    ['who left: its guess may have been wrong', new Failure('client_gone'), true],
    ['whose node failed', new Failure('node_signin_failed', { log: 'no' }), true],
  ])('are kept from an address for a second by %s', async (_name, failure, toldAtOnce) => {
    const { begun, come, over, second } = open()
    await come('192.0.2.1', 5)
    for (const each of begun.slice(0, 4)) each.end(failure)
    await turns()
    expect(over).toHaveLength(toldAtOnce ? 4 : 0)
    expect(begun).toHaveLength(4)
    // Of the cluster's sixteen they have none.
    for (const last of [2, 3, 4, 5]) await come(`192.0.2.${last}`, 4)
    expect(begun).toHaveLength(4 + AT_ONCE)
    for (const each of begun.slice(4, 8)) each.end()
    await second()
    expect(begun).toHaveLength(4 + AT_ONCE + 1)
    expect(over.filter((how) => how.startsWith(failure.code))).toHaveLength(4)
  })

  it('are waited for as long as a login may last', async () => {
    const { begun, come, login, over } = open()
    await come('192.0.2.1', 5)
    login.abort(new Failure('login_timeout', { log: 'limits.authentication_timeout' }))
    await turns()
    expect(over).toEqual([
      'login_timeout: limits.authentication_timeout: too many sign in without a token (4 of an address, 16 in all)',
    ])
    expect(begun).toHaveLength(4)
  })

  it('are not to be had sooner by who does not wait to hear of a refusal', async () => {
    const { begun, come, over, second } = open()
    const early = new AbortController()
    await come('192.0.2.1', 4, early.signal)
    for (const each of begun) each.end(REFUSED)
    await turns()
    early.abort(new Failure('login_timeout'))
    await come('192.0.2.1')
    expect(over).toEqual(Array(4).fill('role_refused: undefined'))
    expect(begun).toHaveLength(4)
    await second()
    expect(begun).toHaveLength(5)
  })
})

/** Whatever is ready has happened. */
async function turns(): Promise<void> {
  for (let time = 0; time < 5; time++) await new Promise((resolve) => setImmediate(resolve))
}

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

describe('a gate', () => {
  async function open(script: Script) {
    const ca = await makeCa('the CA of the nodes')
    const tls = await issue(ca, { cn: 'node', sans: ['127.0.0.1'] })
    const node = await startScriptedNode({ ...script, tls })
    const gate = await startGate({
      node: node.address,
      nodeTls: { ca_file: 'node-ca.crt' },
      files: { '/etc/postern/node-ca.crt': ca.certPem },
      listener: { proxy_protocol: { from: ['127.0.0.1'] } },
      cluster: { non_jwt_logins: 'passthrough', passthrough_scram: 'no_channel_binding' },
    })
    closing.push(node.close, gate.close)
    const come = async (address: string, user = 'maxroach') => {
      const client = await openTls(gate.port, gate.caPem, proxyFor(address))
      closing.push(client.close)
      client.write(startup({ user }))
      return client
    }
    return { gate, node, come }
  }

  it('whose passages all hang lets in clients with tokens, and the next one when one leaves', async () => {
    const { gate, node, come } = await open({
      greet: (conversation) =>
        conversation.parameters['user'] === 'by_token'
          ? letIn(conversation)
          : conversation.askPassword(() => letIn(conversation)),
    })
    const strangers = []
    for (let at = 0; at < 20; at++) strangers.push(await come(`192.0.2.${1 + (at % 5)}`))
    await expect.poll(() => node.startups.length).toBe(AT_ONCE)
    const client = await openTls(gate.port, gate.caPem, proxyFor('192.0.2.1'))
    const token = await gate.token('by_token')
    expect(refusalOf(await signIn(client, { user: 'by_token' }, token))).toBeUndefined()
    expect(node.startups).toHaveLength(AT_ONCE + 1)
    // One that waited and is gone reaches no node.
    const gone = strangers.pop()
    gone?.close()
    for (const each of strangers.slice(0, 4)) each.close()
    await gate.event('client_authentication_failed', { Failure: 'client_gone' })
    const last = strangers.at(-1)
    expect((await last?.next())?.body.readInt32BE(0)).toBe(3)
    last?.write(password('right'))
    expect((await last?.until('Z'))?.at(-1)?.type).toBe('Z')
    expect(node.startups).toHaveLength(AT_ONCE + 1 + 3)
  })

  it('tells a wrong password later than a right one that came behind it, and asks for no fifth', async () => {
    const heard: string[] = []
    const { node, come } = await open({
      greet: (conversation) =>
        conversation.askPassword((text) =>
          text === 'right' ? letIn(conversation) : conversation.send(error('28P01', 'no')),
        ),
    })
    const answer = async (text: string, address: string) => {
      const client = await come(address)
      await client.next()
      client.write(password(text))
      return client.until('E').then(() => heard.push(text))
    }
    const patient = await come('192.0.2.2')
    await patient.next()
    const wrong = ['a', 'b', 'c', 'd', 'e'].map((text) => answer(text, '192.0.2.1'))
    await expect.poll(() => node.passwords.length).toBe(4)
    patient.write(password('right'))
    await patient.until('Z').then(() => heard.push('right'))
    await Promise.all(wrong)
    expect([heard[0], heard.length, heard.at(-1)]).toEqual(['right', 6, node.passwords.at(-1)])
    expect(node.sockets).toHaveLength(6)
  })
})
