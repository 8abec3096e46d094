/** The packets without a type byte, as a client, a stranger and an attacker send them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Framing } from '../../src/wire/framing.ts'
import {
  decodeStartup,
  protocolCode,
  STARTUP_BYTES_MAX,
  type Startup,
  type StartupPacket,
  unsupportedProtocol,
} from '../../src/wire/startup.ts'
import { outcome, type Refusal, refusalIn, taken } from '../support/decoding.ts'
import {
  cancelRequest,
  gssencRequest,
  sslRequest,
  startup,
  uint32,
} from '../support/wire_client.ts'

type Expected = StartupPacket | Refusal | undefined
type Row = [name: string, bytes: Buffer, expected: Expected]

function check(rows: Row[]): void {
  test.each(rows)('%s', (_name, bytes, expected) => {
    expect(take(bytes)).toEqual(expected)
  })
}

function take(bytes: Buffer): Expected {
  return taken(bytes, (framing) => {
    const packet = framing.packet(STARTUP_BYTES_MAX)
    return packet && decodeStartup(packet)
  })
}

const V3_0 = 3 << 16

/** A packet of the code, and whatever bytes follow it. */
function packet(code: number, ...rest: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(rest.map((part) => Buffer.from(part)))
  return Buffer.concat([uint32(8 + body.length), uint32(code), body])
}

function hello(parts: Partial<Startup>): StartupPacket {
  const unsaid = { database: undefined, options: undefined, replication: undefined }
  const startup = { minor: 0, user: 'alice', ...unsaid, parameters: new Map(), ...parts }
  return { kind: 'startup', startup }
}

const strangers: Refusal = { silent: 'not_postgres' }
const layout = (problem: string): Refusal => ({
  sqlstate: '08P01',
  says: `invalid startup packet layout: ${problem}`,
})
const unsupported = (version: string): Refusal => ({
  sqlstate: '0A000',
  says: `unsupported frontend protocol ${version}: server supports 3.0 to 3.2`,
})
const unterminated = layout('expected terminator as last byte')
const twice = layout('a parameter was given twice')
const notUtf8 = layout('a parameter is not UTF-8')
const noUser: Refusal = {
  sqlstate: '28000',
  says: 'no PostgreSQL user name specified in startup packet',
}

describe('requests', () => {
  const key = Buffer.from([1, 2, 3, 4, 0, 6, 7, 255])
  check([
    ['SSLRequest', sslRequest(), { kind: 'ssl' }],
    ['GSSENCRequest', gssencRequest(), { kind: 'gssenc' }],
    ['SSLRequest and more in it', packet(80877103, '\0'), unsupported('1234.5679')],
    ['GSSENCRequest and more in it', packet(80877104, 'x'), unsupported('1234.5680')],
    ['CancelRequest', cancelRequest(key), { kind: 'cancel', key }],
    ['CancelRequest without a secret', cancelRequest(key.subarray(4)), strangers],
    ['CancelRequest of 7 bytes', cancelRequest(key.subarray(1)), strangers],
    [
      'CancelRequest of protocol 3.2',
      cancelRequest(Buffer.alloc(36, 7)),
      { kind: 'cancel', key: Buffer.alloc(36, 7) },
    ],
    ['CancelRequest that is too long', cancelRequest(Buffer.alloc(261, 7)), strangers],
    ['CancelRequest without a key', packet(80877102), strangers],
  ])

  test.each([
    ['ssl', '1234.5679'],
    ['gssenc', '1234.5680'],
  ] as const)('a second %s request is a version that nobody speaks', (kind, version) => {
    const refused = refusalIn(unsupportedProtocol(protocolCode(kind)))
    expect(refused).toEqual(unsupported(version))
  })

  test("a cancel's key outlives the memory that it came in", () => {
    const framing = new Framing()
    framing.push(cancelRequest(key))
    const read = decodeStartup(framing.packet(STARTUP_BYTES_MAX) ?? Buffer.alloc(4))
    framing.wipe()
    expect(read).toEqual({ kind: 'cancel', key })
  })
})

