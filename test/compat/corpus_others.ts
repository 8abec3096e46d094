/** Large objects, FunctionCall, notifications, protocol versions, replication, and breaches of the protocol. */
import { message, query, uint32 } from '../support/wire_client.ts'
import { queries } from './corpus_simple.ts'
import { COPY_DONE, copyData, extended, functionCall, int64, SYNC } from './frames.ts'
import type { WireCase } from './wire_case.ts'

/** OIDs of functions, from pg_proc.dat: the same in all versions. */
const LO_OPEN = 952
const LO_CLOSE = 953
const LOREAD = 954
const LOWRITE = 955
const LO_LSEEK64 = 3170
const LO_CREATE = 715
const LO_UNLINK = 964
const INT4_DIVISION = 154
const TEXT_LENGTH = 1257
const READ_WRITE = uint32(0x60000)

const minor = (version: number) => (3 << 16) | version
const word = (length: number) => uint32(length)

const FUNCTIONS: WireCase[] = [
  {
    name: 'FunctionCall',
    steps: [
      ['Z', functionCall(INT4_DIVISION, ['42', '6'])],
      ['Z', functionCall(INT4_DIVISION, [uint32(42), uint32(5)], [1], 1)],
      ['Z', functionCall(INT4_DIVISION, [uint32(42), '5'], [1, 0], 0)],
      ['Z', functionCall(INT4_DIVISION, ['42', null])],
      ['Z', functionCall(INT4_DIVISION, ['42', '0'])],
      ['Z', functionCall(INT4_DIVISION, ['42'])],
      ['Z', functionCall(INT4_DIVISION, ['x', '1'])],
      ['Z', functionCall(INT4_DIVISION, ['1', '1'], [0, 0, 0])],
      ['Z', functionCall(1, [])],
      ['Z', functionCall(TEXT_LENGTH, ['x'.repeat(100_000)])],
      ['Z', message('F', 'short')],
      ['Z', query('BEGIN; SELECT 1/0')],
      ['Z', functionCall(INT4_DIVISION, ['42', '6'])],
      ['ZZ', query('ROLLBACK'), functionCall(INT4_DIVISION, ['9', '3'])],
    ],
  },
  {
    name: 'large objects by FunctionCall',
    steps: [
      ['Z', functionCall(LO_CREATE, [uint32(4242)], [1], 1)],
      ['Z', query('BEGIN')],
      ['Z', functionCall(LO_OPEN, [uint32(4242), READ_WRITE], [1], 1)],
      ['Z', functionCall(LOWRITE, [uint32(0), Buffer.alloc(100_000, 7)], [1], 1)],
      ['Z', functionCall(LO_LSEEK64, [uint32(0), int64(-10n), uint32(2)], [1], 1)],
      ['Z', functionCall(LOREAD, [uint32(0), uint32(100)], [1], 1)],
      ['Z', functionCall(LO_LSEEK64, [uint32(0), int64(0n), uint32(0)], [1], 1)],
      ['Z', functionCall(LOREAD, [uint32(0), uint32(200_000)], [1], 1)],
      ['Z', functionCall(LO_CLOSE, [uint32(0)], [1], 1)],
      ['Z', query('COMMIT')],
      ['Z', functionCall(LO_UNLINK, [uint32(4242)], [1], 1)],
      ['Z', functionCall(LO_UNLINK, [uint32(4242)], [1], 1)],
    ],
  },
  queries('large objects by SQL', [
    "SELECT lo_from_bytea(4243, '\\x00010203')",
    "SELECT lo_put(4243, 2, '\\xffff')",
    'SELECT lo_get(4243)',
    'SELECT loid, pageno, data FROM pg_largeobject',
    'SELECT lo_unlink(4243)',
    'SELECT lo_get(4243)',
  ]),
]

const LISTENING: WireCase[] = [
  queries('NOTIFY to oneself', [
    'LISTEN own; LISTEN "Quoted ü"',
    "NOTIFY own; NOTIFY own, 'with a payload'",
    `SELECT pg_notify('Quoted ü', repeat('p', 7999))`,
    "BEGIN; NOTIFY own, 'twice'; NOTIFY own, 'twice'; NOTIFY own, 'once'",
    'COMMIT',
    "BEGIN; NOTIFY own, 'never'; ROLLBACK",
    `SELECT pg_notify('own', repeat('p', 8000))`,
    'UNLISTEN own',
    "NOTIFY own, 'unheard'",
    'SELECT pg_listening_channels()',
    'UNLISTEN *',
  ]),
  {
    name: 'NOTIFY to another session, which is doing nothing',
    steps: [
      ['Z', query('LISTEN news')],
      ['b:Z', query("NOTIFY news, 'first'")],
      ['A'],
      ['b:Z', query("SELECT pg_notify('news', i::text) FROM generate_series(1, 50) AS i")],
      ['A'.repeat(50)],
      ['Z', query('SELECT 1')],
    ],
  },
  {
    name: 'NOTIFY to another session, which is in a transaction',
    steps: [
      ['Z', query('LISTEN news; BEGIN')],
      ['b:Z', query("NOTIFY news, 'waits'")],
      ['Z', query('SELECT 1')],
      ['Z', query('COMMIT')],
      ['Z', query('SELECT 2')],
    ],
  },
  {
    name: 'two sessions and a lock between them',
    steps: [
      ['Z', query('BEGIN; LOCK TABLE parents')],
      ['b:Z', query("SET lock_timeout = '20ms'")],
      ['b:Z', query('SELECT * FROM parents')],
      ['b:Z', query('SELECT * FROM parents FOR UPDATE NOWAIT')],
      ['Z', query('INSERT INTO parents VALUES (7); COMMIT')],
      ['b:Z', query('SELECT * FROM parents')],
    ],
  },
]

