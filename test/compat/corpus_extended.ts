/** The extended protocol: pipelines, portals, formats, and errors at each of its steps. */
import { message, query, uint32 } from '../support/wire_client.ts'
import {
  bind,
  close,
  describe,
  execute,
  extended,
  FLUSH,
  int16,
  int64,
  parse,
  SYNC,
} from './frames.ts'
import type { WireCase } from './wire_case.ts'

const INT4 = 23
const TEXT = 25

const together = (...parts: Buffer[]) => Buffer.concat(parts)
/** A case of one exchange after the other, each up to its ReadyForQuery. */
const synced = (name: string, ...exchanges: Buffer[][]): WireCase => ({
  name,
  steps: exchanges.map((parts) => ['Z', together(...parts, SYNC)]),
})

export const EXTENDED: WireCase[] = [
  synced('a statement, unnamed', [extended('SELECT $1::int4 + 1', ['41'])]),
  synced(
    'statements by name',
    [parse('s1', 'SELECT name FROM items WHERE id = $1', [INT4]), describe('S', 's1')],
    [bind('', 's1', ['7']), describe('P', ''), execute('')],
    [bind('', 's1', [uint32(8)], [1]), execute('')],
    [bind('', 's1', [null]), execute('')],
    [parse('s1', 'SELECT 1')],
    [close('S', 's1'), bind('', 's1', ['1'])],
    [close('S', 'never there'), close('P', 'never there')],
  ),
  synced(
    'what ParameterDescription and NoData say',
    [parse('p0', 'SELECT 1'), describe('S', 'p0')],
    [parse('p3', 'INSERT INTO taken VALUES ($1, $2, $3) RETURNING id'), describe('S', 'p3')],
    [parse('pn', 'CREATE TEMP TABLE described (a int)'), describe('S', 'pn')],
    [parse('pe', ''), describe('S', 'pe'), bind('', 'pe'), describe('P', ''), execute('')],
    [parse('pt', 'SELECT $1, $2', [0, TEXT]), describe('S', 'pt')],
    [parse('px', 'SELECT $3::date'), describe('S', 'px')],
    [parse('py', 'SELECT $1 + $2'), describe('S', 'py')],
  ),
  synced(
    'every type in binary',
    [extended('SELECT * FROM everything', [], [1])],
    [extended('SELECT i4, t, by, n FROM everything', [], [1, 0, 1, 0])],
    [
      parse('', 'SELECT $1::int8, $2::bytea, $3::text, $4::numeric'),
      bind('', '', [int64(-5n), Buffer.from([0, 1, 255]), 'ü', '1.50'], [1, 1, 0, 0], [1]),
      describe('P', ''),
      execute(''),
    ],
  ),
  synced(
    'portals with row limits',
    [
      parse('', 'SELECT id, name FROM items ORDER BY id'),
      bind('p', ''),
      describe('P', 'p'),
      execute('p', 3),
      execute('p', 5),
      execute('p', 0),
      execute('p', 1),
    ],
    [execute('p', 1)],
    [
      parse('', 'UPDATE items SET price = 0 WHERE id < 5 RETURNING id'),
      bind('u', ''),
      execute('u', 2),
      execute('u', 2),
    ],
  ),
  {
    name: 'PortalSuspended, asked for by Flush',
    steps: [
      ['Z', query('BEGIN')],
      ['s', parse('', 'SELECT id FROM items ORDER BY id'), bind('p', ''), execute('p', 2), FLUSH],
      ['s', execute('p', 2), FLUSH],
      ['T', describe('P', 'p'), FLUSH],
      ['C', execute('p'), FLUSH],
      ['3', close('P', 'p'), FLUSH],
      ['Z', SYNC],
      ['Z', query('COMMIT')],
    ],
  },
  {
    name: 'each message flushed by itself',
    steps: [
      ['1', parse('f', 'SELECT $1::text'), FLUSH],
      ['tT', describe('S', 'f'), FLUSH],
      ['2', bind('', 'f', ['x']), FLUSH],
      ['C', execute(''), FLUSH],
      ['Z', SYNC],
      ['Z', SYNC],
      ['3', close('S', 'f'), FLUSH],
      ['Z', FLUSH, SYNC],
    ],
  },
  {
    name: 'a pipeline with Syncs',
    steps: [
      [
        'ZZZZ',
        together(
          extended('SELECT 1'),
          SYNC,
          extended('SELECT 1/0'),
          extended('SELECT 2'),
          SYNC,
          SYNC,
          extended('SELECT 3'),
          SYNC,
        ),
      ],
    ],
  },
  {
    name: 'a pipeline of one transaction',
    steps: [
      [
        'Z',
        together(
          extended("INSERT INTO taken VALUES (1, 'in the pipeline', NULL)"),
          extended('SELECT line FROM taken ORDER BY line'),
          extended('SELECT 1/0'),
          extended("INSERT INTO taken VALUES (2, 'never', NULL)"),
          SYNC,
        ),
      ],
      ['Z', query('SELECT count(*) FROM taken')],
    ],
  },
  {
    name: 'a pipeline of 500 statements',
    steps: [
      [
        'Z',
        together(
          ...Array.from({ length: 500 }, (_, n) => extended('SELECT $1::int4', [String(n)])),
          SYNC,
        ),
      ],
      [
        'Z'.repeat(300),
        together(...Array.from({ length: 300 }, (_, n) => together(extended(`SELECT ${n}`), SYNC))),
      ],
    ],
  },
  {
    name: 'a pipeline with transaction statements',
    steps: [
      [
        'ZZZ',
        together(
          extended('BEGIN'),
          extended('SELECT 1'),
          SYNC,
          extended('SELECT 1/0'),
          SYNC,
          extended('ROLLBACK'),
          SYNC,
        ),
      ],
      ['Z', together(extended('BEGIN'), extended('SELECT 1'), extended('COMMIT'), SYNC)],
    ],
  },
  {
    name: 'a Query in a pipeline',
    steps: [
      ['Z', parse('', 'SELECT 1'), bind('', ''), query('SELECT 2')],
      ['Z', execute(''), SYNC],
    ],
  },
  synced('an error in Parse', [extended('SELEC 1'), extended('SELECT 2')], [extended('SELECT 3')]),
  synced(
    'an error in Bind',
    [extended('SELECT $1::int4', ['x']), execute('')],
    [extended('SELECT $1::int4', [])],
    [extended('SELECT $1::int4', ['1', '2'])],
    [parse('', 'SELECT $1::int4'), bind('', '', ['1'], [1]), execute('')],
    [parse('', 'SELECT $1::int4'), bind('', '', ['1'], [7]), execute('')],
    [parse('', 'SELECT $1::int4'), bind('', '', ['1'], [0, 0]), execute('')],
    [parse('', 'SELECT 1, 2'), bind('', '', [], [], [0, 1, 0]), execute('')],
    [bind('', 'no such statement')],
    [extended('SELECT $1::text', ['a\0b'])],
    [extended('SELECT $1::text', [Buffer.from([0xff])])],
    [parse('', 'SELECT 1'), message('B', '\0\0')],
    [parse('', 'SELECT 1'), message('B', Buffer.concat([Buffer.from('\0\0'), int16(0), int16(9)]))],
    [extended('SELECT 1')],
  ),
  synced(
    'an error in Execute',
    [extended('SELECT 10 / (3 - i) FROM generate_series(1, 5) AS i'), extended('SELECT 2')],
    [execute('no such portal')],
    [describe('P', 'no such portal')],
    [describe('S', 'no such statement')],
    [message('D', 'X\0'), execute('')],
    [message('C', 'X\0'), execute('')],
    [extended("SELECT shout('error', 'in Execute')")],
    [extended('SELECT 3')],
  ),
  synced(
    'errors in a failed transaction',
    [extended('BEGIN')],
    [extended('SELECT 1/0')],
    [extended('SELECT 1')],
    [parse('', 'SELECT 1'), describe('S', '')],
    [extended('')],
    [extended('ROLLBACK')],
  ),
  synced(
    'two statements in one Parse',
    [extended('SELECT 1; SELECT 2')],
    [parse('a', ''), bind('', 'a'), execute('')],
    [extended('-- nothing but words')],
  ),
  synced(
    'a plan whose result changes',
    [extended('CREATE TEMP TABLE changing (a int)'), parse('ch', 'SELECT * FROM changing')],
    [bind('', 'ch'), execute('')],
    [extended('ALTER TABLE changing ADD b text')],
    [bind('', 'ch'), execute('')],
    [extended('DEALLOCATE ALL'), bind('', 'ch')],
  ),
  synced(
    'notices in the extended protocol',
    [extended("SELECT shout('notice', 'within')")],
    [extended('DROP TABLE IF EXISTS no_such_table')],
  ),
  synced(
    'wide and many',
    [extended('SELECT * FROM many', [], [1])],
    [extended("SELECT $1::text || repeat('y', 100000)", ['x'.repeat(200_000)])],
    [extended('SELECT i, i::text FROM generate_series(1, 5000) AS i', [], [1])],
    [
      parse('', `SELECT ${Array.from({ length: 1_600 }, (_, n) => `$${n + 1}::int4`).join(', ')}`),
      describe('S', ''),
      bind(
        '',
        '',
        Array.from({ length: 1_600 }, (_, n) => String(n)),
      ),
      execute(''),
    ],
    [extended(`SELECT ${Array.from({ length: 1_665 }, () => '1').join(', ')}`)],
  ),
  {
    name: 'one of its statements is cancelled',
    steps: [
      ['N', extended('SELECT sleep_loudly()'), extended('SELECT 2'), SYNC],
      ['Z', 'cancel'],
    ],
  },
  {
    name: 'Terminate in the middle of a pipeline',
    steps: [['closed', together(extended('SELECT 1'), FLUSH, message('X', ''))]],
  },
]
