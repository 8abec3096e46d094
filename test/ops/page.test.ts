/** The status page as a browser is given it: what it says, with which headers, and to whom. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { type OpsDoor, openOps } from '../../src/ops/ops.ts'
import { page } from '../../src/ops/page.ts'
import { openMetrics } from '../../src/telemetry/metrics.ts'
import type { Status } from '../../src/telemetry/status.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { getAs, textOf } from '../support/ops_page.ts'
import { calm, NOW_MS, refused, troubled } from '../support/status.ts'
import { openTls, signIn } from '../support/wire_client.ts'

const said = (changes: Partial<Status> = {}) => textOf(page(calm(changes), false))

describe('says', () => {
  it.each<[string, Partial<Status>, string]>([
    ['that all is well', {}, 'Postern ready'],
    ['that nothing needs a look', {}, 'Nothing needs a look'],
    ['why not', { notReady: 'no worker is open' }, 'not ready: no worker is open'],
    ['version and age', {}, 'Version 0.1.0 On Node.js 24.21.0 Up 3 days Workers 4 open'],
    ['that there is one process', { workers: { open: 1, wanted: 1 } }, 'Workers in one process'],
    ['workers that are missing', { workers: { open: 3, wanted: 4 } }, 'Workers 3 open of 4'],
    ['when that was', {}, 'As of 2026-11-23 08:40:12 UTC'],
    ['sessions and connections', {}, 'Sessions 191 on 214 connections'],
    ['sessions by issuer', {}, 'main https://accounts.example.com 182'],
    ['those without a token', {}, 'main without a token 9'],
    ['clusters without any', {}, 'reports nobody 0'],
    ['nodes', {}, 'db-1.internal:26257 main up 97'],
    [
      'keys of an issuer',
      {},
      'https://accounts.example.com main 2026-11-a 2026-10-b 4 min ago for 56 min 4 min ago, took 84 ms',
    ],
    ['keys of the file', {}, 'https://ci.example.com reports ci in the configuration – –'],
    [
      'certificates',
      {},
      'gate.example.com listeners[0].tls.cert_file server.crt 2027-01-23 in 61 days',
    ],
    ['sign-ins', {}, '1,834 in the last hour'],
    [
      'where their time went',
      {},
      'Waited for client 21 ms issuer 0 ms node 13 ms gate itself 4 ms',
    ],
    ['refusals', {}, 'invalid_token JWT authentication: invalid token 3'],
    [
      'refusals without a user’s words',
      { refusals: [refused('role_refused', 1)] },
      'role_refused password authentication failed for user … 1',
    ],
    ['reasons that it does not know', { refusals: [refused('constructor', 7)] }, 'constructor 7'],
    ['that nobody was refused', { refusals: [] }, 'Nobody was refused in the last hour.'],
    ['the shared state', {}, 'known 2.3 s ago at 1 min nobody new is let in Number 17'],
    ['that there is none', { shared: undefined }, 'This gate shares nothing with others'],
    ['that no token is believed', { issuers: [] }, 'No issuer is believed'],
  ])('%s', (_what, changes, text) => {
    expect(said(changes)).toContain(text)
  })

  it('what is wrong, in each part', () => {
    const text = textOf(page(troubled(), false))
    for (const part of [
      'down as 2 of 4 workers see it',
      'draining',
      'stale',
      'failed 12 s ago, took 5 s GET https://login.example.com/',
      'and 3 more',
      '1 day ago',
      'known 1 min 14 s ago at 1 min nobody new is let in',
      'No node of cluster away takes sessions.',
    ])
      expect(text).toContain(part)
  })

  it('numbers of a chart to those who can not see it', () => {
    expect(page(calm({ refusals: [refused('invalid_token', 1, 0, 2, 0, 0)] }), false)).toContain(
      'aria-label="Refused in each five minutes of the last hour: 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3"',
    )
  })

  it('that there is more than it shows', () => {
    const [node] = calm().nodes
    const nodes = Array.from({ length: 1_000 }, (_, at) => ({ ...node, node: `n${at}` }))
    expect(said({ nodes } as Partial<Status>)).toContain('And 800 more rows, which are not shown.')
  })
})

it('takes no name for markup, whoever made it', () => {
  const hostile = `"'><img src=x onerror=alert(1)></title></style><script>alert(1)</script>`
  const made = page(
    calm({
      version: hostile,
      notReady: hostile,
      sessions: [{ cluster: hostile, issuer: hostile, count: 1 }],
      nodes: [{ cluster: hostile, node: hostile, up: 1, draining: 1, down: 1, sessions: 1 }],
      issuers: [
        {
          cluster: hostile,
          issuer: hostile,
          from: 'its own address',
          ids: [hostile],
          lastFetchMs: NOW_MS,
          lastError: hostile,
        },
      ],
      certificates: [{ key: hostile, file: hostile, subject: hostile, endsMs: NOW_MS }],
      refusals: [refused(hostile, 1)],
      shared: { number: hostile, ageMs: 0, maxAgeMs: 1, revocations: 0, entries: 0, settings: 0 },
    }),
    false,
  )
  expect(made).not.toMatch(/<(?:img|script)/i)
  expect(made.match(/<\/(?:title|style)>/g)).toEqual(['</title>', '</style>'])
  expect(made.match(/alert\(1\)/g)?.length).toBeGreaterThan(15)
})

describe('the door', () => {
  let door: OpsDoor
  let hosts: string[] = []
  beforeAll(async () => {
    door = await openOps(
      { host: '127.0.0.1', port: 0 },
      {
        metrics: openMetrics('0'),
        notReady: () => undefined,
        status: () => calm(),
        hosts: () => hosts,
      },
    )
  })
  afterAll(() => door.close())

  const get = (path: string, host?: string) => getAs(door.port, path, host)

  it('gives it with headers that keep it from other sites, and from caches', async () => {
    const { status, headers, text } = await get('/')
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
      ),
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
    })
    expect(text).toContain('<h1>Postern</h1>')
    expect(text).not.toContain('http-equiv')
    expect(text).not.toMatch(/<script|style=|\son\w+=/)
  })

  it('asks the browser to come back by the link that says so, and by no other word', async () => {
    const { text } = await get('/?refresh=10')
    expect(text).toContain('<meta http-equiv="refresh" content="10">')
    expect((await get('/?refresh=0;url=//evil.example')).text).toContain('content="10"')
    expect((await get('/?other=1')).text).not.toContain('http-equiv')
  })

  it.each([
    ['evil.example', FAILURES.unknown_host.http],
    [`evil.example:80`, FAILURES.unknown_host.http],
    ['localhost', 200],
    ['10.0.0.7:8080', 200],
  ])('under the name %s answers %i', async (host, expected) => {
    const { status, headers, text } = await get('/', host)
    expect(status).toBe(expected)
    expect(headers['x-content-type-options']).toBe('nosniff')
    if (expected === 200) return
    expect(headers['content-type']).toMatch(/^text\/plain/)
    expect(text).toBe(`${FAILURES.unknown_host.say}\n`)
  })

  it('goes by the names of ops.hosts, and probes by every name', async () => {
    hosts = ['gate.example.com']
    expect((await get('/', 'Gate.Example.com:8080')).status).toBe(200)
    for (const path of ['/metrics', '/livez', '/readyz'])
      expect((await get(path, 'evil.example')).status).toBe(200)
  })
})

describe('of a running gate', () => {
  const { socketDir, port } = inject('postgres')
  let gate: TestGate
  beforeAll(async () => {
    gate = await startGate({ node: `${socketDir}/.s.PGSQL.${port}` })
  })
  afterAll(() => gate.close())

  it('has its counts and no user of it', async () => {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach', database: 'defaultdb' }, await gate.token('maxroach'))
    const refusedOne = await openTls(gate.port, gate.caPem)
    await signIn(refusedOne, { user: 'carl' }, await gate.token('somebody-else'))
    const html = await (await fetch(gate.opsUrl)).text()
    const text = textOf(html)
    expect(text).toContain('Postern ready')
    expect(text).toContain('Version 0.0.0-test')
    expect(text).toMatch(/test https:\/\/\S+ 1 /)
    expect(text).toContain('invalid_principal')
    expect(text).toContain('test-key')
    expect(text).toContain('listeners[0].tls.cert_file')
    expect(text).toContain('Signed in, last hour 1')
    for (const name of ['maxroach', 'carl', 'somebody-else', 'defaultdb'])
      expect(html).not.toContain(name)
    client.close()
    await gate.event('client_session_end')
    await expect
      .poll(async () => textOf(await (await fetch(gate.opsUrl)).text()))
      .toContain('Sessions 0')
  })
})
