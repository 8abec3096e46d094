/** What a node may say while the gate signs in to it: well, badly, and with intent. */
import { createContext, Script } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/secret.ts'
import { Framing } from '../../src/wire/framing.ts'
import {
  cancelRequest,
  decodeNodeMessage,
  type NodeMessage,
  passwordMessage,
  saslInitialResponse,
  saslResponse,
  sslRequest,
  startupMessage,
  terminate,
} from '../../src/wire/node_messages.ts'
import { outcome, type Refusal, taken } from '../support/decoding.ts'
import * as client from '../support/wire_client.ts'
import { message, uint32 } from '../support/wire_client.ts'

const LIMIT = 64 * 1024
const NO_PLACE = 'no place in a sign-in'
type Said = NodeMessage | Refusal | typeof NO_PLACE

function read(bytes: Buffer): Said | undefined {
  return withinSeconds(10, () =>
    taken<Said>(bytes, (framing) => {
      const frame = framing.message(LIMIT)
      return frame && (decodeNodeMessage(frame) ?? NO_PLACE)
    }),
  )
}

const context: { work: () => void } = { work: () => undefined }
createContext(context)
const script = new Script('work()')

/**
 * Ends the work when it doesn't end by itself: a reader that runs past a message's end may go on for
 * ever, and a test that hangs tells nothing.
 */
function withinSeconds<T>(seconds: number, work: () => T): T | undefined {
  let done: T | undefined
  context.work = () => {
    done = work()
  }
  script.runInContext(context, { timeout: seconds * 1000 })
  return done
}

function check(type: string, rows: [name: string, body: string | Buffer, expected: Said][]): void {
  test.each(rows)(`${type}: %s`, (_name, body, expected) => {
    expect(read(message(type, body))).toEqual(expected)
  })
}

const malformed: Refusal = { sqlstate: '08006', says: 'the database broke the protocol' }
const unsupported = (method: string): Said => ({ kind: 'unsupportedAuthentication', method })
const refusal = (sqlstate: string, text: string): Said => ({
  kind: 'error',
  refusal: { sqlstate, message: text },
})

