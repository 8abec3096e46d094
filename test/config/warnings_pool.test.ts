/** What is told of a pool that is legal: sessions that people share, and waits that are no use. */
import { expect, it } from 'vitest'
import { inspectConfig } from '../../src/config/config.ts'
import { warningsOf } from '../../src/config/warnings.ts'

const outside = {
  env: () => undefined,
  fileMode: () => 0o600,
  now: () => 0,
  readFile(path: string): string {
    throw new Error(`no such file: ${path}`)
  },
}

/** What is told of the pool, each at its column of the last line. */
function warned(pool: string, limits = '{}', kind = ['    kind: postgresql']): string[] {
  const text = [
    'listeners: [{directory: /run/postern}]',
    `limits: ${limits}`,
    'clusters:',
    '  main:',
    ...kind,
    '    nodes: [{address: /run/postgresql/.s.PGSQL.5432}]',
    '    sign_in: peer',
    `    pool: ${pool}`,
  ]
  const last = `p.yaml:${text.length}:`
  const inspected = inspectConfig('p.yaml', text.join('\n'), outside)
  return warningsOf(inspected, outside)
    .map(({ offset, what }) => `${inspected.document.place(offset)}: ${what}`)
    .filter((line) => line.startsWith(last))
    .map((line) => line.slice(last.length))
}

const SHARED =
  'what DISCARD ALL leaves (docs/pool.md) goes from one person to another; remove it unless the roles stand for applications'
const LATE = (limit: string) =>
  `the login is over before its turn, and nobody learns what it waited for; write less than limits.authentication_timeout (${limit})`

it.each<[pool: string, says: string[], limits?: string]>([
  ['{mode: session}', []],
  ['{mode: none, share_between_principals: true, wait_timeout: 1h}', []],
  ['{mode: session, share_between_principals: true}', [`53: ${SHARED}`]],
  ['{mode: session, wait_timeout: 14s}', []],
  ['{mode: session, wait_timeout: 15s}', [`41: ${LATE('15s')}`]],
  ['{mode: session}', [`11: ${LATE('10s')}`], '{authentication_timeout: 10s}'],
])('%s', (pool, says, limits) => {
  expect(warned(pool, limits)).toEqual(says)
})

it('with an address of its own for each session', () => {
  const kind = ['    kind: cockroachdb', '    send_remote_addr: true']
  expect(warned('{mode: none}', '{}', kind)).toEqual([])
  expect(warned('{mode: session}', '{}', kind)).toEqual([
    "18: with send_remote_addr each session begins with its own client's address and port, and is nobody else's; write none, or remove that",
  ])
})
