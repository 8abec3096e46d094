/** The end of a session with its token: when, how, what is said before, and by one timer. */
import { afterEach, beforeEach, describe, expect, inject, it, test, vi } from 'vitest'
import type { AtExpiry } from '../../src/config/config.ts'
import { endAtExpiry } from '../../src/sql/expiry.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import {
  fields,
  openTls,
  query,
  refusalOf,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'

const DAY_MS = 24 * 3_600_000
const NOW_MS = 1_800_000_000_000

describe('the timer', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: NOW_MS })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** What happens to a session that is always quiet, and how many milliseconds after its sign-in. */
  function arm(settings: Partial<AtExpiry>, lifeMs: number | undefined) {
    const happened: [string, number][] = []
    const note = (what: string) => happened.push([what, Date.now() - NOW_MS])
    const relay: Parameters<typeof endAtExpiry>[0] = {
      whenQuiet: (act) => act(),
      inject: (bytes) => note(fields(bytes.subarray(5)).M ?? ''),
      stopAtQuiet: ({ code }) => note(`${code} at quiet`),
      stop: ({ code }) => note(code),
    }
    const untilMs = lifeMs === undefined ? undefined : NOW_MS + lifeMs
    const atExpiry = { end: 'when_idle', graceMs: 30_000, ...settings } as const
    const disarm = endAtExpiry(relay, { ...atExpiry, untilMs, now: Date.now })
    return { happened, disarm }
  }
  const told = (seconds: number) =>
    `the token expires in ${seconds} s, and this session ends with it`

  test.each<[string, Partial<AtExpiry>, number | undefined, [string, number][]]>([
    ['never', { end: 'never' }, 600_000, []],
    ['always, for a token without exp', { end: 'always' }, undefined, []],
    [
      'when_idle',
      {},
      600_000,
      [
        [told(60), 540_000],
        ['token_expired at quiet', 600_000],
      ],
    ],
    [
      'when_idle, for a short one',
      {},
      10_000,
      [
        [told(5), 5_000],
        ['token_expired at quiet', 10_000],
      ],
    ],
    ['when_idle, for one that is over', {}, -5_000, [['token_expired at quiet', 0]]],
    [
      'when_idle, in 60 days',
      {},
      60 * DAY_MS,
      [
        [told(60), 60 * DAY_MS - 60_000],
        ['token_expired at quiet', 60 * DAY_MS],
      ],
    ],
    [
      'always',
      { end: 'always' },
      600_000,
      [
        [told(60), 540_000],
        ['token_expired at quiet', 600_000],
        ['token_expired', 630_000],
      ],
    ],
    [
      'always, without grace',
      { end: 'always', graceMs: 0 },
      600_000,
      [
        [told(60), 540_000],
        ['token_expired at quiet', 600_000],
        ['token_expired', 600_000],
      ],
    ],
  ])('%s', async (_name, settings, lifeMs, expected) => {
    const { happened } = arm(settings, lifeMs)
    expect(vi.getTimerCount()).toBeLessThan(2)
    await vi.advanceTimersByTimeAsync(61 * DAY_MS)
    expect(happened).toEqual(expected)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('is gone with the session', async () => {
    const { happened, disarm } = arm({ end: 'always' }, 600_000)
    disarm()
    expect(vi.getTimerCount()).toBe(0)
    await vi.advanceTimersByTimeAsync(DAY_MS)
    expect(happened).toEqual([])
  })

  test('follows a clock that is set', async () => {
    const { happened } = arm({}, 10 * DAY_MS)
    vi.setSystemTime(NOW_MS + 10 * DAY_MS)
    await vi.advanceTimersByTimeAsync(3_600_000)
    expect(happened.map(([what]) => what)).toEqual(['token_expired at quiet'])
  })
})

describe('a session', () => {
  const { host, port } = inject('postgres')
  const gates: TestGate[] = []
  afterEach(async () => {
    await Promise.all(gates.splice(0).map((gate) => gate.close()))
  })

  /** Its token is good for two seconds of a clock that the test sets. */
  async function begin(session: Record<string, unknown>, more: Record<string, unknown> = {}) {
    const clock = { ms: NOW_MS }
    const cluster = { session, ...more }
    const now = () => clock.ms
    const gate = await startGate({ node: `${host}:${port}`, cluster, now })
    gates.push(gate)
    const client = await openTls(gate.port, gate.caPem)
    const at = NOW_MS / 1000
    const token = await gate.token('maxroach', { iat: at, nbf: at, exp: at + 2 })
    const said = await signIn(client, { user: 'maxroach', database: 'trustdb' }, token)
    expect(refusalOf(said)).toBeUndefined()
    return { gate, client, clock }
  }
  const next = async (client: WireClient) => {
    const { type, body } = (await client.next()) ?? { type: 'the end', body: Buffer.alloc(0) }
    return { type, ...fields(body) }
  }
  const soon = (seconds: number) => ({
    type: 'N',
    S: 'WARNING',
    C: '01000',
    M: `the token expires in ${seconds} s, and this session ends with it`,
  })
  const ended = {
    type: 'E',
    S: 'FATAL',
    C: '57P01',
    M: 'terminating connection because the token has expired',
  }

  it('that is idle is told, and ends', async () => {
    const { gate, client, clock } = await begin({ end_at_token_expiry: 'when_idle' })
    clock.ms += 1_000
    expect(await next(client)).toMatchObject(soon(1))
    clock.ms += 1_000
    expect(await next(client)).toMatchObject(ended)
    expect(await next(client)).toMatchObject({ type: 'the end' })
    expect(await gate.event('client_session_end')).toMatchObject({
      Ended: 'terminating connection because the token has expired',
    })
    expect(gate.log.find(({ failure }) => failure === 'token_expired')).toMatchObject({
      level: 'info',
      user: 'maxroach',
    })
  })

  it('that is in a transaction ends with it', async () => {
    const { client, clock } = await begin({ end_at_token_expiry: 'when_idle' })
    client.write(query('begin'))
    await client.until('Z')
    clock.ms += 5_000
    client.write(query('select pg_sleep(2.5)'))
    const answered = await client.until('Z')
    expect(answered.map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
    client.write(query('commit'))
    expect((await client.until('Z')).at(-1)?.body.toString()).toBe('I')
    expect(await next(client)).toMatchObject(ended)
  })

  it('with `always` ends in the middle of a statement, after the grace', async () => {
    const { client, clock } = await begin({ end_at_token_expiry: 'always', grace: '1s' })
    client.write(query('select pg_sleep(600)'))
    clock.ms += 2_000
    expect(clock.ms).toBe(NOW_MS + 2_000)
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    clock.ms += 1_000
    expect(await next(client)).toMatchObject(ended)
  })

  it('goes on for as long as the clocks may differ', async () => {
    const tolerance = { 'server.jwt_authentication.clock_tolerance': '2s' }
    const { client, clock } = await begin({ end_at_token_expiry: 'when_idle' }, tolerance)
    clock.ms += 2_000
    expect(await next(client)).toMatchObject(soon(2))
    clock.ms += 2_000
    expect(await next(client)).toMatchObject(ended)
  })

  it('goes on for ever, where nothing else is said', async () => {
    const { client, clock } = await begin({})
    clock.ms += DAY_MS
    client.write(query('select pg_sleep(1)'))
    expect((await client.until('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
  })
})