describe('lengths', () => {
  const longest = 'x'.repeat(STARTUP_BYTES_MAX - startup({ user: 'alice', a: '' }).length)
  const sized = (bytes: number) => Buffer.concat([uint32(bytes), uint32(V3_0), Buffer.alloc(20)])
  check([
    ['0', sized(0), strangers],
    ['3', sized(3), strangers],
    ['7', sized(7), strangers],
    ['8, which has no terminator', sized(8), unterminated],
    ['9: no user', sized(9), noUser],
    [
      '10,004',
      startup({ user: 'alice', a: longest }),
      hello({ parameters: new Map([['a', longest]]) }),
    ],
    ['10,004, of which some is to come', sized(10_004), undefined],
    ['10,005', sized(10_005), strangers],
    ['2^31 - 1', sized(2 ** 31 - 1), strangers],
    ['2^31', sized(2 ** 31), strangers],
    ['2^32 - 1', sized(2 ** 32 - 1), strangers],
    ['a length cut off', sized(8).subarray(0, 3), undefined],
    ['a code cut off', sized(8).subarray(0, 7), undefined],
  ])
})

describe('strangers', () => {
  check([
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: db\r\n\r\n'), strangers],
    ['an SSH client', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), strangers],
    ['TLS without SSLRequest', Buffer.from('16030100c8010000c40303', 'hex'), strangers],
    ['zeros', Buffer.alloc(64), strangers],
    ['0xff', Buffer.alloc(64, 0xff), strangers],
    ['text', Buffer.from('hello\n\n\n'), strangers],
  ])
})

describe('versions', () => {
  const speaks = (major: number, minor: number) =>
    startup({ user: 'alice' }, ((major << 16) | minor) >>> 0)
  check([
    ['3.0', speaks(3, 0), hello({})],
    ['3.2', speaks(3, 2), hello({ minor: 2 })],
    ['3.9999, which libpq tries servers with', speaks(3, 9999), hello({ minor: 9999 })],
    ['0.0', speaks(0, 0), unsupported('0.0')],
    ['1.0', speaks(1, 0), unsupported('1.0')],
    ['2.0', speaks(2, 0), unsupported('2.0')],
    ['4.0', speaks(4, 0), unsupported('4.0')],
    ['65535.65535', speaks(65535, 65535), unsupported('65535.65535')],
    [
      'options of the protocol are parameters',
      startup({ user: 'alice', '_pq_.command_tag': '1', '_pq_.x': '' }, V3_0 | 2),
      hello({
        minor: 2,
        parameters: new Map([
          ['_pq_.command_tag', '1'],
          ['_pq_.x', ''],
        ]),
      }),
    ],
  ])
})