describe('authentication', () => {
  const asks = (code: number, rest = '') => Buffer.concat([uint32(code), Buffer.from(rest)])
  check('R', [
    ['ok', asks(0), { kind: 'authenticationOk' }],
    ['a password in clear', asks(3), { kind: 'cleartextPassword' }],
    ['MD5', asks(5, 'salt'), unsupported('MD5Password')],
    [
      'SASL',
      asks(10, 'SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0'),
      { kind: 'sasl', mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'] },
    ],
    ['SASL without a mechanism', asks(10, '\0\0'), { kind: 'sasl', mechanisms: [] }],
    [
      'SASL that goes on behind its end',
      asks(10, 'A\0\0B\0\0'),
      { kind: 'sasl', mechanisms: ['A'] },
    ],
    ['Kerberos', asks(2), unsupported('type 2')],
    ['GSSAPI', asks(7), unsupported('type 7')],
    ['SSPI', asks(9), unsupported('type 9')],
    ['SASL in the middle', asks(11, 'r=nonce'), { kind: 'saslContinue', data: 'r=nonce' }],
    ['SASL in the middle, with nothing', asks(11), { kind: 'saslContinue', data: '' }],
    ['SASL at its end', asks(12, 'v='), { kind: 'saslFinal', data: 'v=' }],
    ['an unknown one', asks(99), unsupported('type 99')],
    ['a negative one', asks(2 ** 32 - 1), unsupported('type -1')],
    ['0x80000000', asks(2 ** 31), unsupported('type -2147483648')],

    // To pg-protocol, a password request of the wrong length is AuthenticationOk.
    ['ok and more', asks(0, '\0'), malformed],
    ['a password in clear and more', asks(3, '\0'), malformed],
    ['MD5 without its salt', asks(5), malformed],
    ['MD5 with half its salt', asks(5, 'sa'), malformed],
    ['MD5 with too much of it', asks(5, 'salt!'), malformed],
    ['SASL without a list', asks(10), malformed],
    ['SASL with half an end', asks(10, '\0'), malformed],
    ['SASL without an end', asks(10, 'SCRAM-SHA-256\0'), malformed],
    ['SASL with half a mechanism', asks(10, 'SCRAM-SHA-256'), malformed],
    ['nothing', '', malformed],
    ['half a code', '\0\0\0', malformed],
  ])
})

describe('refusals and notices', () => {
  const E = 'SFATAL\0VFATAL\0C28P01\0Mno\0Fauth.c\0L1\0Rauth\0\0'
  const unended: [name: string, body: string, expected: Said][] = [
    ['empty', '', malformed],
    ['without the end of the list', E.slice(0, -1), malformed],
    ['without the end of a field', E.slice(0, -2), malformed],
    ['a letter alone', 'S', malformed],
    ['bytes behind the end', `${E}x`, malformed],
    ['a field behind the end', `${E}C28000\0\0`, malformed],
    ['two ends', `${E}\0`, malformed],
    ['no NUL at all', 'x'.repeat(1000), malformed],
  ]
  check('E', [
    ['as PostgreSQL says it', E, refusal('28P01', 'no')],
    ['no fields', '\0', refusal('', '')],
    ['no code', 'Mno\0\0', refusal('', 'no')],
    ['no message', 'C57P03\0\0', refusal('57P03', '')],
    ['empty fields', 'C\0M\0\0', refusal('', '')],
    ['a field twice: the last one', 'C28000\0C53300\0Mno\0\0', refusal('53300', 'no')],
    ['unknown fields', 'Xa\0\u{7f}b\0C28000\0Mno\0\0', refusal('28000', 'no')],
    [
      'letters that are no letters',
      Buffer.from('ff6100eda000433100 00'.replace(' ', ''), 'hex'),
      refusal('1', ''),
    ],
    ['UTF-8', 'C28000\0Mпривет😀\0\0', refusal('28000', 'привет😀')],
    ['long', `C28000\0M${'x'.repeat(60_000)}\0\0`, refusal('28000', 'x'.repeat(60_000))],
    ...unended,
  ])
  check('N', [
    ['as PostgreSQL says it', E, { kind: 'notice' }],
    ['no fields', '\0', { kind: 'notice' }],
    ...unended,
  ])
})

describe('the rest of a greeting', () => {
  check('S', [
    ['a setting', 'server_version\x0018.4\0', { kind: 'parameterStatus' }],
    ['an empty one', '\0\0', { kind: 'parameterStatus' }],
    ['nothing', '', malformed],
    ['a NUL', '\0', malformed],
    ['one string', 'server_version\0', malformed],
    ['one and a half', 'server_version\x0018.4', malformed],
    ['three strings', 'a\0b\0c\0', malformed],
    ['two and a half', 'a\0b\0c', malformed],
    ['no NUL at all', 'x'.repeat(1000), malformed],
  ])
  const key = Buffer.from([0, 0, 18, 103, 0xff, 0, 1, 0])
  check('K', [
    ['a key', key, { kind: 'backendKeyData', key }],
    ['nothing', '', malformed],
    ['a short key', key.subarray(1), malformed],
    ["protocol 3.2's long key", Buffer.alloc(36, 1), malformed],
    ['one byte more', Buffer.alloc(9, 1), malformed],
  ])
  check('Z', [
    ['idle', 'I', { kind: 'readyForQuery', status: 'I' }],
    ['in a transaction', 'T', { kind: 'readyForQuery', status: 'T' }],
    ['failed', 'E', { kind: 'readyForQuery', status: 'E' }],
    ['nothing', '', malformed],
    ['two', 'II', malformed],
    ['long', 'I'.repeat(1000), malformed],
  ])
  check('v', [
    ['3.0', Buffer.concat([uint32(3 << 16), uint32(0)]), { kind: 'negotiate' }],
    ['nothing', '', { kind: 'negotiate' }],
  ])
  for (const type of [
    'T',
    'D',
    'C',
    'A',
    'G',
    'H',
    'W',
    'd',
    'c',
    'p',
    'X',
    '1',
    '2',
    '\0',
    '\x7f',
  ])
    check(type, [
      ['nothing', '', NO_PLACE],
      ['something', '\0\x01\0\0\0', NO_PLACE],
    ])

  test('a message beyond the bound is refused by its header', () => {
    const [says, sqlstate] = ['message size 65537 out of bounds (0..65536)', '08P01']
    expect(read(Buffer.concat([Buffer.from('E'), uint32(LIMIT + 5)]))).toEqual({ sqlstate, says })
  })

  test("a key outlives the node's message", () => {
    const framing = new Framing()
    framing.push(message('K', key))
    const frame = framing.message(LIMIT)
    const said = frame && decodeNodeMessage(frame)
    framing.wipe()
    expect(said).toEqual({ kind: 'backendKeyData', key })
  })
})

test('whatever a node says is a message, no message, or a breach; and it comes to an end', () => {
  const known = fc.constantFrom(...'RSKZENv')
  const types = fc.oneof(
    { weight: 9, arbitrary: known },
    fc.integer({ min: 0, max: 127 }).map((code) => String.fromCharCode(code)),
  )
  const pieces = fc.constantFrom(
    '\0',
    '\0',
    'C',
    'M',
    'SCRAM',
    '\0\0\0\x05',
    '\0\0\0\x0a',
    '\0\0\0\0',
    'salt',
    'I',
  )
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.array(pieces, { maxLength: 12 }).map((each) => Buffer.from(each.join(''))),
  )
  const property = fc.property(types, bodies, (type, body) => {
    const framing = new Framing()
    framing.push(message(type, body))
    const frame = framing.message(LIMIT)
    const said = outcome(() => frame && decodeNodeMessage(frame))
    if (said === undefined) expect('RSKZENv').not.toContain(type)
    else if (!('kind' in said)) expect(said).toEqual(malformed)
    else if (said.kind === 'authenticationOk') expect(body).toEqual(uint32(0))
    else if (said.kind === 'cleartextPassword') expect(body).toEqual(uint32(3))
  })
  withinSeconds(10, () => fc.assert(property, { numRuns: 2000 }))
})

