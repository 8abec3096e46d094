/** What setup prints for the cluster that keeps the shared state, beside what it prints in any case. */
import { expect, it } from 'vitest'
import type { Node } from '../../src/cluster/node.ts'
import { type SetUp, setup } from '../../src/cluster/setup.ts'
import { nodeAt } from '../support/managed_node.ts'

function active(dialect: Node['dialect'], signIn: Node['signIn'], state: SetUp['state']) {
  const address = signIn === 'peer' ? { path: '/run/.s.PGSQL.1' } : { host: '127.0.0.1', port: 1 }
  const cluster: SetUp = {
    node: { ...nodeAt(address, dialect), signIn },
    trust: { enabled: true, issuers: new Set(), claim: '' },
    rules: { audiences: new Set() },
    management: { role: 'manager' },
    authorization: undefined,
    provisioning: false,
    state,
  }
  return setup(cluster, { gateAddress: undefined, osUser: 'gate' })
    .flatMap(({ lines }) => lines)
    .filter((line) => line !== '' && !/^(?:#|--)/.test(line))
    .map((line) => line.replace(/ +/g, ' '))
}

const STATE = { role: 'Keeper "K"', database: 'shared' }

/** What it adds. */
function added(dialect: Node['dialect'], signIn: Node['signIn']): string[] {
  const without = active(dialect, signIn, undefined)
  return active(dialect, signIn, STATE).filter((line) => !without.includes(line))
}

it('PostgreSQL', () => {
  expect(added('postgresql', 'peer')).toEqual([
    `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'Keeper "K"') THEN`,
    ' CREATE ROLE "Keeper ""K""" LOGIN;',
    'CREATE DATABASE "shared" OWNER "Keeper ""K""";',
    'REVOKE ALL ON DATABASE "shared" FROM PUBLIC;',
    'REVOKE ALL ON SCHEMA public FROM PUBLIC;',
    'local shared "Keeper ""K""" peer map=postern',
    'postern gate "Keeper ""K"""',
  ])
  expect(added('postgresql', 'scram').at(-1)).toBe(
    'host shared "Keeper ""K""" 127.0.0.1/32 scram-sha-256',
  )
})

it('CockroachDB', () => {
  expect(added('cockroachdb', 'trust')).toEqual([
    'CREATE USER IF NOT EXISTS "Keeper ""K""";',
    'CREATE DATABASE IF NOT EXISTS "shared";',
    'ALTER DATABASE "shared" OWNER TO "Keeper ""K""";',
    'REVOKE ALL ON DATABASE "shared" FROM public;',
    'REVOKE ALL ON SCHEMA "shared".public FROM public;',
  ])
})
