"""What `npm run compat` asks of psycopg2: queries, COPY, cursors on the server, notifications, two-phase commit, large
objects, asynchronous connections, a cancel. Everything that it hears is printed."""
import io
import select
import threading
import time

import psycopg2
import psycopg2.extensions
import psycopg2.extras


def connect(**more):
    return psycopg2.connect('', **more)


def attempt(what, *arguments):
    try:
        return what(*arguments)
    except psycopg2.Error as e:
        d = e.diag
        print(type(e).__name__, e.pgcode, repr(str(e)), d.severity, d.message_detail, d.message_hint, d.context,
              d.statement_position, d.table_name, d.column_name, d.constraint_name, d.source_file, d.source_line)


c = connect()
cur = c.cursor()


def ask(sql, *given):
    cur.execute(sql, given or None)
    print(cur.statusmessage, cur.rowcount, cur.description)
    if cur.description is not None:
        for row in cur.fetchall()[:6]:
            print(' ', [bytes(each) if isinstance(each, memoryview) else each for each in row])


print(c.server_version, c.encoding, c.status, c.info.transaction_status, c.info.protocol_version)
for sql in ['SELECT 1 AS one', 'SELECT * FROM everything WHERE i4 = 4', 'SELECT * FROM items ORDER BY id LIMIT 3',
            "SELECT shout('notice', 'psycopg2 hears')"]:
    attempt(ask, sql)
attempt(ask, 'SELECT %s, %s, %s', 1, 'ü', None)
attempt(ask, 'SELECT 1/0')
attempt(ask, 'SELECT 1')
c.rollback()
attempt(ask, 'INSERT INTO items VALUES (1, %s, 1, NULL)', 'again')
c.rollback()
attempt(ask, "SELECT shout('error', 'all fields')")
c.rollback()
print(c.notices)

print('# COPY')
cur.copy_expert('COPY taken (id, line) FROM STDIN', io.StringIO(''.join(f'{n}\tline {n}\n' for n in range(20000))))
print(cur.rowcount)
out = io.StringIO()
cur.copy_expert('COPY (SELECT id, line FROM taken ORDER BY id) TO STDOUT (FORMAT csv)', out)
print(len(out.getvalue()), out.getvalue()[:60])
attempt(cur.copy_expert, 'COPY taken FROM STDIN', io.StringIO('x\n' * 10))
c.rollback()


class Broken(io.StringIO):
    def read(self, size=-1):
        raise ValueError('the source broke')


try:
    cur.copy_expert('COPY taken FROM STDIN', Broken())
except Exception as e:
    print(type(e).__name__, str(e).splitlines()[0])
c.rollback()

print('# cursors of the server')
with c.cursor('named', scrollable=True) as named:
    named.itersize = 7
    named.execute('SELECT id, name FROM items ORDER BY id')
    print([row[0] for row in named][:50], named.rownumber)
    named.scroll(0, mode='absolute')
    print(named.fetchmany(2))
with c.cursor('held', withhold=True) as held:
    held.execute('SELECT id FROM items ORDER BY id')
    c.commit()
    print(held.fetchmany(3))
c.commit()
psycopg2.extras.execute_values(cur, 'INSERT INTO parents VALUES %s', [(n,) for n in range(1000, 1300)])
psycopg2.extras.execute_batch(cur, 'UPDATE parents SET id = id + 1000 WHERE id = %s', [(n,) for n in range(1000, 1100)])
ask('SELECT count(*), sum(id) FROM parents WHERE id >= 1000')
c.rollback()

print('# two-phase commit')
x = c.xid(42, 'global', 'branch')
c.tpc_begin(x)
cur.execute('INSERT INTO parents VALUES (4711)')
c.tpc_prepare()
c.reset()
print([(str(each), each.owner, each.database) for each in c.tpc_recover()])
c.rollback()
c.tpc_commit(x)
ask('SELECT count(*) FROM parents WHERE id = 4711')
c.commit()

print('# large objects')
lo = c.lobject(0, 'wb', 9090)
lo.write(b'large ' * 10000)
print(lo.oid, lo.tell(), lo.seek(6), lo.close())
lo = c.lobject(9090, 'rb')
print(len(lo.read()), lo.closed)
lo.unlink()
c.commit()

print('# notifications')
c.autocommit = True
cur.execute('LISTEN here')
other = connect()
other.autocommit = True
other.cursor().execute("NOTIFY here, 'from another'")
while not c.notifies:
    select.select([c], [], [], 10)
    c.poll()
print([(n.channel, n.payload) for n in c.notifies])

print('# asynchronous')


def wait(connection):
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        if state == psycopg2.extensions.POLL_READ:
            select.select([connection], [], [], 10)
        else:
            select.select([], [connection], [], 10)


a = connect(async_=True)
wait(a)
asking = a.cursor()
asking.execute("SELECT shout('notice', 'asynchronously'), repeat('a', 100000)")
wait(a)
print(len(asking.fetchone()[1]), a.notices)
a.close()

print('# cancel')


def cancel_when_asleep():
    looking = other.cursor()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        looking.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = current_user")
        if looking.fetchone():
            return c.cancel()
        time.sleep(0.01)


threading.Thread(target=cancel_when_asleep).start()
attempt(ask, 'SELECT pg_sleep(60)')
ask("SELECT 'still here'")
c.reset()
c.set_client_encoding('LATIN1')
ask("SELECT U&'\\00fc'")
c.close()
other.close()
