/**
 * The configuration of a running gate, with what was set for all gates: what counts where the two don't agree, and
 * what may be set at all. With real gates: test/real/reload.test.ts, test/real/console_shared.test.ts.
 */
import { expect, it } from 'vitest'
import { type Config, parseConfig } from '../src/config/config.ts'
import { asFailure } from '../src/failure.ts'
import { openReloading } from '../src/reloading.ts'
import type { KeptSetting, StateSnapshot } from '../src/state/snapshot.ts'
import { openLog } from '../src/telemetry/log.ts'

const TRUSTED = 'console: {admins: [ops], may_change_trust: true}\n'
const SERVER = 'clusters.main.server'
const ISSUERS = `${SERVER}.jwt_authentication.issuers.configuration`
const OAUTH = `${SERVER}.oauthbearer_authentication.enabled`

const fileOf = (more = '') => `
listeners: [{directory: /tmp}]
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/postgresql/.s.PGSQL.5432}]
    sign_in: peer
${more}`

/** A gate's configuration, with a file and a shared state that the test changes. */
function open(more = TRUSTED) {
  const file = { text: fileOf(more) }
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0o600, now: () => 0 }
  const read = (previous?: Config) => parseConfig('postern.yaml', file.text, outside, previous)
  const opened = read()
  let current = opened
  const lines: string[] = []
  const log = openLog({ write: (line) => void lines.push(line) }, 'info', () => 0)
  const reloading = openReloading({
    opened,
    config: () => current,
    renew(next) {
      current = next
    },
    read,
    live: { isClosing: false, renew: () => undefined },
    log,
  })
  let settings: KeptSetting[] = []
  let number = 1
  let heard: (snapshot: StateSnapshot) => void = () => undefined
  const snapshot = () => ({ number: String(number), revocations: [], entries: [], settings })
  reloading.follow({
    snapshot,
    ageMs: () => 0,
    maxAgeMs: 1,
    changed(listener) {
      heard = listener
    },
  })
  return {
    file,
    lines,
    reloading,
    config: () => current,
    shown: (name: string) => current.settings.find((each) => each.name === name),
    reload: () => reloading.reload(read),
    /** Another gate has set it. */
    put(name: string, value: string | undefined) {
      settings = settings.filter((each) => each.name !== name)
      if (value !== undefined) settings = [...settings, { name, value, who: 'ops', at: 0 }]
      number += 1
      heard(snapshot())
    },
  }
}

function refusal(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (thrown) {
    return asFailure(thrown).message
  }
}

it('takes no setting that would keep everybody out', () => {
  const { reloading } = open()
  expect(refusal(() => reloading.try('limits.authentication_timeout', '1ms'))).toBe(
    'write at least 1s: less may be said in the configuration file alone',
  )
  expect(refusal(() => reloading.try('limits.authentication_timeout', '1s'))).toBeUndefined()
})

it('a file that says by an older name what was set is read, and counts', () => {
  const gate = open()
  gate.put(ISSUERS, 'https://evil.example')
  gate.file.text = fileOf(`    server.jwt_authentication.issuers: https://good.example\n${TRUSTED}`)
  expect(gate.reload()).toBeUndefined()
  expect([...gate.config().clusters[0].trust.issuers]).toEqual(['https://good.example'])
  expect(gate.shown(ISSUERS)).toMatchObject({ origin: 'file' })
  expect(gate.reloading.problem()).toBeUndefined()
})

/** Two gates, each of which found its own statement to be no mistake. */
function raced() {
  const gate = open()
  gate.put(ISSUERS, 'https://issuer.example')
  gate.put('limits.connections', '90')
  gate.reloading.try(OAUTH, 'true')
  gate.reloading.try(ISSUERS, undefined)
  gate.put(ISSUERS, undefined)
  gate.put(OAUTH, 'true')
  return gate
}
const NO_ISSUER = expect.stringMatching(/clients are told whose tokens are wanted; name an issuer/)

it('settings that are a mistake together leave those in use, and the file can be changed', () => {
  const gate = raced()
  expect(gate.reloading.problem()).toEqual(NO_ISSUER)
  expect(gate.config().limits.connections).toBe(90)
  gate.file.text = fileOf(`${TRUSTED}limits: {idle_timeout: 1h}\n`)
  expect(gate.reload()).toBeUndefined()
  expect(gate.config().limits).toMatchObject({ connections: 90, idleTimeoutMs: 3_600_000 })
  expect(gate.reloading.problem()).toEqual(NO_ISSUER)
  expect(gate.lines).toContainEqual(expect.stringContaining('is not all in use: postern.yaml:'))
  gate.put(OAUTH, undefined)
  expect(gate.reloading.problem()).toBeUndefined()
  expect(gate.config().limits.connections).toBe(90)
})

it('what is in use by now counts, where the file makes a mistake of that as well: the file alone', () => {
  const gate = open()
  gate.put(ISSUERS, 'https://issuer.example')
  gate.put(OAUTH, 'true')
  expect(gate.config().clusters[0].oauthbearer).toBeDefined()
  gate.file.text = fileOf(`    non_jwt_logins: detect\n${TRUSTED}limits: {connections: 70}\n`)
  expect(gate.reload()).toBeUndefined()
  expect(gate.config().limits.connections).toBe(70)
  expect(gate.config().clusters[0].oauthbearer).toBeUndefined()
  expect(gate.reloading.problem()).toContain('a client can be asked one question')
  // Whoever takes all of it back has nothing more to be told.
  gate.put(ISSUERS, undefined)
  gate.put(OAUTH, undefined)
  expect(gate.reloading.problem()).toBeUndefined()
})

it('a file with a mistake of its own changes nothing, and its mistake is told', () => {
  const gate = open()
  gate.put('limits.connections', '90')
  gate.file.text = fileOf('limits: {idle_timeout: soon}\n')
  expect(gate.reload()).toContain('"soon" is not a time to wait')
  expect(gate.config().limits.connections).toBe(90)
  expect(gate.reloading.problem()).toContain('"soon" is not a time to wait')
  expect(gate.lines).toContainEqual(expect.stringContaining('the configuration in use is kept: '))
})

it('takes a setting back where that makes nothing worse', () => {
  const { reloading, put } = open()
  put(ISSUERS, 'https://issuer.example')
  put(OAUTH, 'true')
  expect(refusal(() => reloading.try(ISSUERS, undefined))).toEqual(NO_ISSUER)
  put('limits.handshake_timeout', 'soon')
  put('shutdown.grace', 'later')
  for (const name of ['limits.handshake_timeout', 'shutdown.grace', 'of.another.version'])
    expect(refusal(() => reloading.try(name, undefined))).toBeUndefined()
})

it('holds a setting against those that there are, which it may not have heard of', () => {
  const { reloading } = open()
  const now = new Map([[OAUTH, 'true']])
  expect(refusal(() => reloading.try(OAUTH, 'true', new Map()))).toEqual(NO_ISSUER)
  expect(refusal(() => reloading.try(ISSUERS, 'https://issuer.example', now))).toBeUndefined()
  expect(refusal(() => reloading.try('shutdown.grace', '1s', now))).toEqual(NO_ISSUER)
})
