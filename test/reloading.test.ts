/**
 * The configuration of a running gate, with what was set for all gates: what counts where the two don't agree, and
 * what may be set at all. With real gates: test/real/reload.test.ts, test/real/console_shared.test.ts.
 */
import { describe, expect, it } from 'vitest'
import { type Config, parseConfig } from '../src/config/config.ts'
import { asFailure, type Failure } from '../src/failure.ts'
import { openReloading } from '../src/reloading.ts'
import type { KeptSetting, StateSnapshot } from '../src/state/snapshot.ts'
import { openLog } from '../src/telemetry/log.ts'

const TRUSTED = 'console: {admins: [ops], may_change_trust: true}\n'
const SERVER = 'clusters.main.server'
const ISSUERS = `${SERVER}.jwt_authentication.issuers.configuration`
const AUDIENCE = `${SERVER}.jwt_authentication.audience`
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
function open(more = TRUSTED, first: Record<string, string> = {}, hears = true) {
  const file = { text: fileOf(more) }
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0o600, now: () => 0 }
  const read = (previous?: Config) => parseConfig('postern.yaml', file.text, outside, previous)
  const opened = read()
  let current = opened
  const lines: string[] = []
  const broken: Failure[] = []
  const log = openLog({ write: (line) => void lines.push(line) }, 'info', () => 0)
  const reloading = openReloading({
    opened,
    config: () => current,
    renew(next) {
      current = next
    },
    read,
    live: { isClosing: false, renew: () => undefined },
    broken: { resolve: (why) => void broken.push(why) },
    log,
  })
  const kept = (name: string, value: string) => ({ name, value, who: 'ops', at: 0 })
  let settings: KeptSetting[] = Object.entries(first).map(([name, value]) => kept(name, value))
  let number = hears ? 1 : 0
  let heard: (snapshot: StateSnapshot) => void = () => undefined
  const snapshot = () => ({
    number: number === 0 ? '' : `${number}`,
    revocations: [],
    entries: [],
    settings,
  })
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
    broken,
    reloading,
    config: () => current,
    shown: (name: string) => current.settings.find((each) => each.name === name),
    reload: () => reloading.reload(read),
    /** Another gate has set it. */
    put(name: string, value: string | undefined) {
      settings = settings.filter((each) => each.name !== name)
      if (value !== undefined) settings = [...settings, kept(name, value)]
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

const [CORP, PARTNER] = ['https://corp.example', 'https://partner.example']
const issuers = (...names: string[]) =>
  `    server.jwt_authentication.issuers.configuration: '${JSON.stringify(names)}'\n`
const [BOTH, ONE] = [`${issuers(CORP, PARTNER)}${TRUSTED}`, `${issuers(PARTNER)}${TRUSTED}`]
const MAP = `${SERVER}.identity_map.configuration`
const PARTNERS = `${PARTNER} /^.*$ partner_ro\n`
const MAPPED = `${CORP} /^(.*)@corp$ \\1\n${PARTNERS}`
const AT_EXPIRY = 'clusters.main.session.end_at_token_expiry'
const NOT_ACCEPTED = `"${CORP}" is not an accepted issuer`
const toDo = (name: string) =>
  `the setting ${name} decides whom the gate trusts, and would not count: write it in the file, or take it back (RESET CLUSTER SETTING, postern settings reset ${name})`

/** Whom the partner's token may be, which says "ops". */
const partnersOps = ({ config }: Pick<ReturnType<typeof open>, 'config'>) => {
  const found = config().clusters[0].trust.identityMap.lookup(PARTNER, 'ops')
  return found.found ? found.users : ['ops']
}

describe('what was set of trust', () => {
  it('never gives way to a file that makes a mistake of it', () => {
    const gate = open(BOTH)
    gate.put(MAP, MAPPED)
    gate.put(AT_EXPIRY, 'always')
    gate.file.text = fileOf(ONE)
    expect(gate.reload()?.split('\n')).toEqual([
      expect.stringContaining(NOT_ACCEPTED),
      expect.stringContaining(toDo(MAP)),
    ])
    expect(gate.lines).toContainEqual(expect.stringContaining('postern settings reset'))
    expect(gate.reloading.problem()).toContain(toDo(MAP))
    expect(partnersOps(gate)).toEqual(['partner_ro'])
    expect(gate.config().clusters[0].atExpiry.end).toBe('always')
    expect(gate.config().clusters[0].trust.issuers.size).toBe(2)
  })

  it('goes where somebody takes it back, and the file is read', () => {
    const gate = open(BOTH)
    gate.put(MAP, MAPPED)
    gate.put(AT_EXPIRY, 'always')
    gate.file.text = fileOf(ONE)
    gate.reload()
    expect(refusal(() => gate.reloading.try(MAP, undefined))).toBeUndefined()
    gate.put(MAP, undefined)
    expect(gate.reloading.problem()).toBeUndefined()
    expect([...gate.config().clusters[0].trust.issuers]).toEqual([PARTNER])
    expect(gate.config().clusters[0].atExpiry.end).toBe('always')
    expect(gate.shown(MAP)?.origin).toBe('default')
  })

  it('says which of several are in the way', () => {
    const gate = open(ONE)
    gate.put(MAP, PARTNERS)
    gate.put(OAUTH, 'true')
    gate.file.text = fileOf(`    non_jwt_logins: detect\n${ONE}limits: {connections: 70}\n`)
    expect(gate.reload()).toContain('a client can be asked one question')
    expect(gate.reloading.problem()).toContain(toDo(OAUTH))
    expect(gate.reloading.problem()).not.toContain(toDo(MAP))
    expect(partnersOps(gate)).toEqual(['partner_ro'])
    expect(gate.config().clusters[0].oauthbearer).toBeDefined()
    expect(gate.config().limits.connections).not.toBe(70)
  })

  it.each([
    ['may_change_trust is taken out', ONE.replace(', may_change_trust: true', ''), 'main'],
    ['its cluster has another name', ONE, 'prod'],
  ])('counts until it is taken back: %s', (_, more, cluster) => {
    const gate = open(ONE)
    gate.put(MAP, PARTNERS)
    gate.file.text = fileOf(more).replace('  main:', `  ${cluster}:`)
    expect(gate.reload()).toBe(toDo(MAP))
    expect(partnersOps(gate)).toEqual(['partner_ro'])
    expect(refusal(() => gate.reloading.try('shutdown.grace', '1s'))).toContain(toDo(MAP))
    expect(refusal(() => gate.reloading.try(MAP, undefined))).toBeUndefined()
    gate.put(MAP, undefined)
    expect(gate.reloading.problem()).toBeUndefined()
    expect(gate.config().source.text).toBe(gate.file.text)
  })

  it('is taken back, or narrowed, though another one is a mistake here', () => {
    const gate = open(TRUSTED, { [ISSUERS]: PARTNER, 'shutdown.grace': '7s' })
    gate.put('clusters.main.pool.size', '20000')
    gate.put(ISSUERS, CORP)
    expect([...gate.config().clusters[0].trust.issuers]).toEqual([CORP])
    expect(gate.config().shutdown.graceMs).toBe(7_000)
    gate.put(ISSUERS, undefined)
    expect(gate.config().clusters[0].trust.issuers.size).toBe(0)
    const other = open(ONE, { [AUDIENCE]: 'nobody', 'shutdown.grace': '7s' })
    other.put(MAP, MAPPED)
    expect(other.shown(AUDIENCE)?.origin).toBe('console')
    other.put(AUDIENCE, undefined)
    expect(other.shown(AUDIENCE)?.origin).toBe('default')
    expect(other.config().shutdown.graceMs).toBe(7_000)
    expect(other.reloading.problem()).toContain(NOT_ACCEPTED)
  })

  it('is told where it was taken back, and nothing can be read without it', () => {
    const gate = open(TRUSTED, { [ISSUERS]: PARTNER, [OAUTH]: 'true' })
    gate.put(ISSUERS, undefined)
    expect([...gate.config().clusters[0].trust.issuers]).toEqual([PARTNER])
    expect(gate.reloading.problem()).toEqual(NO_ISSUER)
    expect(gate.lines.filter((line) => line.includes('"level":"error"'))).toContainEqual(
      expect.stringContaining(`the setting ${ISSUERS} was taken back, and is still in use`),
    )
  })

  it('goes with its cluster, if none comes, or what comes has it in the file', () => {
    const gate = open(ONE, { [MAP]: PARTNERS })
    const main = gate.file.text.slice(gate.file.text.indexOf('  main:'))
    const other = main
      .replace('main:', 'other:')
      .replace(/console:.*\n/s, '')
      .replace('5432', '5433')
    gate.file.text = gate.file.text.replace('  main:', `${other}  main:`)
    gate.file.text = gate.file.text.replace('[ops]', '[ops], clusters: [other]')
    expect(gate.reload()).toBeUndefined()
    expect(gate.shown(MAP)?.origin).toBe('console')
    const both = gate.file.text
    gate.file.text = both.replace('  main:', '  prod:')
    expect(gate.reload()).toBe(toDo(MAP))
    const written = `    server.identity_map.configuration: ${JSON.stringify(PARTNERS)}\n`
    gate.file.text = both.replace('  main:\n', `  prod:\n${written}`)
    expect(gate.reload()).toBeUndefined()
    expect(gate.config().clusters.map(({ name }) => name)).toEqual(['other', 'prod'])
    expect(gate.lines).toContainEqual(expect.stringContaining('this gate has no cluster main'))
    const left = open(ONE, { [MAP]: PARTNERS })
    left.file.text = both
    left.reload()
    left.file.text = both.slice(0, both.indexOf('  main:')) + both.slice(both.indexOf('console:'))
    expect(left.reload()).toBeUndefined()
    expect(left.config().clusters.map(({ name }) => name)).toEqual(['other'])
    expect(refusal(() => left.reloading.try('shutdown.grace', '1s'))).toBeUndefined()
  })

  it('counts until it is in the file', () => {
    const gate = open(ONE)
    gate.put(MAP, PARTNERS)
    const written = `    server.identity_map.configuration: ${JSON.stringify(PARTNERS)}\n`
    gate.file.text = fileOf(`${written}${ONE.replace(', may_change_trust: true', '')}`)
    expect(gate.reload()).toBeUndefined()
    expect(gate.shown(MAP)?.origin).toBe('file')
    expect(partnersOps(gate)).toEqual(['partner_ro'])
  })

  it('breaks no gate that runs, where another one has set it', () => {
    const gate = open(ONE)
    gate.put(MAP, PARTNERS)
    gate.put(MAP, MAPPED)
    expect(gate.broken).toEqual([])
    expect(gate.reloading.problem()).toContain(NOT_ACCEPTED)
    expect(partnersOps(gate)).toEqual(['partner_ro'])
  })
})

describe('a gate that starts', () => {
  const UNUSABLE = new RegExp(
    `^the settings in the shared state make a mistake with this file: .*${NOT_ACCEPTED}`,
  )

  it('does not open without what was set of trust', () => {
    const said = refusal(() => open(ONE, { [MAP]: MAPPED, [AT_EXPIRY]: 'always' }))
    expect(said).toMatch(UNUSABLE)
    expect(said).toContain(toDo(MAP))
    expect(said).not.toContain(toDo(AT_EXPIRY))
  })

  it.each([{ [MAP]: MAPPED }, { [MAP]: PARTNERS }])('nor where nobody here may set it', (set) => {
    const more = ONE.replace('admins: [ops], ', '')
    if (set[MAP] === MAPPED) expect(refusal(() => open(more, set))).toMatch(UNUSABLE)
    else expect(partnersOps(open(more, set))).toEqual(['partner_ro'])
  })

  it('and breaks, where it could open only because nobody could be asked', () => {
    const gate = open(ONE, { [MAP]: MAPPED }, false)
    expect(gate.broken).toEqual([])
    gate.put('shutdown.grace', '1s')
    expect(gate.broken.map(({ code }) => code)).toEqual(['state_unusable'])
    expect(gate.broken[0]?.message).toMatch(UNUSABLE)
  })

  it('leaves out what decides no trust, and makes a mistake', () => {
    const gate = open(ONE, { [MAP]: PARTNERS, 'shutdown.grace': 'later', 'log.level': 'warn' })
    expect(partnersOps(gate)).toEqual(['partner_ro'])
    expect(gate.shown('shutdown.grace')?.origin).toBe('default')
    expect(gate.reloading.problem()).toContain('"later" is not a duration')
    const plain = open(ONE, { 'shutdown.grace': 'later' })
    expect(plain.reloading.problem()).toContain('"later" is not a duration')
    expect([...gate.broken, ...plain.broken]).toEqual([])
  })

  it('warns of what the file does not allow, or does not know, and goes without it', () => {
    const RENAMED = MAP.replace('main', 'renamed')
    const kept = { [MAP]: MAPPED, [RENAMED]: MAPPED, 'clusters.renamed.pool.size': '3' }
    const gate = open(ONE.replace(', may_change_trust: true', ''), kept)
    expect(partnersOps(gate)).toEqual(['ops'])
    const warnings = gate.lines.filter((line) => line.includes('"level":"warn"'))
    expect(warnings).toEqual([
      expect.stringContaining(
        `the setting ${MAP} is in the shared state, and does not count: the file does not allow it (console.may_change_trust)`,
      ),
      expect.stringContaining(
        `the setting ${RENAMED} is in the shared state, and unknown to this gate`,
      ),
    ])
    gate.put('limits.connections', '90')
    expect(gate.lines.filter((line) => line.includes('"level":"warn"'))).toHaveLength(2)
  })

  it('tells of a cluster that has another name now, whom it trusts without what was set', () => {
    const gate = open(ONE, { [MAP.replace('main', 'renamed')]: PARTNERS })
    const errors = gate.lines.filter((line) => line.includes('"level":"error"'))
    expect(errors).toEqual([
      expect.stringContaining(
        'does not count: this gate has no cluster renamed; if that has another name now, write it in the files of all gates under the new name, then take it back',
      ),
    ])
  })
})

it('warns of a key that goes out of the file together with what allows it elsewhere', () => {
  const written = `    server.identity_map.configuration: ${JSON.stringify(PARTNERS)}\n`
  const gate = open(`${written}${ONE}`, { [MAP]: PARTNERS })
  gate.file.text = fileOf(ONE.replace(', may_change_trust: true', ''))
  expect(gate.reload()).toBeUndefined()
  expect(gate.lines).toContainEqual(
    expect.stringContaining(`the setting ${MAP} is in the shared state, and does not count`),
  )
})

it('tells that a gate could not start with a file that needs what is set', () => {
  const gate = open(TRUSTED, { [ISSUERS]: CORP })
  gate.file.text = fileOf(`    issuer_options: {'${CORP}': {jwks_stale_grace: 1h}}\n${TRUSTED}`)
  expect(gate.reload()).toBeUndefined()
  const ALONE = /a gate can not start with this file alone: postern\.yaml:/
  expect(gate.reloading.problem()).toMatch(ALONE)
  expect(gate.lines).toContainEqual(expect.stringMatching(ALONE))
  gate.put('shutdown.grace', 'later')
  gate.put('shutdown.grace', undefined)
  expect(gate.reloading.problem()).toMatch(ALONE)
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

it('tells a mistake of the file from one of what is set', () => {
  const gate = open()
  gate.file.text = fileOf('limits: {idle_timeout: soon}\n')
  const MISTAKE =
    /^the configuration file has a mistake: postern\.yaml:\d+:\d+: "soon" is not a time to wait/
  expect(refusal(() => gate.reloading.try('shutdown.grace', '20s'))).toMatch(MISTAKE)
  expect(refusal(() => gate.reloading.try('shutdown.grace', 'later'))).toMatch(MISTAKE)
  expect(refusal(() => gate.reloading.try('shutdown.grace', undefined))).toBeUndefined()
  gate.file.text = fileOf()
  expect(refusal(() => gate.reloading.try('shutdown.grace', 'later'))).toMatch(/^"later" is not/)
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
