/** Settings that are set while gates run: under what the file says, and read as if they stood there. */
import { expect, it } from 'vitest'
import { type Config, parseConfig } from '../../src/config/config.ts'
import { findSetting } from '../../src/config/runtime_settings.ts'
import { outsideOf } from '../../src/config/source.ts'
import { asFailure } from '../../src/failure.ts'

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
    'clusters.main.session.end_at_token_expiry': 'always',
  })
  expect(config.limits).toMatchObject({ idleTimeoutMs: 8 * 3_600_000, sessionsPerUser: 7 })
  expect([config.shutdown.graceMs, config.log.level]).toEqual([5_000, 'warn'])
  const [cluster] = config.clusters
  expect(cluster.pool?.size).toBe(3)
  expect(cluster.atExpiry).toEqual({ end: 'always', graceMs: 5_000 })
  expect(shown(config, 'log.level')).toEqual({
    name: 'log.level',
    value: 'warn',
    origin: 'console',
    place: '',
    trust: false,
  })
})

it('does not where it does, and shows the place', () => {
  const config = read({ 'limits.connections': '9', 'clusters.main.session.grace': '1s' })
  expect(config.limits.connections).toBe(50)
  expect(config.clusters[0].atExpiry.graceMs).toBe(5_000)
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
  const allowed = read(
    { [AUDIENCE]: '["mine", "yours"]' },
    `${FILE}\nconsole: {may_change_trust: true}\n`,
  )
  expect(audiences(allowed)).toEqual(['mine', 'yours'])
  expect(shown(allowed, AUDIENCE)).toMatchObject({ origin: 'console', trust: true })
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