const VERSIONS: WireCase[] = [
  ...[0, 1, 2, 3, 9999].map(
    (version): WireCase => ({
      ...queries(`protocol 3.${version}`, ['SELECT 1', 'SELECT 1/0']),
      version: minor(version),
      differs: ['key length'],
    }),
  ),
  {
    name: 'a long key cancels',
    version: minor(2),
    differs: ['key length'],
    steps: [
      ['N', query('SELECT sleep_loudly()')],
      ['Z', 'cancel'],
    ],
  },
]

const REPLICA = { role: 'replica', parameters: { replication: 'database' } } as const

const REPLICATION: WireCase[] = [
  queries(
    'replication commands',
    [
      'IDENTIFY_SYSTEM',
      'SHOW wal_level',
      'TIMELINE_HISTORY 1',
      'READ_REPLICATION_SLOT none',
      'DROP_REPLICATION_SLOT none',
      'NO_SUCH_COMMAND',
      'SELECT 1',
    ],
    { ...REPLICA, differs: ['log position'] },
  ),
  {
    ...REPLICA,
    name: 'CopyBoth by START_REPLICATION',
    steps: [
      [
        'Z',
        query(
          `CREATE_REPLICATION_SLOT compat_slot TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT`,
        ),
      ],
      ['Z', query("SELECT pg_logical_emit_message(true, 'compat', 'the first')")],
      ['Z', query("SELECT pg_logical_emit_message(true, 'compat', repeat('long ', 50000))")],
      ['Wwwwwww', query(`START_REPLICATION SLOT compat_slot LOGICAL 0/0 ("include-xids" 'off')`)],
      // That the client has got so far.
      ['', copyData(Buffer.concat([Buffer.from('r'), Buffer.alloc(33)]))],
      ['Z', COPY_DONE],
      ['Z', query('SELECT 1')],
    ],
    differs: ['log position'],
  },
  {
    role: 'replica',
    parameters: { replication: 'true' },
    name: 'the extended protocol on a replication connection',
    steps: [
      ['Z', query('IDENTIFY_SYSTEM')],
      ['Z', Buffer.concat([extended('SELECT 1'), SYNC])],
    ],
    differs: ['log position'],
  },
]

const BREACHES: WireCase[] = [
  ...['!', '\0', 'Z', 'R', 'y'].map(
    (type): WireCase => ({
      name: `a message of type ${JSON.stringify(type)}`,
      steps: [
        ['Z', query('SELECT 1')],
        ['closed', message(type, 'whatever')],
      ],
      atOnce: true,
    }),
  ),
  {
    name: 'a second PasswordMessage',
    steps: [['closed', message('p', 'again\0')]],
    atOnce: true,
  },
  ...[0, 3, -1].map(
    (length): WireCase => ({
      name: `a Query of length ${length}`,
      steps: [['closed', Buffer.from('Q'), word(length)]],
      differs: ['protocol breach'],
    }),
  ),
  {
    name: 'a Parse longer than a server takes',
    steps: [['closed', Buffer.from('P'), word(0x7fffffff)]],
    differs: ['silent end'],
  },
  {
    name: 'an Execute longer than a server takes',
    steps: [['closed', Buffer.from('E'), word(20_000)]],
    differs: ['silent end'],
  },
  ...['S', 'H'].map(
    (type): WireCase => ({
      name: `a ${type === 'S' ? 'Sync' : 'Flush'} with a body`,
      steps: [['E', message(type, 'body')]],
      differs: ['protocol breach'],
    }),
  ),
  {
    name: 'the end of the connection, without Terminate',
    steps: [
      ['Z', query('BEGIN')],
      ['closed', 'end'],
    ],
  },
  {
    name: 'the end of the connection behind a Query',
    steps: [['closed', query('SELECT 1'), 'end']],
  },
  {
    name: 'the end of the connection in the middle of a message',
    steps: [['closed', query('SELECT 1').subarray(0, 7), 'end']],
  },
]

export const OTHERS: WireCase[] = [
  ...FUNCTIONS,
  ...LISTENING,
  ...VERSIONS,
  ...REPLICATION,
  ...BREACHES,
]
