/** The roles that groups may become: which say nothing, and which no group becomes. */
import { expect, it } from 'vitest'
import { inspectConfig } from '../../src/config/config.ts'
import type { Outside } from '../../src/config/document.ts'
import { warningsOf } from '../../src/config/warnings.ts'

const outside: Outside = {
  env: () => undefined,
  fileMode: () => 0o600,
  now: () => 0,
  readFile(path) {
    throw new Error(`no such file: ${path}`)
  },
}

/** What is told of the roles, each at its column of the last line. */
function warned(roles: string, more: string[] = []): string[] {
  const text = [
    'listeners: [{directory: /run/postern}]',
    'clusters:',
    '  main:',
    '    nodes: [{address: /run/postgresql/.s.PGSQL.5432}]',

    '    management: {role: watcher}',
    ...[
      'kind: postgresql',
      'sign_in: peer',
      'server.jwt_authentication.authorization.enabled: true',
    ]
      .filter((line) => !more.some((other) => other.split(':')[0] === line.split(':')[0]))
      .map((line) => `    ${line}`),
    ...more.map((line) => `    ${line}`),
    `    server.jwt_authentication.authorization.roles: ${roles}`,
  ]
  const { length } = text
  const inspected = inspectConfig('p.yaml', text.join('\n'), outside)
  return warningsOf(inspected, outside)
    .map(({ offset, what }) => `${inspected.document.place(offset)}: ${what}`)
    .filter((line) => line.startsWith(`p.yaml:${length}:`))
    .map((line) => line.slice(`p.yaml:${length}:`.length))
}

const EVERY = (text: string) =>
  `${JSON.stringify(text)} matches every name, so whoever names groups at the issuer chooses the role; write what the groups that are meant have in common, like /^team_.*$`
const NEVER = (text: string) => `"${text}" is reserved, and no group becomes it; remove it`

it.each<[roles: string, says: string[], more?: string[]]>([
  ['[owner, /^team_.*$, "/^[a-z]+$"]', []],
  ['["/^.*$"]', [`53: ${EVERY('/^.*$')}`]],
  ['[owner, "/^(?s)(.+)$"]', [`60: ${EVERY('/^(?s)(.+)$')}`]],
  ['["/^[^,]*$"]', [`53: ${EVERY('/^[^,]*$')}`]],
  ['[postgres]', [`53: ${NEVER('postgres')}`]],
  ['[watcher]', [`53: ${NEVER('watcher')}`]],
  ['[postern_users]', [`53: ${NEVER('postern_users')}`]],
  ['[pg_monitor]', [], ['allow_roles: [pg_monitor]']],
  ['[admin]', []],
  ['[Admin]', [`53: ${NEVER('Admin')}`], ['kind: cockroachdb', 'sign_in: trust']],
  [
    '[owner]',
    [
      '52: no group becomes a role: that needs server.jwt_authentication.authorization.enabled: true; write it, or remove the roles',
    ],
    ['server.jwt_authentication.authorization.enabled: false'],
  ],
])('%s', (roles, says, more) => {
  expect(warned(roles, more)).toEqual(says)
})
