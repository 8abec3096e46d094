/** `console` in the configuration file. */
import { expect, it } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { asFailure } from '../../src/failure.ts'

const FILE = `
listeners: [{directory: /tmp}]
clusters:
  main:
    kind: postgresql
    nodes: [{address: /run/postgresql/.s.PGSQL.5432}]
    sign_in: peer
`

const SECOND = `
  dev:
    kind: postgresql
    nodes: [{address: /run/postgresql/.s.PGSQL.5433}]
    sign_in: peer
`

function read(more: string) {
  const outside = { env: () => undefined, readFile: () => '', fileMode: () => 0o600, now: () => 0 }
  return parseConfig('postern.yaml', FILE + more, outside)
}

it.each<[string, unknown]>([
  ['', undefined],
  ['console:\n', undefined],
  ['console: {database: ops}', undefined],
  [
    'console: {admins: [ops]}',
    {
      database: 'postern',
      admins: new Set(['ops']),
      clusters: new Set(['main']),
    },
  ],
  [
    'console: {database: gate, admins: [a, b], may_change_trust: true}',
    {
      database: 'gate',
      admins: new Set(['a', 'b']),
      clusters: new Set(['main']),
    },
  ],
  [`${SECOND}console: {database: ops}`, undefined],
  [
    `${SECOND}console: {admins: [ops], clusters: [main]}`,
    {
      database: 'postern',
      admins: new Set(['ops']),
      clusters: new Set(['main']),
    },
  ],
])('%j', (text, own) => {
  expect(read(text).console).toEqual(own)
})

it.each([
  ['console: {admins: ops}', 'write a list, not "ops"'],
  ['console: {admins: [""]}', 'write the name of a role'],
  ['console: {database: "", admins: [ops]}', 'write the name of a database, at most 63 characters'],
  ['console: {admins: [ops], clusters: []}', 'name at least one cluster'],
  ['console: {admins: [ops], clusters: [prod]}', 'there is no cluster "prod"'],
  [
    `${SECOND}console: {admins: [ops]}`,
    'admins of which cluster? each has issuers of its own, and the console rules them all: add clusters: [name]',
  ],
  ['console: {may_change_trust: often}', 'write true or false, not "often"'],
  [
    'console: {database: postern_state, admins: [ops]}\nstate: {cluster: main}',
    'this is the database of the shared state; the console is none, and needs another name',
  ],
])('%j is a mistake', (text, says) => {
  try {
    read(text)
    expect.unreachable()
  } catch (thrown) {
    expect(asFailure(thrown).message.replace(/^\S+ /, '')).toBe(says)
  }
})
