/** Node sessions that are kept, as the configuration file has them: good values, and mistakes. */
import { beforeAll, describe, expect, it } from 'vitest'
import { GOOD, good, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)
const pool = (keys: string) => good(`    pool: ${keys}`)
const SIZE = 'write a number of sessions from 1 to 10000'
const WAIT =
  'is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)'

describe('a pool', () => {
  it('is none unless the file says so', () => {
    for (const text of [GOOD, pool('{}'), pool(''), pool('{mode: none, size: 5}')])
      expect(parse(text).clusters[0].pool).toBeUndefined()
  })

  it('keeps sessions for one principal, for minutes', () => {
    expect(parse(pool('{mode: session}')).clusters[0].pool).toEqual({
      shareBetweenPrincipals: false,
      maxAgeMs: 300_000,
      idleTimeoutMs: 60_000,
      size: 20,
      maxNodeConnections: 80,
      waitTimeoutMs: 10_000,
    })
  })

  it('may be another one', () => {
    const keys =
      '{mode: session, share_between_principals: true, max_age: 1h, idle_timeout: 10s, size: 1, max_node_connections: 10000, wait_timeout: 1ms}'
    expect(parse(pool(keys)).clusters[0].pool).toEqual({
      shareBetweenPrincipals: true,
      maxAgeMs: 3_600_000,
      idleTimeoutMs: 10_000,
      size: 1,
      maxNodeConnections: 10_000,
      waitTimeoutMs: 1,
    })
  })
})

describe('mistakes', () => {
  it.each([
    ['{mode: transaction}', '9:18: write none or session, not "transaction"'],
    ['{mode: session, size: 0}', `9:33: ${SIZE}`],
    ['{mode: session, size: many}', '9:33: write a whole number, not "many"'],
    ['{mode: session, max_node_connections: 10001}', `9:49: ${SIZE}`],
    ['{mode: session, max_age: 0s}', `9:36: "0s" ${WAIT}`],
    ['{mode: session, wait_timeout: forever}', `9:41: "forever" ${WAIT}`],
    ['{mode: session, keep_after_code: true}', '9:27: unknown key "keep_after_code"'],
  ])('%s', (keys, problem) => {
    expect(told(pool(keys))).toEqual([problem])
  })

  it('sessions that belong to a token', () => {
    const text = `${GOOD.replace('[{address: /run/pg/.s.PGSQL.5432}]', '[{address: "db:5432", tls: {ca_file: ca.crt}}]').replace('peer', 'forward')}    pool: {mode: session}\n`
    expect(told(text)).toEqual([
      '9:18: with sign_in: forward a session belongs to one token; write none, or sign in another way',
    ])
    expect(told(text.replace('mode: session', 'mode: none'))).toEqual([])
  })
})
