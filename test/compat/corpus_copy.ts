/** COPY: both ways, in every form, by both protocols, and all that may go wrong in its middle. */
import { message, query } from '../support/wire_client.ts'
import { queries } from './corpus_simple.ts'
import {
  bind,
  COPY_DONE,
  copyData,
  copyFail,
  execute,
  extended,
  FLUSH,
  int16,
  parse,
  SYNC,
} from './frames.ts'
import type { WireCase } from './wire_case.ts'

const IN = 'COPY taken FROM STDIN'
const COUNT = query('SELECT count(*), sum(id), max(length(line)) FROM taken')
const together = (...parts: Buffer[]) => Buffer.concat(parts)

const BINARY_HEAD = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)])
const BINARY_END = int16(-1)
const BINARY_ROW = Buffer.from('0003000000040000002a00000002686900000001ff', 'hex')

export const COPY: WireCase[] = [
  queries('COPY OUT in every form', [
    'COPY (SELECT * FROM everything) TO STDOUT',
    'COPY items TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (name))',
    "COPY items (name, id) TO STDOUT (DELIMITER '|', NULL 'nothing')",
    'COPY (SELECT * FROM everything) TO STDOUT (FORMAT binary)',
    'COPY (SELECT 1 WHERE false) TO STDOUT',
    'COPY (SELECT 1 WHERE false) TO STDOUT (FORMAT binary)',
    'COPY (SELECT) TO STDOUT',
    "COPY (SELECT repeat('long ', 100000) FROM generate_series(1, 3)) TO STDOUT",
    'COPY (SELECT i FROM generate_series(1, 8000) AS i) TO STDOUT',
    'COPY (SELECT 1) TO STDOUT; SELECT 2; COPY (SELECT 3) TO STDOUT',
  ]),
  queries('COPY OUT that fails', [
    'COPY no_such_table TO STDOUT',
    'COPY (SELECT 10 / (300 - i) FROM generate_series(1, 400) AS i) TO STDOUT',
    "COPY items TO '/nowhere/at/all'",
    "COPY items TO PROGRAM 'true'",
    'SELECT 1',
  ]),
  {
    name: 'COPY OUT by the extended protocol',
    steps: [
      ['Z', together(extended('COPY (SELECT 1) TO STDOUT'), extended('SELECT 2'), SYNC)],
      ['C', parse('', 'COPY (SELECT 3) TO STDOUT'), bind('', ''), execute('', 1), FLUSH],
      ['Z', SYNC],
    ],
  },
  {
    name: 'COPY IN as text',
    steps: [
      ['G', query(IN)],
      [
        'Z',
        copyData('1\tone\t\\\\x01\n2\t\\N\t\\N\n'),
        copyData('3\tthr'),
        copyData('ee\t\\N\n'),
        COPY_DONE,
      ],
      ['G', query(IN)],
      ['Z', copyData('4\tfour\t\\N\n\\.\n'), COPY_DONE],
      ['G', query(IN)],
      ['Z', COPY_DONE],
      ['Z', COUNT],
    ],
  },
  {
    name: 'COPY IN as csv',
    steps: [
      ['G', query('COPY taken (id, line) FROM STDIN (FORMAT csv, HEADER)')],
      ['Z', copyData('id,line\n1,"a ""quoted"",\nline"\n2,\n3,""\n'), COPY_DONE],
      ['Z', query('SELECT id, line FROM taken ORDER BY id, line')],
    ],
  },
  {
    name: 'COPY IN as binary',
    steps: [
      ['G', query(`${IN} (FORMAT binary)`)],
      ['Z', copyData(together(BINARY_HEAD, BINARY_ROW, BINARY_ROW, BINARY_END)), COPY_DONE],
      ['G', query(`${IN} (FORMAT binary)`)],
      ['Z', copyData(BINARY_HEAD), copyData(BINARY_ROW.subarray(0, 9)), COPY_DONE],
      ['G', query(`${IN} (FORMAT binary)`)],
      ['Z', copyData('no signature'), COPY_DONE],
      ['Z', query('SELECT * FROM taken ORDER BY id, line')],
    ],
  },
  {
    name: 'COPY IN of half a megabyte in odd pieces',
    steps: [
      ['G', query('COPY taken (id, line) FROM STDIN')],
      ['Z', ...lines(500_000).map(copyData), COPY_DONE],
      ['Z', COUNT],
    ],
  },
  {
    name: 'CopyFail',
    steps: [
      ['G', query(IN)],
      ['Z', copyData('1\tone\t\\N\n'), copyFail('the client thought better of it')],
      ['Z', COUNT],
    ],
  },
  {
    name: 'an error in the middle of COPY IN',
    steps: [
      ['G', query(IN)],
      ['E', copyData('1\tone\t\\N\n'), copyData('x\ttwo\t\\N\n')],
      ['Z', copyData('3\tthree\t\\N\n'), COPY_DONE],
      ['Z', COUNT],
      ['G', query(IN)],
      ['Z', copyData('x\n'), copyData('y\n'), copyFail('too late')],
      ['Z', query('SELECT 1')],
    ],
  },
  {
    name: 'COPY IN in a transaction that fails',
    steps: [
      ['Z', query('BEGIN')],
      ['G', query(IN)],
      ['Z', copyData('1\n'), COPY_DONE],
      ['Z', query(IN)],
      ['Z', query('ROLLBACK')],
    ],
  },
  {
    name: 'Sync and Flush inside COPY IN',
    steps: [
      ['G', query(IN)],
      ['Z', SYNC, FLUSH, copyData('1\tone\t\\N\n'), SYNC, FLUSH, COPY_DONE],
      ['Z', SYNC],
      ['Z', COUNT],
    ],
  },
  {
    name: 'another message inside COPY IN',
    steps: [
      ['G', query(IN)],
      ['closed', copyData('1\tone\t\\N\n'), query('SELECT 1')],
    ],
  },
  {
    name: 'CopyData outside COPY',
    steps: [
      ['Z', copyData('stray'), COPY_DONE, copyFail('stray'), query('SELECT 1')],
      ['Z', together(extended('SELECT 2'), copyData('stray'), SYNC)],
    ],
  },
  {
    name: 'COPY IN by the extended protocol',
    steps: [
      ['G', parse('', IN), bind('', ''), execute(''), FLUSH],
      ['C', copyData('1\tone\t\\N\n'), COPY_DONE, FLUSH],
      ['Z', SYNC],
      ['G', parse('', IN), bind('', ''), execute(''), SYNC],
      ['ZZ', copyData('2\ttwo\t\\N\n'), COPY_DONE, SYNC, SYNC],
      ['Z', COUNT],
    ],
  },
  {
    name: 'COPY IN by the extended protocol, which fails',
    steps: [
      ['G', parse('', IN), bind('', ''), execute(''), FLUSH],
      ['Z', copyFail('no'), SYNC],
      ['G', parse('', IN), bind('', ''), execute(''), FLUSH],
      ['E', copyData('x\n'), copyData('y\n')],
      ['Z', COPY_DONE, together(extended('SELECT 1'), SYNC)],
      ['Z', COUNT],
    ],
  },
  {
    name: 'several COPY in one Query',
    steps: [
      [
        'G',
        query(`${IN}; SELECT 1; ${IN}; COPY (SELECT * FROM taken ORDER BY id, line) TO STDOUT`),
      ],
      ['G', copyData('1\tone\t\\N\n'), COPY_DONE],
      ['Z', copyData('2\ttwo\t\\N\n'), COPY_DONE],
      ['G', query(`${IN}; SELECT 1; ${IN}`)],
      ['Z', copyFail('the first')],
      ['Z', COUNT],
    ],
  },
  {
    name: 'COPY IN with everything in one write',
    steps: [
      ['ZZ', together(query(IN), copyData('1\tone\t\\N\n'), COPY_DONE, query('SELECT 2'))],
      ['Z', COUNT],
    ],
  },
  {
    name: 'COPY IN that is cancelled',
    steps: [
      ['G', query('COPY sleepy FROM STDIN')],
      ['N', copyData('1\n')],
      ['E', 'cancel'],
      ['Z', copyFail('told')],
    ],
  },
  {
    name: 'Terminate inside COPY IN',
    steps: [
      ['G', query(IN)],
      ['closed', message('X', '')],
    ],
  },
]

/** Rows of 50 bytes or so, cut where nobody would. */
function lines(bytes: number): Buffer[] {
  let text = ''
  for (let n = 0; text.length < bytes; n++) text += `${n}\t${'copied '.repeat(n % 13)}\n`
  const all = Buffer.from(text)
  const pieces: Buffer[] = []
  for (let at = 0, size = 1; at < all.length; at += size, size = (size * 7 + 13) % 9_001)
    pieces.push(all.subarray(at, at + size))
  return pieces
}
