/**
 * psycopg2, as Debian installs it, through the gate over TLS to a real PostgreSQL. One Python process
 * does each thing and prints what it saw, as JSON.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, expectNoToken, JWT_SWITCH, keepFile, PYTHON, run } from '../support/tools.ts'

const postgres = inject('postgres')

const PRELUDE = `
import io, json, os, select, threading, time
import psycopg2, psycopg2.extensions

def connect(**more):
    words = dict(host='localhost', port=os.environ['GATE'], user='maxroach', dbname='defaultdb',
                 password=os.environ['TOKEN'], sslmode='verify-full', sslrootcert=os.environ['CA'],
                 options='${JWT_SWITCH}')
    return psycopg2.connect(**{**words, **more})

def show(value):
    print(json.dumps(value, default=str))
`

interface Script {
  name: string
  python: string
  shows: unknown
}

const scripts: Script[] = [
  {
    name: 'signs in',
    python: `
c = connect(application_name='a python')
cur = c.cursor()
cur.execute('select current_user, current_database(), current_setting(%s)', ('application_name',))
show([cur.fetchone(), c.info.ssl_in_use, c.server_version // 10000, c.encoding])`,
    shows: [['maxroach', 'defaultdb', 'a python'], true, 18, 'UTF8'],
  },
  {
    name: 'writes in a transaction, rolls back, commits',
    python: `
c = connect(dbname='maxroach')
cur = c.cursor()
cur.execute('create table if not exists py (n int)')
c.commit()
cur.execute('insert into py values (1)')
c.rollback()
cur.executemany('insert into py values (%s)', [(2,), (3,)])
c.commit()
cur.execute('select n from py order by n')
seen = cur.fetchall()
cur.execute('drop table py')
c.commit()
show(seen)`,
    shows: [[2], [3]],
  },
  {
    name: 'is told of errors, and goes on',
    python: `
c = connect()
cur = c.cursor()
seen = []
for sql in ['select 1/0', 'select 1']:
    try:
        cur.execute(sql)
    except psycopg2.Error as e:
        seen.append([type(e).__name__, e.pgcode])
c.rollback()
cur.execute('select 2')
show(seen + cur.fetchall())`,
    shows: [['DivisionByZero', '22012'], ['InFailedSqlTransaction', '25P02'], [2]],
  },
  {
    name: 'copies both ways',
    python: `
c = connect()
cur = c.cursor()
cur.execute('create temp table lines (n int, line text)')
rows = ''.join('%d\\tline %d\\n' % (n, n) for n in range(100000))
cur.copy_expert('copy lines from stdin', io.StringIO(rows))
back = io.StringIO()
cur.copy_expert('copy lines to stdout', back)
show([cur.rowcount, back.getvalue() == rows])`,
    shows: [100000, true],
  },
  {
    name: 'gives up a copy in the middle',
    python: `
class Broken:
    def __init__(self): self.left = 50
    def read(self, size):
        self.left -= 1
        if self.left == 0: raise IOError('the disk is gone')
        return '1\\n' * (size // 2)
c = connect()
cur = c.cursor()
cur.execute('create temp table ones (n int)')
c.commit()
try:
    cur.copy_expert('copy ones from stdin', Broken())
except psycopg2.Error as e:
    code = e.pgcode
c.rollback()
cur.execute('select count(*) from ones')
show([code, cur.fetchone()])`,
    shows: ['57014', [0]],
  },
  {
    name: 'listens and notifies',
    python: `
listener, speaker = connect(), connect()
for c in (listener, speaker):
    c.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
listener.cursor().execute('listen py_news')
speaker.cursor().execute("notify py_news, 'read all about it'")
select.select([listener], [], [], 10)
listener.poll()
show([[n.channel, n.payload] for n in listener.notifies])`,
    shows: [['py_news', 'read all about it']],
  },
  {
    name: 'runs what may not stand in a transaction, with autocommit',
    python: `
c = connect()
c.autocommit = True
cur = c.cursor()
cur.execute('discard all')
show([cur.statusmessage, c.get_transaction_status()])`,
    shows: ['DISCARD ALL', 0],
  },
  {
    name: 'reads through a cursor of the server',
    python: `
c = connect()
cur = c.cursor('slowly')
cur.itersize = 777
cur.execute('select generate_series(1, 10000)')
first = cur.fetchone()
show([first, sum(n for (n,) in cur)])`,
    shows: [[1], 50004999],
  },
  {
    name: 'cancels from another thread',
    python: `
c = connect()
threading.Timer(0.3, c.cancel).start()
cur = c.cursor()
started = time.monotonic()
try:
    cur.execute('select pg_sleep(30)')
except psycopg2.Error as e:
    code = e.pgcode
c.rollback()
cur.execute('select 1')
show([code, cur.fetchone()])`,
    shows: ['57014', [1]],
  },
  {
    name: 'is told why it may not come in',
    python: `
try:
    connect(user='carl')
except psycopg2.OperationalError as e:
    lines = str(e).strip().split('\\n')
show([lines[0].split('FATAL:')[1], lines[1], lines[2].split(':')[0]])`,
    shows: [
      '  JWT authentication: invalid principal',
      'DETAIL:  token issued for [maxroach] and login was for carl',
      'HINT',
    ],
  },
]

describeWith('psycopg2', 'psycopg2', () => {
  let gate: TestGate
  let caFile: string
  const printed: string[] = []

  beforeAll(async () => {
    gate = await startGate({ node: join(postgres.socketDir, `.s.PGSQL.${postgres.port}`) })
    caFile = await keepFile('ca.crt', gate.caPem)
  })
  afterAll(async () => {
    await gate.close()
    expectNoToken(gate.minted, printed, gate.log, gate.audit)
  })

  it.each(scripts)('$name', async ({ python, shows }) => {
    const env = { GATE: String(gate.port), CA: caFile, TOKEN: await gate.token('maxroach') }
    const ended = await run(PYTHON, ['-c', PRELUDE + python], { env })
    printed.push(ended.stdout, ended.stderr)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(ended.stdout)).toEqual(shows)
  })
})
