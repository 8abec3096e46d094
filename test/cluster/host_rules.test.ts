/** Which line of pg_hba.conf decides, and which of pg_ident.conf counts. */
import { describe, expect, test } from 'vitest'
import {
  type Connecting,
  decidingRule,
  type HostRule,
  identFits,
} from '../../src/cluster/host_rules.ts'

const rule = (text: string): HostRule => {
  const [type = '', databases = '', users = '', address = '', method = ''] = text.split(' ')
  return {
    line: 1,
    type,
    databases: databases.split(','),
    users: users.split(','),
    addressFits: address === '?' ? undefined : address === 'here',
    method,
    options: [],
    text,
  }
}
const tls: Connecting = { unix: false, encrypted: true, role: 'ann', groups: ['g'], database: 'db' }
const plain = { ...tls, encrypted: false }
const unix = { ...plain, unix: true }

describe('the first line that fits', () => {
  test.each<[string, Connecting, string[], string]>([
    ['nothing', tls, [], 'none'],
    ['a group', tls, ['host all +g here a'], 'a'],
    ['another group', tls, ['host all +h here a'], 'none'],
    ['a name in a list', tls, ['host x,db bob,ann here a'], 'a'],
    ['the first of two', tls, ['host all all here a', 'host all all here b'], 'a'],
    ['another address', tls, ['host all all there a', 'host all all here b'], 'b'],
    ['a line for TLS', tls, ['hostnossl all all here a', 'hostssl all all here b'], 'b'],
    ['a line without', plain, ['hostssl all all here a', 'hostnossl all all here b'], 'b'],
    ['GSS', tls, ['hostgssenc all all here a', 'hostnogssenc all all here b'], 'b'],
    ['a socket', unix, ['host all all here a', 'local all all - b'], 'b'],
    ['no socket', tls, ['local all all - a'], 'none'],
    ['replication is no database', tls, ['host replication all here a'], 'none'],
    ['sameuser', { ...tls, database: 'ann' }, ['host sameuser all here a'], 'a'],
    ['samerole', { ...tls, database: 'g' }, ['host samerole all here a'], 'a'],
    ['samegroup, another', tls, ['host samegroup all here a'], 'none'],
    ['a pattern of roles', tls, ['host all /^a here a', 'host all all here b'], 'unclear'],
    ['a pattern beside the name', tls, ['host all /^x,ann here a'], 'a'],
    ['a pattern of databases', tls, ['host /^d all here a'], 'unclear'],
    ["a host's name", tls, ['host all all ? a'], 'unclear'],
    ["a host's name for others", tls, ['host all bob ? a', 'host all all here b'], 'b'],
  ])('%s', (_name, connecting, lines, expected) => {
    const deciding = decidingRule(lines.map(rule), connecting)
    expect(deciding.kind === 'rule' ? deciding.rule.method : deciding.kind).toBe(expected)
  })
})

describe('pg_ident.conf', () => {
  test.each<[string, boolean, boolean | undefined]>([
    ['postern gate +g', true, true],
    ['postern gate +g', false, false],
    ['postern gate ann', false, true],
    ['postern gate all', true, true],
    ['postern gate all', false, false],
    ['postern root +g', true, false],
    ['other gate +g', true, false],
    ['postern /^g +g', true, undefined],
    ['postern gate /^a', true, undefined],
    ['postern /^g bob', true, false],
  ])('%s, PostgreSQL 16: %s', (text, plus, expected) => {
    const [map = '', system = '', role = ''] = text.split(' ')
    const member = { osUser: 'gate', role: 'ann', groups: ['g'], plus }
    expect(identFits([{ line: 1, map, system, role }], 'postern', member)).toBe(expected)
  })
})