describe('what the gate says to a node', () => {
  const parameters = { user: 'alice', database: 'shop', options: '-c a=b', application_name: '' }
  const key = Buffer.from('12345678')
  test.each([
    ['StartupMessage', startupMessage(Object.entries(parameters)), client.startup(parameters)],
    [
      'StartupMessage of a Map',
      startupMessage(new Map([['user', 'é']])),
      client.startup({ user: 'é' }),
    ],
    ['SSLRequest', sslRequest, client.sslRequest()],
    ['CancelRequest', cancelRequest(key), client.cancelRequest(key)],
    ['PasswordMessage', passwordMessage(new Secret('a token')), client.password('a token')],
    [
      'SASLInitialResponse',
      saslInitialResponse('SCRAM-SHA-256', Buffer.from('n,,')),
      message('p', Buffer.concat([Buffer.from('SCRAM-SHA-256\0'), uint32(3), Buffer.from('n,,')])),
    ],
    ['SASLResponse', saslResponse(Buffer.from('c=biws')), message('p', 'c=biws')],
    ['Terminate', terminate, message('X', '')],
  ])('%s', (_name, written, expected) => {
    expect(written).toEqual(expected)
  })

  test('a NUL in a parameter is no way to another one', () => {
    const written = outcome(() => startupMessage([['options', 'x\0user\0root']]))
    expect(written).toEqual({ sqlstate: 'XX000', says: 'internal error' })
  })
})
