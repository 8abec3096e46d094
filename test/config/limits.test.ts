/** Listeners behind proxies, limits and the end of sessions, as the configuration file has them. */
import { beforeAll, describe, expect, test } from 'vitest'
import { GOOD, good, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)

/** Keys of the listener; what is told begins at `3:52`. */
const listener = (more: string) => GOOD.replace('gate.key}', `gate.key}\n    ${more}`)
const session = (more: string) => good(`    session: ${more}`)

test('what a file says nothing of', () => {
  const { limits, listeners, clusters } = parse(GOOD)
  expect(limits).toEqual({
    connections: 10_000,
    connectionsPerAddress: undefined,
    sessionsPerUser: undefined,
    handshakeTimeoutMs: 10_000,
    authenticationTimeoutMs: 15_000,
    idleTimeoutMs: undefined,
    failedLoginDelayMs: 1_000,
    handshakesPerSecond: undefined,
  })
  expect(listeners[0]).toMatchObject({ proxies: undefined, keepAliveMs: 60_000 })
  expect(clusters[0].atExpiry).toEqual({ end: 'never', graceMs: 60_000 })
})

test('what a file may say', () => {
  const { limits, listeners, clusters } = parse(
    `${listener('keepalive: 1m30s')}    session: {end_at_token_expiry: always, grace: 0s}
limits: {connections_per_address: 1, sessions_per_user: 2, handshake_timeout: 3s, idle_timeout: 4h}
`,
  )
  expect(limits).toMatchObject({
    connectionsPerAddress: 1,
    sessionsPerUser: 2,
    handshakeTimeoutMs: 3_000,
    idleTimeoutMs: 4 * 3_600_000,
  })
  expect(listeners[0]).toMatchObject({ keepAliveMs: 90_000 })
  expect(clusters[0].atExpiry).toEqual({ end: 'always', graceMs: 0 })
})

describe('proxies', () => {
  test.each<[from: string, inside: string[], outside: string[]]>([
    ['[10.0.0.0/8]', ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3'], ['11.0.0.0', '::1', '']],
    ['[192.0.2.7]', ['192.0.2.7', '::ffff:192.0.2.7'], ['192.0.2.6', '192.0.2.8']],
    ["['2001:db8::/32']", ['2001:db8::1', '2001:DB8:FFFF::'], ['2001:db9::', '10.0.0.1']],
    ["['::1', 127.0.0.0/8]", ['::1', '127.9.9.9'], ['::2', '128.0.0.0']],
    ['[10.1.2.3/8]', ['10.9.9.9'], ['11.1.2.3']],
    ['[192.0.2.6/31]', ['192.0.2.6', '192.0.2.7'], ['192.0.2.5', '192.0.2.8']],
  ])('from %s', (from, inside, outside) => {
    const { proxies } = parse(listener(`proxy_protocol: {from: ${from}}`)).listeners[0] ?? {}
    for (const address of inside) expect(proxies?.include(address), address).toBe(true)
    for (const address of outside) expect(proxies?.include(address), address).toBe(false)
  })
})

describe('mistakes', () => {
  const NO_NETWORK = 'is not a network; write one like 10.0.0.0/8, fd00::/8, or an address'
  const NO_KEEPALIVE =
    'is not a time between signs of life; write one like 30s or 2m, at least 1s and at most 9h'
  const NO_COUNT = 'write a number of at least 1'
  const rows: [text: string, mistake: string][] = [
    [listener('proxy_protocol: {}'), '4:21: "from" is required'],
    [listener('proxy_protocol: true'), '4:21: write keys with their values, not true'],
    [listener('proxy_protocol: {from: []}'), '4:28: name at least one network'],
    [listener('proxy_protocol: {from: 10.0.0.0/8}'), '4:28: write a list, not "10.0.0.0/8"'],
    [listener('proxy_protocol: {from: [10.0.0.0/33]}'), `4:29: "10.0.0.0/33" ${NO_NETWORK}`],
    [listener('proxy_protocol: {from: [10.0.0/8]}'), `4:29: "10.0.0/8" ${NO_NETWORK}`],
    [listener('proxy_protocol: {from: [proxy.test]}'), `4:29: "proxy.test" ${NO_NETWORK}`],
    [listener("proxy_protocol: {from: ['fe80::1%lo']}"), `4:29: "fe80::1%lo" ${NO_NETWORK}`],
    [listener("proxy_protocol: {from: ['::/129']}"), `4:29: "::/129" ${NO_NETWORK}`],
    [listener('proxy_protocol: {from: [10.0.0.0/]}'), `4:29: "10.0.0.0/" ${NO_NETWORK}`],
    [listener('proxy_protocol: {to: [x]}'), '4:22: unknown key "to"'],
    [listener('keepalive: 500ms'), `4:16: "500ms" ${NO_KEEPALIVE}`],
    [listener('keepalive: 10h'), `4:16: "10h" ${NO_KEEPALIVE}`],
    [listener('keepalive: 60'), `4:16: 60 ${NO_KEEPALIVE}`],
    [good('limits: {connections_per_address: 0}'), `9:35: ${NO_COUNT}`],
    [good('limits: {sessions_per_user: 0}'), `9:29: ${NO_COUNT}`],
    [good('limits: {sessions_per_user: some}'), '9:29: write a whole number, not "some"'],
    [session('{end_at_token_expiry: yes}'), '9:36: write never or when_idle or always, not "yes"'],
    [session('{ends: always}'), '9:15: unknown key "ends"'],
  ]
  test.each(rows.map(([text, mistake]) => [mistake, text]))('%s', (mistake, text) => {
    expect(told(text)).toContain(mistake)
  })

  test.each(['handshake_timeout', 'idle_timeout'])('%s of nothing', (name) => {
    expect(told(good(`limits: {${name}: 0s}`))[0]).toMatch(/"0s" is not a time to wait/)
  })

  test('a unix socket has no proxy', () => {
    const unix = `listeners: [{directory: /run, proxy_protocol: {from: [10.0.0.1]}}]\n`
    expect(told(unix + GOOD.slice(GOOD.indexOf('clusters')))).toEqual([
      '1:31: unknown key "proxy_protocol"',
    ])
  })
})