describe('parameters', () => {
  const start = (...strings: string[]) => packet(V3_0, ...strings.map((each) => `${each}\0`), '\0')
  const others = (...entries: [string, string][]) => hello({ parameters: new Map(entries) })
  check([
    [
      'all that have a meaning',
      start('user', 'alice', 'database', 'shop', 'options', '-c a=b', 'replication', 'database'),
      hello({ database: 'shop', options: '-c a=b', replication: 'database' }),
    ],
    [
      'any order; the others keep theirs',
      start('b', '2', 'user', 'alice', 'a', '1'),
      others(['b', '2'], ['a', '1']),
    ],
    ['empty values', start('user', 'alice', 'a', ''), others(['a', ''])],
    ['an empty database is the default one', start('user', 'alice', 'database', ''), hello({})],
    ['empty options are said', start('user', 'alice', 'options', ''), hello({ options: '' })],
    ['names are exact', start('user', 'alice', 'User', 'bob'), others(['User', 'bob'])],
    ['UTF-8', start('user', '\ufeffалиса😀'), hello({ user: '\ufeffалиса😀' })],
    [
      'names of JavaScript',
      start('__proto__', 'a', 'constructor', 'b', 'user', 'alice'),
      others(['__proto__', 'a'], ['constructor', 'b']),
    ],
    ['no user', start('database', 'shop'), noUser],
    ['an empty user', start('user', '', 'database', 'root'), noUser],

    ['a user twice', start('user', 'alice', 'user', 'root'), twice],
    ['the same user twice', start('user', 'alice', 'user', 'alice'), twice],
    ['an empty user before one', start('user', '', 'user', 'root'), twice],
    ['a database twice', start('user', 'alice', 'database', 'a', 'database', 'b'), twice],
    ['options twice', start('user', 'alice', 'options', '', 'options', '-c a=b'), twice],
    ['another twice', start('user', 'alice', 'a', '', 'a', ''), twice],

    ['nothing at all', packet(V3_0), unterminated],
    ['no end of the list', packet(V3_0, 'user\0alice\0'), unterminated],
    ['no end of a value', packet(V3_0, 'user\0alice'), unterminated],
    ['no value', packet(V3_0, 'user\0'), unterminated],
    ['no end of a name', packet(V3_0, 'user'), unterminated],
    ['a name alone, then the end', packet(V3_0, 'user\0\0'), unterminated],
    ['bytes after the end', packet(V3_0, 'user\0alice\0\0', '\0'), unterminated],
    ['a user after the end', packet(V3_0, 'a\0b\0\0', 'user\0root\0\0'), unterminated],
    ['the end first', packet(V3_0, '\0', 'user\0root\0\0'), unterminated],

    ...['ff', 'c080', 'eda080', 'e282', 'f4908080', '616cc3'].flatMap((hex): Row[] => {
      const bad = Buffer.from(hex, 'hex')
      return [
        [`a user of ${hex}`, packet(V3_0, 'user\0', bad, '\0\0'), notUtf8],
        [`a name of ${hex}`, packet(V3_0, 'user\0alice\0', bad, '\0x\0\0'), notUtf8],
      ]
    }),
  ])
})

const string = fc.string({ unit: 'binary', maxLength: 20 }).map((text) => text.replaceAll('\0', ''))
const sayable = string.filter((text) => text !== '')
const unsaid = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const spoken = fc.record({
  minor: fc.integer({ min: 0, max: 65535 }),
  user: sayable,
  database: unsaid(sayable),
  options: unsaid(string),
  replication: unsaid(string),
  others: fc.uniqueArray(
    fc.tuple(
      sayable.map((name) => `x${name}`),
      string,
    ),
    {
      selector: ([name]) => name,
      maxLength: 5,
    },
  ),
})

test('what was written is read', () => {
  fc.assert(
    fc.property(spoken, ({ minor, others, ...named }) => {
      const said = Object.entries(named).flatMap(([name, value]): [string, string][] =>
        value === undefined ? [] : [[name, value]],
      )
      const bytes = startup(Object.fromEntries([...others, ...said]), V3_0 | minor)
      expect(take(bytes)).toEqual(hello({ minor, ...named, parameters: new Map(others) }))
    }),
    { numRuns: 30 },
  )
})

test('any bytes are a packet or a refusal', () => {
  const codes = fc.constantFrom(V3_0, V3_0 | 2, 80877102, 80877103, 80877104, 0, 2 ** 32 - 1)
  const bytes = fc.uint8Array({ maxLength: 60 })
  const words = fc.array(fc.constantFrom('user', 'a', '\0', '\0', '\u{1f600}', ''), {
    maxLength: 12,
  })
  const bodies = fc.oneof(
    bytes.map((body) => Buffer.from(body)),
    words.map((body) => Buffer.from(body.join(''))),
  )
  fc.assert(
    fc.property(codes, bodies, (code, body) => {
      const found = outcome(() => decodeStartup(Buffer.concat([uint32(code), body])))
      expect(found).toBeTypeOf('object')
    }),
    { numRuns: 1000 },
  )
})
