/**
 * SET and RESET CLUSTER SETTING without a gate: what may be set or taken back, and what it is held against. With
 * gates that share a state: test/real/console_shared.test.ts.
 */
import { expect, it } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { openChanges } from '../../src/console/changes.ts'
import { does } from '../../src/console/does.ts'
import type { ConsoleParts } from '../../src/console/parts.ts'
import { settingLines } from '../../src/console/settings.ts'
import { asFailure, Failure } from '../../src/failure.ts'
import type { KeptSetting } from '../../src/state/snapshot.ts'
import { ok } from '../support/audit_events.ts'

const FILE = `
listeners: [{directory: /tmp}]
clusters: {main: {kind: postgresql, nodes: [{address: /tmp/n}], sign_in: peer}}
console: {admins: [ops]}
limits: {connections: 50}
`
const TRUSTING = FILE.replace('admins: [ops]', 'admins: [ops], may_change_trust: true')

const kept = (name: string, value: string): KeptSetting => ({ name, value, who: 'ops', at: 0 })

function open(rows: KeptSetting[], inUse: [string, string][] = [], file = FILE) {
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0, now: () => 0 }
  const config = parseConfig('postern.yaml', file, { ...outside, settings: new Map(inUse) })
  const held: unknown[] = []
  const written: unknown[] = []
  const given = {
    config: () => config,
    settings: {
      problem: () => 'two that do not agree',
      find(name: string) {
        const found = config.settings.find((each) => each.name === name)
        if (found === undefined) throw new Failure('console_not_found', { values: { name } })
        return found
      },
      try: (...tried: unknown[]) => void held.push(tried),
    },
    state: {
      snapshot: () => ({ number: '1', revocations: [], entries: [], settings: rows }),
      async set(
        name: string,
        value: string | undefined,
        _who: string,
        _said: unknown,
        mayBe: (now: ReadonlyMap<string, string>) => void,
      ) {
        mayBe(new Map([['set.meanwhile', '1']]))
        written.push([name, value])
      },
    },
    audit: async () => undefined,
  } as unknown as ConsoleParts
  const parts = { ...given, changes: openChanges(given) }
  const by = {
    event: ok({ SessionID: 'admin', User: 'ops' }),
    statement: '',
    begin: () => undefined,
  }
  const set = async (name: string, value: string) =>
    await does({ kind: 'set', name, value }, by, parts)
  const reset = async (name: string) => await does({ kind: 'reset', name }, by, parts)
  const line = (name: string) => settingLines(parts).find((each) => each.name === name)
  return { set, reset, line, held, written }
}

const code = async (work: Promise<unknown>) =>
  await work.then(
    () => undefined,
    (thrown) => asFailure(thrown).code,
  )

const [CONNECTIONS, GRACE] = ['limits.connections', 'clusters.main.session.grace']
const RENAMED = 'clusters.Renamed.pool.size'

it('takes back what is there, whatever this gate makes of it', async () => {
  const rows = [kept(CONNECTIONS, '90'), kept(GRACE, '9h'), kept(RENAMED, '3')]
  const { reset, written } = open(rows, [], TRUSTING)
  for (const name of [CONNECTIONS, 'Session.GRACE', 'clusters.renamed.pool.size'])
    expect(await code(reset(name))).toBeUndefined()
  expect(written).toEqual([CONNECTIONS, GRACE, RENAMED].map((name) => [name, undefined]))
})

it('takes back nothing that decides trust, or may, where the file does not allow it', async () => {
  const rows = [kept(CONNECTIONS, '90'), kept(GRACE, '9h'), kept(RENAMED, '3')]
  const { reset, written } = open(rows)
  expect(await code(reset(CONNECTIONS))).toBeUndefined()
  expect(await code(reset(GRACE))).toBe('console_trust')
  expect(await code(reset(RENAMED))).toBe('console_trust')
  expect(written).toEqual([[CONNECTIONS, undefined]])
})

it('and nothing that is not there, nor sets it', async () => {
  const { reset, set, written } = open([kept(RENAMED, '3')])
  expect(await code(reset(CONNECTIONS))).toBe('console_fixed')
  expect(await code(reset(GRACE))).toBe('console_trust')
  expect(await code(reset('listeners'))).toBe('console_not_found')
  expect(await code(set(CONNECTIONS, '90'))).toBe('console_fixed')
  expect(await code(set(GRACE, '9h'))).toBe('console_trust')
  expect(await code(set(RENAMED, '3'))).toBe('console_not_found')
  expect(written).toEqual([])
})

it('shows what was taken back, and still counts', () => {
  const { line } = open([], [['shutdown.grace', '7s']])
  expect(line('shutdown.grace')?.problem).toBe(
    'taken back, and still in use: two that do not agree',
  )
  expect(line('limits.idle_timeout')?.problem).toBeUndefined()
})

it('holds it against what it knows, and again against what is there when it is written', async () => {
  const { set, held } = open([])
  await set('shutdown.grace', '1s')
  expect(held).toEqual([
    ['shutdown.grace', '1s'],
    ['shutdown.grace', '1s', new Map([['set.meanwhile', '1']])],
  ])
})

it('says of each why it does not count, and nothing of those that do', () => {
  const rows = [
    kept(CONNECTIONS, '90'),
    kept(GRACE, '9h'),
    kept(RENAMED, '3'),
    kept('limits.handshake_timeout', '1ms'),
    kept('shutdown.grace', '2s'),
    kept('limits.sessions_per_user', '07'),
  ]
  const { line } = open(rows, [['limits.sessions_per_user', '07']])
  const problem = (name: string) => line(name)?.problem
  expect(problem(CONNECTIONS)).toBe('set, but the file says otherwise')
  expect(problem(GRACE)).toMatch('the file does not allow it')
  expect(problem('limits.handshake_timeout')).toMatch('set, but: write at least 1s')
  expect(problem('shutdown.grace')).toBe('two that do not agree')
  expect(line('limits.sessions_per_user')).toMatchObject({ value: '7', problem: undefined })
  expect(line(RENAMED)).toMatchObject({ value: '', changeable: false, kept: rows[2] })
  expect(problem('log.level')).toBeUndefined()
})
