/**
 * What a stranger, an old client and an attacker send first, and what comes back: from PostgreSQL 18
 * and from a gate in front of it, both asked here. The answers are alike, or the reason stands beside
 * them; docs/compatibility.md shows people the same table.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { FAILURES } from '../../src/failure.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import {
  clientHello,
  hello,
  type Parameters,
  probe,
  type Step,
  sized,
  summary,
  type Target,
} from '../support/probes.ts'
import { makeDirectory, ROOT } from '../support/tools.ts'
import {
  cancelRequest,
  gssencRequest,
  JWT_OPTION,
  message,
  password,
  sslRequest,
  startup,
  uint32,
} from '../support/wire_client.ts'

type Probe = [name: string, steps: Step[]]

interface Difference {
  why: string
  /** Both servers take this client over TLS alone. */
  tlsOnly?: true
  probes: [...Probe, postgres: string, gate: string][]
}

const USER: Parameters = [['user', 'maxroach']]
const HELLO = hello(USER)
const V3_0 = uint32(3 << 16)
const SSL = sslRequest()
const GSSENC = gssencRequest()
const PLAIN = startup({ user: 'maxroach' })
const CLIENT_HELLO = await clientHello()
const ssl = { request: SSL }
const gssenc = { request: GSSENC }
const tls = { tls: {} }
const direct = { tls: { ALPNProtocols: ['postgresql'] } }
const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
const http = { tls: { ALPNProtocols: ['http/1.1'] } }
const unhex = (hex: string) => Buffer.from(hex, 'hex')
const glued = (...parts: Buffer[]) => ({ request: Buffer.concat(parts) })
const ask = (...more: Parameters): Step[] => [hello([...USER, ...more])]
/** A startup packet of this length word: zeros to its end, as far as one may be long. */
const zeros = (length: number): Step[] => {
  const body = Buffer.alloc(Math.max(0, Math.min(length, 10_005) - 8))
  return [sized(length, V3_0, body), 'end']
}
const speak = (version: string): Probe => [`protocol ${version}`, [hello(USER, version)]]
const offer = (version: string): Probe => [
  `protocol ${version} with the options _pq_.b and _pq_.a`,
  [hello([['_pq_.b', ''], ...USER, ['_pq_.a', '1']], version)],
]
const cancel = (bytes: number): Probe => [
  `CancelRequest with a key of ${bytes} bytes`,
  [cancelRequest(Buffer.alloc(bytes, 1))],
]
/** To a server that asks for the password over TLS. */
const answer = (bytes: Buffer): Step[] => [
  ssl,
  tls,
  hello([['user', 'asked']]),
  { password: bytes },
]
const letters = (count: number): Probe => [
  `a password of ${count} bytes`,
  answer(password('x'.repeat(count))),
]
const passwordSized = (length: number): Probe => [
  `a password message of length ${length}`,
  answer(Buffer.concat([Buffer.from('p'), sized(length)])),
]
const replicate = (value: string): Probe => [
  `replication=${JSON.stringify(value)}`,
  ask(['replication', value]),
]

const IN = 'signed in, key of 8 bytes'
const IN_3_2 = 'signed in, key of 36 bytes'
const ASKED = 'S, TLS, AuthenticationCleartextPassword'
const unsupported = (version: string) =>
  `FATAL 0A000: unsupported frontend protocol ${version}: server supports 3.0 to 3.2, closed`
const UNTERMINATED =
  'FATAL 08P01: invalid startup packet layout: expected terminator as last byte, closed'
const NO_USER = 'FATAL 28000: no PostgreSQL user name specified in startup packet, closed'
const negotiated = (version: string, key: string) =>
  `NegotiateProtocolVersion ${version} 2 _pq_.b _pq_.a, ${key}`

