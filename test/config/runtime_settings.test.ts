/** Settings that are set while gates run: under what the file says, and read as if they stood there. */
import { describe, expect, it } from 'vitest'
import { type Config, parseConfig } from '../../src/config/config.ts'
import { findSetting, outOfBounds } from '../../src/config/runtime_settings.ts'
import { outsideOf } from '../../src/config/source.ts'
import { asFailure } from '../../src/failure.ts'

const HOUR_MS = 3_600_000
const CLUSTER = `
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/postgresql/.s.PGSQL.5432}]
    sign_in: peer
    session: {grace: 5s}
    pool: {mode: session}
`
const FILE = `
listeners: [{directory: /tmp}]
${CLUSTER}
limits:
  connections: 50
shutdown:
`
const SIZED = FILE.replace('mode: session', 'mode: session, size: 7')
const TRUSTING = `${FILE}\nconsole: {may_change_trust: true}\n`

function read(settings: Record<string, string>, text = FILE, previous?: Config): Config {
  const outside = {
    env: () => undefined,
    readFile: () => '',
    fileMode: () => 0o600,
    now: () => 0,
    settings: new Map(Object.entries(settings)),
  }
  return parseConfig('postern.yaml', text, outside, previous)
}

const shown = (config: Config, name: string) => config.settings.find((each) => each.name === name)

it('counts where the file says nothing', () => {
  const config = read({
    'limits.idle_timeout': '8h',
    'limits.sessions_per_user': '7',
    'shutdown.grace': '5s',
    'log.level': 'warn',
    'clusters.main.pool.size': '3',
  })
  expect(config.limits).toMatchObject({ idleTimeoutMs: 8 * HOUR_MS, sessionsPerUser: 7 })
  expect([config.shutdown.graceMs, config.log.level]).toEqual([5_000, 'warn'])
  const [cluster] = config.clusters
  expect(cluster.pool?.size).toBe(3)
  expect(shown(config, 'log.level')).toEqual({
    name: 'log.level',
    value: 'warn',
    origin: 'console',
    place: '',
    trust: false,
  })
})

it('does not where it does, and shows the place', () => {
  const config = read({ 'limits.connections': '90', 'clusters.main.pool.size': '3' }, SIZED)
  expect(config.limits.connections).toBe(50)
  expect(config.clusters[0].pool?.size).toBe(7)
  expect(shown(config, 'limits.connections')).toMatchObject({
    value: '50',
    origin: 'file',
    place: 'postern.yaml:13:16',
  })
  expect(shown(config, 'limits.handshake_timeout')).toMatchObject({
    value: '10s',
    origin: 'default',
  })
  expect(shown(config, 'limits.idle_timeout')).toMatchObject({ value: '', origin: 'default' })
})

it.each([
  ['limits.sessions_per_user', 'many', 'write a whole number, not "many"'],
  [
    'limits.idle_timeout',
    'soon',
    '"soon" is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)',
  ],
  ['log.level', 'loud', 'write debug or info or warn or error, not "loud"'],
])('%s = %s is a mistake, in the words of the file', (name, value, says) => {
  try {
    read({ [name]: value })
    expect.unreachable()
  } catch (thrown) {
    expect(asFailure(thrown).message).toMatch(/^postern\.yaml:\d+:\d+: /)
    expect(asFailure(thrown).message.replace(/^\S+ /, '')).toBe(says)
  }
})

it('what nobody knows, or may not be set, counts for nothing', () => {
  const config = read({
    listeners: '[]',
    'audit.to': '/etc/passwd',
    'clusters.main.sign_in': 'trust',
    'clusters.other.session.grace': '1s',
    '__proto__.polluted': 'x',
    'limits.failed_login_delay': '0s',
  })
  expect(config.clusters[0].signIn).toBe('peer')
  expect(config.limits.failedLoginDelayMs).toBe(1_000)
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
})

const AUDIENCE = 'clusters.main.server.jwt_authentication.audience'

it('what decides trust counts only where the file allows it', () => {
  const audiences = (config: Config) => [...config.clusters[0].rules.audiences]
  expect(audiences(read({ [AUDIENCE]: 'mine' }))).toEqual([])
  const allowed = read({ [AUDIENCE]: '["mine", "yours"]' }, TRUSTING)
  expect(audiences(allowed)).toEqual(['mine', 'yours'])
  expect(shown(allowed, AUDIENCE)).toMatchObject({ origin: 'console', trust: true })
})

it('how long a token is good for belongs to trust', () => {
  const set = {
    'clusters.main.session.end_at_token_expiry': 'never',
    'clusters.main.session.grace': '576h',
  }
  const [always, plain] = ['session: {end_at_token_expiry: always}', 'session: {grace: 5s}']
  const file = FILE.replace(plain, always)
  expect(read(set, file).clusters[0].atExpiry).toEqual({ end: 'always', graceMs: 60_000 })
  const trusting = TRUSTING.replace(plain, 'session:')
  expect(read(set, trusting).clusters[0].atExpiry).toEqual({ end: 'never', graceMs: 576 * HOUR_MS })
})

it('and so does how long a pooled session has rights that were taken away', () => {
  const set = { 'clusters.main.pool.max_age': '576h', 'clusters.main.pool.idle_timeout': '576h' }
  expect(read(set).clusters[0].pool).toMatchObject({ maxAgeMs: 300_000, idleTimeoutMs: 60_000 })
  expect(read(set, TRUSTING).clusters[0].pool).toMatchObject({
    maxAgeMs: 576 * HOUR_MS,
    idleTimeoutMs: 576 * HOUR_MS,
  })
})

