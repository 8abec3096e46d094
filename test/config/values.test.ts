/** The small forms of values: what each text is, and that nothing else is taken. */
import { describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { check, shown } from '../../src/config/mistakes.ts'
import {
  duration,
  fileMode,
  fileName,
  hostPort,
  isLoopback,
  listenAddress,
  nodeAddress,
  timeout,
} from '../../src/config/values.ts'

/** The value, or the sentence that refuses it. */
function read(form: z.ZodType, written: unknown): unknown {
  const read = check(form, written)
  return read.ok ? read.value : read.mistakes.map(({ message }) => message).join('\n')
}

describe('durations, in milliseconds', () => {
  test.each<[string, number]>([
    ['15s', 15_000],
    ['1m30s', 90_000],
    ['500ms', 500],
    ['1h', 3_600_000],
    ['1h1m1s1ms', 3_661_001],
    ['1.5s', 1_500],
    ['0.0004s', 0],
    ['0s', 0],
    ['0ms', 0],
    ['576h', 2_073_600_000],
  ])('%s', (text, ms) => {
    expect(read(duration, text)).toBe(ms)
  })

  test.each([
    '',
    '15',
    's',
    '15 s',
    ' 15s',
    '15s ',
    '-1s',
    '+1s',
    '1d',
    '1S',
    '1e3s',
    '.5s',
    '5.s',
    '1s,',
    '1s;1s',
    '١s',
    '577h',
    '99999999999999999999h',
  ])('%j is none', (text) => {
    expect(read(duration, text)).toBe(
      `${JSON.stringify(text)} is not a duration; write one like 15s, 1m30s or 500ms, at most 24 days (576h)`,
    )
  })

  test.each(['0s', '0ms', '0.1ms', '600h', '15'])('%j is nothing to wait for', (text) => {
    expect(read(timeout, text)).toBe(
      `"${text}" is not a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)`,
    )
  })
})

describe('addresses', () => {
  test.each<[string, string, number]>([
    ['127.0.0.1:26257', '127.0.0.1', 26257],
    ['localhost:0', 'localhost', 0],
    ['db.internal:65535', 'db.internal', 65535],
    ['[::1]:5432', '::1', 5432],
    ['[::]:5432', '::', 5432],
    ['[fe80::1%eth0]:5432', 'fe80::1%eth0', 5432],
    ['[::ffff:127.0.0.1]:5432', '::ffff:127.0.0.1', 5432],
  ])('%s', (text, host, port) => {
    expect(read(hostPort, text)).toEqual({ host, port })
    expect(read(nodeAddress, text)).toEqual({ host, port })
  })

  test.each([
    '',
    ':5432',
    'localhost',
    'localhost:',
    'localhost:65536',
    'localhost:123456',
    'localhost:-1',
    'localhost:x',
    'local host:1',
    '::1:5432',
    '[::1]',
    '[localhost]:1',
    '[1.2.3.4]:1',
    '[:::]:1',
    'https://host:443',
    'host:1/path',
    'host:1\n',
    'user@[::1]:1',
  ])('%j is none', (text) => {
    const quoted = JSON.stringify(text)
    expect(read(hostPort, text)).toBe(
      `${quoted} is not an address; write host:port, like 127.0.0.1:26257`,
    )
    expect(read(nodeAddress, text)).toBe(
      `${quoted} is not a node's address; write host:port or the path of its unix socket`,
    )
  })

  test.each<[string, unknown]>([
    ['fd:3', { fd: 3 }],
    ['fd:127', { fd: 127 }],
    ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
  ])('%j is one to listen on', (text, address) => {
    expect(read(listenAddress, text)).toEqual(address)
  })

  test.each(['fd:', 'fd:2', 'fd:x', 'fd:1234', 'fd'])('%j is none to listen on', (text) => {
    expect(read(listenAddress, text)).toContain('is not an address; write host:port')
  })

  test('a path is a node, and no listener', () => {
    const path = '/var/run/postgresql/.s.PGSQL.5432'
    expect(read(nodeAddress, path)).toEqual({ path })
    expect(read(hostPort, path)).toContain('is not an address')
  })

  test.each<[string, boolean]>([
    ['localhost', true],
    ['127.0.0.1', true],
    ['127.255.0.1', true],
    ['::1', true],
    ['0.0.0.0', false],
    ['::', false],
    ['127.evil.test', false],
    ['127.0.0.1.evil.test', false],
    ['localhost.evil.test', false],
    ['::ffff:127.0.0.1', false],
    ['10.0.0.1', false],
  ])('%s is loopback: %s', (host, expected) => {
    expect(isLoopback(host)).toBe(expected)
  })
})

describe('files', () => {
  test.each<[string, number]>([
    ['0770', 0o770],
    ['0600', 0o600],
    ['0000', 0],
  ])('mode %s', (text, mode) => {
    expect(read(fileMode, text)).toBe(mode)
  })

  test.each(['', '770', '0o770', '00770', '0780', 'rwxrwx---', '1770'])('mode %j', (text) => {
    expect(read(fileMode, text)).toBe(
      `${JSON.stringify(text)} is not a file mode; write four octal digits in quotes, like '0770'`,
    )
  })

  test('a name is one line of text, and what is none is not shown', () => {
    expect(read(fileName, 'a b/c.pem')).toBe('a b/c.pem')
    const problem = 'write the path of the file; the gate reads the file itself'
    for (const text of ['', '-----BEGIN PRIVATE KEY-----\nMIIB', 'a\0b', 'a\n'])
      expect(read(fileName, text)).toBe(problem)
  })
})

test.each<[unknown, string]>([
  [5, '5'],
  [true, 'true'],
  [['15s'], '["15s"]'],
  [{ s: 15 }, '{"s":15}'],
])('%j is no text', (value, quoted) => {
  for (const form of [duration, timeout, hostPort, nodeAddress, fileMode])
    expect(String(read(form, value)).startsWith(`${quoted} is not `)).toBe(true)
})

test.each<[unknown, string]>([
  ['a"b\n', '"a\\"b\\n"'],
  ['x'.repeat(80), `"${'x'.repeat(80)}"`],
  ['x'.repeat(81), `"${'x'.repeat(80)}…"`],
  [Array(50).fill('abc'), `${JSON.stringify(Array(50).fill('abc')).slice(0, 80)}…`],
  [undefined, 'undefined'],
  [null, 'null'],
])('a value is shown, in short', (value, expected) => {
  expect(shown(value)).toBe(expected)
})