const ALIKE: [answer: string, probes: Probe[]][] = [
  [
    IN,
    [
      ['startup', [HELLO]],
      speak('3.0'),
      speak('3.1'),
      ['startup of 10,000 bytes', [hello(USER, '3.0', { size: 10_000 })]],
      ['startup of 10,004 bytes', [hello(USER, '3.0', { size: 10_004 })]],
      ['an empty database', ask(['database', ''])],
      ['an unknown parameter with a dot', ask(['no.such', 'x'])],
      ...['false', 'off', '0', 'no', 'of', 'FALSE'].map(replicate),
    ],
  ],
  [
    'S, TLS, signed in, key of 8 bytes',
    [
      ['SSLRequest, startup', [ssl, tls, HELLO]],
      ['SSLRequest, TLS 1.2, startup', [ssl, { tls: { maxVersion: 'TLSv1.2' } }, HELLO]],
      ['SSLRequest, TLS with ALPN postgresql, startup', [ssl, direct, HELLO]],
    ],
  ],
  [
    'TLS, signed in, key of 8 bytes',
    [
      ['direct TLS, startup', [direct, HELLO]],
      [
        'direct TLS with ALPN h2 and postgresql, startup',
        [{ tls: { ALPNProtocols: ['h2', 'postgresql'] } }, HELLO],
      ],
    ],
  ],
  ['N, signed in, key of 8 bytes', [['GSSENCRequest, startup', [gssenc, HELLO]]]],
  [
    'N, S, TLS, signed in, key of 8 bytes',
    [['GSSENCRequest, SSLRequest, startup', [gssenc, ssl, tls, HELLO]]],
  ],
  [IN_3_2, [speak('3.2')]],
  [`NegotiateProtocolVersion 3.2 0, ${IN_3_2}`, [speak('3.3'), speak('3.9999')]],
  [negotiated('3.0', IN), [offer('3.0')]],
  [negotiated('3.1', IN), [offer('3.1')]],
  [negotiated('3.2', IN_3_2), [offer('3.2'), offer('3.3'), offer('3.9999')]],
  ...['0.0', '4.0', '1234.5677', '1234.5681', '65535.65535'].map((version): [string, Probe[]] => [
    unsupported(version),
    [speak(version)],
  ]),
  [
    `S, TLS, ${unsupported('1234.5679')}`,
    [['SSLRequest inside the TLS of an SSLRequest', [ssl, tls, ssl]]],
  ],
  [
    `S, TLS, ${unsupported('1234.5680')}`,
    [['GSSENCRequest inside the TLS of an SSLRequest', [ssl, tls, gssenc]]],
  ],
  [`N, ${unsupported('1234.5680')}`, [['GSSENCRequest twice', [gssenc, gssenc]]]],
  [
    `N, S, TLS, ${unsupported('1234.5680')}`,
    [['GSSENCRequest, SSLRequest, GSSENCRequest inside', [gssenc, ssl, tls, gssenc]]],
  ],
  [
    UNTERMINATED,
    [
      ['length 8', zeros(8)],
      ['length 10', zeros(10)],
      ['startup without its terminator', [hello(USER, '3.0', { terminated: false })]],
      ['a name without its end', [sized(12, V3_0, 'user')]],
      ['a name alone', [sized(13, V3_0, 'user\0')]],
      ['a name without a value', [sized(14, V3_0, 'user\0\0')]],
      ['a value without its end', [sized(18, V3_0, 'user\0alice')]],
      ['a byte after the terminator', [sized(21, V3_0, 'user\0alice\0\0x')]],
      ['an empty name', ask(['', 'x'])],
    ],
  ],
  [
    NO_USER,
    [
      ['length 9', zeros(9)],
      ['no user', [hello([['database', 'maxroach']])]],
      ['an empty user', [hello([['user', '']])]],
    ],
  ],
  [
    'closed',
    [
      ...[0, 3, 4, 7, 10_005, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1].map(
        (length): Probe => [`length ${length}`, zeros(length)],
      ),
      ...[0, 4, 7, 8, 9, 36, 260, 261].map(cancel),
      ['SSLRequest of 7 bytes', [{ request: sized(7, SSL.subarray(4)) }]],
      ['GSSENCRequest of 7 bytes', [{ request: sized(7, GSSENC.subarray(4)) }]],
      ['an HTTP request', [Buffer.from('GET / HTTP/1.1\r\nHost: db\r\n\r\n')]],
      ['an SSH client', [Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')]],
      ['64 zeros', [Buffer.alloc(64)]],
      ['a Query as the first packet', [message('Q', 'select 1\0')]],
      ['nothing, then the end', ['end']],
      ['a zero, then the end', [Buffer.alloc(1), 'end']],
      ['0x16, then the end', [unhex('16'), 'end']],
      ['three bytes of a length, then the end', [Buffer.alloc(3), 'end']],
      ['half a startup packet, then the end', [sized(100, V3_0, 'user\0'), 'end']],
      ['a startup packet but for its last byte, then the end', [PLAIN.subarray(0, -1), 'end']],
    ],
  ],
  [
    'S, closed',
    [
      ['SSLRequest, then the end', [ssl, 'end']],
      ['SSLRequest twice', [ssl, ssl]],
      ['SSLRequest, startup in clear', [ssl, HELLO, 'end']],
      ['SSLRequest, bytes that are no handshake', [ssl, Buffer.from('no handshake'), 'end']],
    ],
  ],
  [
    'N, closed',
    [
      ['GSSENCRequest, then the end', [gssenc, 'end']],
      ['GSSENCRequest, CancelRequest', [gssenc, cancelRequest(Buffer.alloc(36, 1))]],
    ],
  ],
  [
    'S, TLS, closed',
    [
      ['SSLRequest, CancelRequest', [ssl, tls, cancelRequest(Buffer.alloc(36, 1))]],
      ['SSLRequest, TLS, then the end', [ssl, tls, 'end']],
      ['SSLRequest, half a startup packet, then the end', [ssl, tls, sized(100, V3_0), 'end']],
    ],
  ],
  [
    'TLS, closed',
    [
      ['direct TLS without ALPN', [tls, HELLO]],
      ['direct TLS, CancelRequest', [direct, cancelRequest(Buffer.alloc(8, 1))]],
    ],
  ],
  ['TLS alert, closed', [['0x16 and garbage', [unhex('16030100050102030405'), 'end']]]],
  ['ALERT_NO_APPLICATION_PROTOCOL, closed', [['direct TLS with ALPN http/1.1', [http, HELLO]]]],
  [
    'S, ALERT_NO_APPLICATION_PROTOCOL, closed',
    [['SSLRequest, TLS with ALPN http/1.1', [ssl, http, HELLO]]],
  ],
  ['S, ALERT_PROTOCOL_VERSION, closed', [['SSLRequest, TLS 1.1', [ssl, { tls: old }]]]],
]

const GLUED_GSSENC = 'FATAL 08P01: received unencrypted data after GSSAPI encryption request'
const MITM =
  'DETAIL This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.'
const GLUED_SSL = 'FATAL 08P01: received unencrypted data after SSL request, closed'
const TWICE = 'FATAL 08P01: invalid startup packet layout: a parameter was given twice, closed'
const NOT_UTF8 = 'FATAL 08P01: invalid startup packet layout: a parameter is not UTF-8, closed'
const WAL_SENDER = 'FATAL 42501: permission denied to start WAL sender'
const REPLICATION_ROLES =
  'DETAIL Only roles with the REPLICATION attribute may start a WAL sender process.'
const BOOLEANS = 'HINT Valid values are: "false", 0, "true", 1, "database".'
const NO_TOKEN = `${ASKED}, FATAL 28000: JWT authentication: invalid token; DETAIL token parsing failed: invalid JWT: a token has three parts, closed`
const WRONG = `${ASKED}, FATAL 28P01: password authentication failed for user "asked", closed`
const NO_STRING = `${ASKED}, FATAL 08P01: expected 0-terminated byte array, closed`
const BAD_SIZE = `${ASKED}, FATAL 08P01: invalid password packet size, closed`
const outOfBounds = (size: number) =>
  `${ASKED}, FATAL 08P01: message size ${size} out of bounds (0..131072), closed`
const tooOld = (version: string): [...Probe, string, string] => [
  ...speak(version),
  `bytes "EFATAL:  unsupported frontend protocol ${version}: server supports 3.0 to 3.2\\n\\u0000", closed`,
  unsupported(version),
]
const tooLong = (what: string) =>
  `FATAL 42622: the ${what} name is longer than 63 bytes; HINT ${FAILURES.name_too_long.hint}, closed`
/** What the node refuses is passed on, but for the AuthenticationOk before it. */
const nodeSays = (said: string): [string, string] => [`AuthenticationOk, ${said}`, said]

const DIFFERENT: Difference[] = [
  {
    why: 'Bytes behind a request for encryption are refused before it is answered. PostgreSQL answers it first; since 17 it hands the bytes behind an SSLRequest to TLS, older ones refuse them as the gate does.',
    probes: [
      ['SSLRequest, a byte glued to it', [glued(SSL, unhex('78')), 'end'], 'S, closed', GLUED_SSL],
      ['SSLRequest, a startup packet glued to it', [glued(SSL, PLAIN)], 'S, closed', GLUED_SSL],
      ['SSLRequest, another glued to it', [glued(SSL, SSL)], 'S, closed', GLUED_SSL],
      ['SSLRequest, GSSENCRequest glued to it', [glued(SSL, GSSENC)], 'S, closed', GLUED_SSL],
      [
        'SSLRequest, a TLS handshake glued to it',
        [glued(SSL, CLIENT_HELLO), 'end'],
        'S, TLS handshake, closed',
        GLUED_SSL,
      ],
      ...[
        ['a byte', unhex('78')],
        ['a startup packet', PLAIN],
        ['SSLRequest', SSL],
      ].map(([name, bytes]): [...Probe, string, string] => [
        `GSSENCRequest, ${String(name)} glued to it`,
        [glued(GSSENC, Buffer.from(bytes ?? ''))],
        `N, ${GLUED_GSSENC}; ${MITM}, closed`,
        `${GLUED_GSSENC}, closed`,
      ]),
    ],
  },
  {
    why: 'A request for encryption is eight bytes; more in it is no such request.',
    probes: [
      [
        'SSLRequest of 9 bytes',
        [{ request: sized(9, SSL.subarray(4), 'x') }, 'end'],
        'S, closed',
        unsupported('1234.5679'),
      ],
      [
        'GSSENCRequest of 9 bytes',
        [{ request: sized(9, GSSENC.subarray(4), 'x') }, 'end'],
        'N, closed',
        unsupported('1234.5680'),
      ],
    ],
  },
  {
    why: 'Who speaks TLS from the first byte has encryption, and asks for it no more; PostgreSQL refuses such a request too, but for one after direct TLS.',
    probes: [
      [
        'SSLRequest inside direct TLS',
        [direct, ssl, 'end'],
        'TLS, N, closed',
        `TLS, ${unsupported('1234.5679')}`,
      ],
      [
        'GSSENCRequest inside direct TLS',
        [direct, gssenc, 'end'],
        'TLS, N, closed',
        `TLS, ${unsupported('1234.5680')}`,
      ],
    ],
  },
  {
    why: 'PostgreSQL writes to clients of protocol 1 and 2 in their own form. libpq gave them up in 2021, and the sentence is the same.',
    probes: [tooOld('1.0'), tooOld('2.0')],
  },
  {
    why: 'A token is never asked for in clear. A server whose pg_hba.conf has hostssl lines alone refuses as well, in words of its own.',
    tlsOnly: true,
    probes: [
      [
        'startup in clear',
        [
          hello([
            ['user', 'encrypted'],
            ['database', 'maxroach'],
          ]),
        ],
        'FATAL 28000: pg_hba.conf rejects connection for host "127.0.0.1", user "encrypted", database "maxroach", no encryption, closed',
        'FATAL 08C00: server requires encryption; HINT connect with sslmode=verify-full: neither a token nor a password is asked for in clear, closed',
      ],
      [
        'GSSENCRequest, startup in clear',
        [
          gssenc,
          hello([
            ['user', 'encrypted'],
            ['database', 'maxroach'],
          ]),
        ],
        'N, FATAL 28000: pg_hba.conf rejects connection for host "127.0.0.1", user "encrypted", database "maxroach", no encryption, closed',
        'N, FATAL 08C00: server requires encryption; HINT connect with sslmode=verify-full: neither a token nor a password is asked for in clear, closed',
      ],
    ],
  },
  {
    why: 'The gate asks for a token, so what follows the startup packet is read as the answer. (PostgreSQL was asked as a role that it trusts.)',
    probes: [
      [
        'startup, a Query glued to it',
        [(to) => Buffer.concat([HELLO(to), message('Q', 'select 1\0')])],
        IN,
        "FATAL 08P01: client didn't send required auth data, closed",
      ],
    ],
  },
  {
    why: 'A name that is given twice is refused: of PostgreSQL, which takes the last, and of what else reads the packet, nobody has to guess which counts.',
    probes: [
      ['a user twice', [hello([['user', 'carl'], ...USER])], IN, TWICE],
      ['a database twice', ask(['database', 'nowhere'], ['database', 'maxroach']), IN, TWICE],
      [
        'another parameter twice',
        ask(['application_name', 'a'], ['application_name', 'b']),
        IN,
        TWICE,
      ],
    ],
  },
  {
    why: 'Names and values are UTF-8: what goes to the audit log and the node is what was compared. PostgreSQL has bytes.',
    probes: [
      [
        'a user that is not UTF-8',
        [hello([['user', unhex('ff')]])],
        'AuthenticationOk, FATAL 28000: role "\ufffd" does not exist, closed',
        NOT_UTF8,
      ],
      [
        'a database that is not UTF-8',
        ask(['database', unhex('ff')]),
        'AuthenticationOk, FATAL 3D000: database "\ufffd" does not exist, closed',
        NOT_UTF8,
      ],
      [
        'an application_name that is not UTF-8',
        ask(['application_name', unhex('61ff')]),
        IN,
        NOT_UTF8,
      ],
    ],
  },
  {
    why: 'Longer names are refused: PostgreSQL cuts them after 63 bytes, and who was compared would not be who signs in.',
    probes: [
      [
        'a user of 70 bytes',
        [hello([['user', 'u'.repeat(70)]])],
        `AuthenticationOk, FATAL 28000: role "${'u'.repeat(63)}" does not exist, closed`,
        tooLong('user'),
      ],
      [
        'a database of 70 bytes',
        ask(['database', 'd'.repeat(70)]),
        `AuthenticationOk, FATAL 3D000: database "${'d'.repeat(63)}" does not exist, closed`,
        tooLong('database'),
      ],
    ],
  },
  {
    why: 'AuthenticationOk is said when the node has let the session in, so a refusal of the node comes without it; its fields are passed on as they came.',
    probes: [
      [
        'a database that is not there',
        ask(['database', 'nowhere']),
        ...nodeSays('FATAL 3D000: database "nowhere" does not exist, closed'),
      ],
      [
        'an unknown parameter',
        ask(['nosuch', 'x']),
        ...nodeSays('FATAL 42704: unrecognized configuration parameter "nosuch", closed'),
      ],
      [
        'a parameter in other letters',
        ask(['User', 'carl']),
        ...nodeSays('FATAL 42704: unrecognized configuration parameter "User", closed'),
      ],
      [
        'a value that a parameter has not',
        ask(['client_encoding', 'KLINGON']),
        ...nodeSays(
          'FATAL 22023: invalid value for parameter "client_encoding": "KLINGON", closed',
        ),
      ],
    ],
  },
  {
    why: "Who may replicate is decided by the gate (`replication_roles`), before the node is asked; the role attribute is the node's business.",
    probes: ['true', 'on', '1', 'yes', 't', 'TRUE', 'database'].map((value) => [
      ...replicate(value),
      `AuthenticationOk, ${WAL_SENDER}; ${REPLICATION_ROLES}, closed`,
      `${WAL_SENDER}, closed`,
    ]),
  },
  {
    why: 'The same sentence without the HINT: the HINT of the gate is the request id.',
    probes: ['o', '', 'x', 'Database', ' true', '2'].map((value) => {
      const says = `FATAL 22023: invalid value for parameter "replication": "${value}"`
      return [...replicate(value), `${says}; ${BOOLEANS}, closed`, `${says}, closed`]
    }),
  },
  {
    why: "The password is a token, and what is wrong with it is said in CockroachDB's words.",
    probes: [
      ['a password', answer(password('secret')), WRONG, NO_TOKEN],
      ['a password that is not UTF-8', answer(message('p', unhex('ff00'))), WRONG, NO_TOKEN],
      [
        'an empty password',
        answer(password('')),
        `${ASKED}, FATAL 28P01: empty password returned by client, closed`,
        `${ASKED}, FATAL 28P01: password authentication failed for user asked, closed`,
      ],
      ['a NUL in the password', answer(password('sec\0ret')), BAD_SIZE, NO_STRING],
      ['a NUL after the password', answer(message('p', 'secret\0\0')), BAD_SIZE, NO_STRING],
      ['a password without its end', answer(message('p', 'secret')), BAD_SIZE, NO_STRING],
      [...passwordSized(4), BAD_SIZE, NO_STRING],
      [
        'a Query for a password',
        answer(message('Q', 'select 1\0')),
        `${ASKED}, FATAL 08P01: expected password response, got message type 81, closed`,
        `${ASKED}, FATAL 08P01: client didn't send required auth data, closed`,
      ],
    ],
  },
  {
    why: 'Terminate for a password is a goodbye: psql says it when it has no password to give.',
    probes: [
      [
        'Terminate for a password',
        answer(message('X', '')),
        `${ASKED}, FATAL 08P01: expected password response, got message type 88, closed`,
        `${ASKED}, closed`,
      ],
    ],
  },
  {
    why: 'Tokens are longer than passwords: the gate takes 131,071 bytes, PostgreSQL 65,530. Beyond that PostgreSQL closes without a word; the gate says why.',
    probes: [
      [...letters(65_530), WRONG, NO_TOKEN],
      [...letters(65_531), `${ASKED}, closed`, NO_TOKEN],
      [...letters(131_071), `${ASKED}, closed`, NO_TOKEN],
      [...letters(131_072), `${ASKED}, closed`, outOfBounds(131_073)],
      ...[3, 2 ** 31 - 1, 2 ** 32 - 1].map((length): [...Probe, string, string] => [
        ...passwordSized(length),
        `${ASKED}, closed`,
        outOfBounds(length - 4),
      ]),
    ],
  },
]

let postgres: EmbeddedPostgres
const gates: TestGate[] = []
const targets: { postgres?: Target; gate?: Target; tlsOnly?: Target } = {}

beforeAll(async () => {
  const ca = await makeCa()
  const here = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1'] })
  const port = await freePort()
  postgres = await startEmbeddedPostgres({
    dir: await makeDirectory(),
    port,
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: [
      'host    all         asked     127.0.0.1/32 password',
      'hostssl all         encrypted 127.0.0.1/32 trust',
      'hostnossl all       encrypted 127.0.0.1/32 reject',
      'host    all         all       127.0.0.1/32 trust',
      'host    replication all       127.0.0.1/32 trust',
    ],
    ident: [],
    sql: [{ database: 'postgres', statements: ROLES }],
    settings: {
      ssl: 'on',
      ssl_cert_file: '../conf/server.crt',
      ssl_key_file: '../conf/server.key',
    },
    files: { 'server.crt': here.certPem, 'server.key': here.keyPem },
  })
  targets.postgres = { port, caPem: ca.certPem, parameters: [], token: undefined }
  targets.gate = await open(port, { allow_plaintext: true })
  targets.tlsOnly = await open(port, {})
})
afterAll(async () => {
  await Promise.all(gates.map((gate) => gate.close()))
  await postgres.stop()
})

const ROLES = [
  ...['maxroach', 'carl', 'asked', 'encrypted'].map((name) => `CREATE ROLE ${name} LOGIN`),
  'CREATE DATABASE maxroach',
]

async function open(node: number, listener: Record<string, unknown>): Promise<Target> {
  const gate = await startGate({ node: `127.0.0.1:${node}`, listener })
  gates.push(gate)
  const token = await gate.token('maxroach')
  return { port: gate.port, caPem: gate.caPem, parameters: Object.entries(JWT_OPTION), token }
}

async function answerOf(target: keyof typeof targets, steps: Step[]): Promise<string[]> {
  const to = targets[target]
  if (to === undefined) throw new Error(`${target} is not there`)
  return await probe(to, steps)
}

describe.each(ALIKE)('both answer: %s', (answer, probes) => {
  it.each(probes)('%s', async (_name, steps) => {
    const said = await answerOf('postgres', steps)
    expect(await answerOf('gate', steps)).toEqual(said)
    expect(summary(said)).toBe(answer)
  })
})

describe.each(DIFFERENT)('$why', ({ tlsOnly, probes }) => {
  it.each(probes)('%s', async (_name, steps, postgresSays, gateSays) => {
    const said = await answerOf('postgres', steps)
    const told = await answerOf(tlsOnly ? 'tlsOnly' : 'gate', steps)
    expect([summary(said), summary(told)]).toEqual([postgresSays, gateSays])
  })
})

it('is what docs/compatibility.md shows; vitest -u writes it there', async () => {
  const path = join(ROOT, 'docs/compatibility.md')
  const document = await readFile(path, 'utf8')
  const [before, tables] = document.split(/^(?=### Alike$)/m)
  const after = /^## .*/ms.exec(tables ?? '')?.[0]
  const fresh = [`${before}${asMarkdown()}\n`, ...(after === undefined ? [] : [after])].join('\n')
  expect(tables).toBeDefined()
  await expect(fresh).toMatchFileSnapshot(path)
})

function asMarkdown(): string {
  const cell = (text: string) => `\`${text.replaceAll('|', '\\|')}\``
  const alike = ALIKE.map(
    ([answer, probes]) => `| ${probes.map(([name]) => name).join('; ')} | ${cell(answer)} |`,
  )
  const different = DIFFERENT.flatMap(({ why, probes }) => [
    '',
    why,
    '',
    '| sent | PostgreSQL 18 | the gate |',
    '|---|---|---|',
    ...probes.map(([name, , says, gate]) => `| ${name} | ${cell(says)} | ${cell(gate)} |`),
  ])
  return [
    '### Alike',
    '',
    '| sent | both answer |',
    '|---|---|',
    ...alike,
    '',
    '### Different',
    ...different,
  ].join('\n')
}
