/** Names that are never granted by name, map, claim or group. */
import { expect, test } from 'vitest'
import { isReserved } from '../../src/policy/reserved.ts'

test.each([
  'root',
  'node',
  'public',
  'none',
  'postgres',
  'pg_monitor',
  'pg_',
  'pg_read_all_data',
  'crdb_internal_anything',
  // Whatever their letters look like to the cluster.
  'Root',
  'ROOT',
  'PG_Signal_Backend',
  'Crdb_Internal_x',
  'POSTGRES',
  'ｒｏｏｔ',
  'ＰＧ＿monitor',
  'pg\uff3fx',
  'ℙ𝔤_x',
  'publıc',
  'PUBLİC',
])('%s is reserved', (name) => {
  expect(isReserved(name)).toBe(true)
})

test.each([
  'maxroach',
  'admin',
  'root2',
  'roots',
  'my_root',
  'pgbouncer',
  'pg',
  'pgadmin',
  'crdb_internal',
  'crdb',
  'nodes',
  'publican',
  'postgres2',
  'nobody',
  '',
])('%s is not', (name) => {
  expect(isReserved(name)).toBe(false)
})

test.each([
  ['postern_management', true],
  ['Postern_Management', true],
  ['ｐostern_management', true],
  ['postern_users', false],
])("%s, where postern_management is the gate's own: %s", (name, reserved) => {
  expect(isReserved(name, new Set(['postern_management']))).toBe(reserved)
})