describe.each([
  ['limits.connections', '9', '10'],
  ['limits.connections', '-1', '10'],
  ['limits.connections_per_address', '1', '10'],
  ['limits.sessions_per_user', '1', '3'],
  ['limits.handshakes_per_second', '1', '10'],
  ['limits.handshake_timeout', '1ms', '1s'],
  ['limits.authentication_timeout', '0.5s', '1s'],
  ['limits.idle_timeout', '1ms', '60s'],
  ['clusters.main.connect_timeout', '1ms', '1s'],
  ['clusters.main.health.interval', '1ms', '1s'],
  ['clusters.main.health.timeout', '1ms', '1s'],
  ['clusters.main.pool.wait_timeout', '1ms', '1s'],
  ['clusters.main.pool.max_node_connections', '1', '10'],
])('%s = %s would keep everybody out', (name, value, least) => {
  const setting = findSetting(name, ['main'])
  const file = FILE.replace('connections: 50', '')

  it('and is not counted', () => {
    expect(setting && outOfBounds(value, setting)).toBe(
      `write at least ${least}: less may be said in the configuration file alone`,
    )
    expect(shown(read({ [name]: value }, file), name)?.origin).toBe('default')
  })

  it('and the least is', () => {
    expect(setting && outOfBounds(least, setting)).toBeUndefined()
    expect(shown(read({ [name]: least }, file), name)?.origin).toBe('console')
  })
})

describe.each([
  ['limits.handshake_timeout', '61s', '60s'],
  ['limits.authentication_timeout', '576h', '60s'],
  ['clusters.main.connect_timeout', '576h', '60s'],
  ['clusters.main.health.interval', '60001ms', '60s'],
  ['clusters.main.health.timeout', '24h', '60s'],
  ['clusters.main.pool.wait_timeout', '2m', '60s'],
  ['clusters.main.health.up_after', '11', '10'],
  ['clusters.main.health.down_after', '100', '10'],
])('%s = %s would take too long', (name, value, most) => {
  const setting = findSetting(name, ['main'])

  it('and is not counted', () => {
    expect(setting && outOfBounds(value, setting)).toBe(
      `write at most ${most}: more may be said in the configuration file alone`,
    )
    expect(shown(read({ [name]: value }), name)?.origin).toBe('default')
  })

  it('and the most is', () => {
    expect(setting && outOfBounds(most, setting)).toBeUndefined()
    expect(shown(read({ [name]: most }), name)?.origin).toBe('console')
  })
})

it('no admin turns the warnings off', () => {
  const level = findSetting('log.level', ['main'])
  expect(level && outOfBounds('error', level)).toBe(
    'error may be said in the configuration file alone',
  )
  expect(read({ 'log.level': 'error' }).log.level).toBe('info')
})

it('an older name in the file is the file’s word as well', () => {
  const name = 'clusters.main.server.jwt_authentication.issuers.configuration'
  const line = '    server.jwt_authentication.issuers: https://good.example'
  const config = read(
    { [name]: 'https://evil.example' },
    TRUSTING.replace(CLUSTER, `${CLUSTER}${line}`),
  )
  expect([...config.clusters[0].trust.issuers]).toEqual(['https://good.example'])
  expect(shown(config, name)).toMatchObject({
    value: 'https://good.example',
    origin: 'file',
    place: expect.stringMatching(/^postern\.yaml:11:/),
  })
})

it('of a cluster is not of another one that shares its section by an anchor', () => {
  const file = `
listeners: [{directory: /tmp}]
clusters:
  one: &all {kind: postgresql, nodes: [{address: /tmp/n}], sign_in: peer, pool: {mode: session}}
  two: *all
`
  const { clusters, settings } = read({ 'clusters.one.pool.size': '3' }, file)
  expect(clusters.map(({ pool }) => pool?.size)).toEqual([3, 20])
  expect(settings.find(({ name }) => name === 'clusters.two.pool.size')?.origin).toBe('default')
})

it('a cluster is another one when a setting of it is, and no other cluster', () => {
  const [before] = read({}).clusters
  const [same] = read({ 'limits.sessions_per_user': '7' }).clusters
  const [other] = read({ 'clusters.main.pool.size': '3' }).clusters
  expect(same.fingerprint).toBe(before.fingerprint)
  expect(other.fingerprint).not.toBe(before.fingerprint)
})

it('goes on when the file is read again, and in another process', () => {
  const first = read({ 'limits.sessions_per_user': '7' })
  const { source } = first
  const elsewhere = parseConfig(
    source.name,
    source.text,
    outsideOf(source, () => 0),
  )
  expect(elsewhere.limits.sessionsPerUser).toBe(7)
  const { settings: _, ...plain } = outsideOf(source, () => 0)
  expect(parseConfig('postern.yaml', FILE, plain, first).limits.sessionsPerUser).toBe(7)
  expect(parseConfig('postern.yaml', FILE, plain).limits.sessionsPerUser).toBeUndefined()
})

it('is found by its name, without the name of the only cluster', () => {
  const name = 'clusters.main.session.grace'
  expect(findSetting('SESSION.grace', ['main'])?.name).toBe(name)
  expect(findSetting(name, ['main', 'other'])?.name).toBe(name)
  expect(findSetting('session.grace', ['main', 'other'])).toBeUndefined()
  expect(findSetting('session', ['main'])).toBeUndefined()
})
