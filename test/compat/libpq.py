"""What `npm run compat` asks of libpq itself, by ctypes: pipelines, rows one by one and in chunks, COPY, fast-path
calls, notifications, and a cancel. Everything that it hears is printed; what an older libpq lacks is left out."""
import ctypes
import sys
import time
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_void_p

lib = ctypes.CDLL('libpq.so.5')
TEXTS = ('PQerrorMessage PQresultErrorMessage PQresultErrorField PQgetvalue PQfname PQcmdStatus PQcmdTuples '
         'PQparameterStatus PQcancelErrorMessage')
POINTERS = 'PQconnectdb PQexec PQexecParams PQgetResult PQprepare PQexecPrepared PQdescribePrepared PQgetCancel ' \
    'PQnotifies PQcancelCreate PQclosePrepared PQclosePortal PQdescribePortal PQfn'
for name in TEXTS.split():
    if hasattr(lib, name):
        getattr(lib, name).restype = c_char_p
for name in POINTERS.split():
    if hasattr(lib, name):
        getattr(lib, name).restype = c_void_p
NAMES = ['EMPTY', 'COMMAND', 'TUPLES', 'COPY_OUT', 'COPY_IN', 'BAD', 'NONFATAL', 'FATAL', 'COPY_BOTH', 'SINGLE',
         'SYNC', 'ABORTED', 'CHUNK']

c = c_void_p(lib.PQconnectdb(b''))


def say(*what):
    print(*what, flush=True)


@ctypes.CFUNCTYPE(None, c_void_p, c_char_p)
def notice(_, text):
    say('notice:', text.decode().strip())


lib.PQsetNoticeProcessor(c, notice, None)
if lib.PQstatus(c) != 0:
    say(lib.PQerrorMessage(c).decode())
    sys.exit(1)
for setting in ['server_version', 'client_encoding', 'is_superuser', 'TimeZone', 'integer_datetimes', 'search_path']:
    say(setting, lib.PQparameterStatus(c, setting.encode()))
say('transaction', lib.PQtransactionStatus(c), 'protocol 3:', lib.PQprotocolVersion(c))


def show(pointer):
    """Prints a result; returns its status, None for the null that ends a statement's results."""
    if not pointer:
        say('-')
        return None
    r = c_void_p(pointer)
    status = lib.PQresultStatus(r)
    rows, columns = lib.PQntuples(r), lib.PQnfields(r)
    say(NAMES[status], (lib.PQcmdStatus(r) or b'').decode(), (lib.PQcmdTuples(r) or b'').decode(), rows, columns,
        [lib.PQfname(r, i) for i in range(min(columns, 9))], [lib.PQftype(r, i) for i in range(min(columns, 9))])
    for row in range(min(rows, 5)):
        say(' ', [None if lib.PQgetisnull(r, row, i) else
                  ctypes.string_at(lib_value(r, row, i), lib.PQgetlength(r, row, i)) for i in range(min(columns, 9))])
    if status == 7:
        say(' ', [lib.PQresultErrorField(r, ord(f)) for f in 'SVCMDHPWstcdnFLR'])
    lib.PQclear(r)
    return status


lib_value = ctypes.CDLL('libpq.so.5').PQgetvalue
lib_value.restype = c_void_p


def drain():
    """All results of a pipeline, up to the last Sync."""
    nulls = 0
    while nulls < 2:
        status = show(lib.PQgetResult(c))
        nulls = nulls + 1 if status is None else 0
        if status == 10:
            nulls = 0


def results():
    while show(lib.PQgetResult(c)) is not None:
        pass


def values(*given):
    return (c_char_p * max(len(given), 1))(*given)


def params(sql, *given, binary=0):
    show(lib.PQexecParams(c, sql, len(given), None, values(*given), None, None, binary))


say('# simple')
for sql in [b'SELECT 1; SELECT 2 AS two', b'', b'SELECT 1/0', b'SELECT * FROM everything', b'BEGIN', b'SELECT nothing',
            b'SELECT 1', b'ROLLBACK', b"SELECT shout('notice', 'a notice')", b'INSERT INTO parents VALUES (900)']:
    show(lib.PQexec(c, sql))
    say('transaction', lib.PQtransactionStatus(c))
say('# parameters')
params(b'SELECT $1::int + 1', b'41')
params(b'SELECT $1::int + 1', b'x')
params(b'SELECT * FROM everything', binary=1)
params(b'SELECT $1::text', None)
say('# prepared')
show(lib.PQprepare(c, b'named', b'SELECT name FROM items WHERE id = $1', 0, None))
show(lib.PQdescribePrepared(c, b'named'))
show(lib.PQexecPrepared(c, b'named', 1, values(b'3'), None, None, 0))
if hasattr(lib, 'PQclosePrepared'):
    show(lib.PQclosePrepared(c, b'named'))
    show(lib.PQexec(c, b'BEGIN; DECLARE cur CURSOR FOR SELECT 1'))
    show(lib.PQclosePortal(c, b'cur'))
    show(lib.PQexec(c, b'FETCH 1 FROM cur'))
    show(lib.PQexec(c, b'ROLLBACK'))
say('# rows one by one')
lib.PQsendQuery(c, b'SELECT i, 6 / (4 - i) FROM generate_series(1, 9) AS i')
lib.PQsetSingleRowMode(c)
results()
if hasattr(lib, 'PQsetChunkedRowsMode'):
    lib.PQsendQuery(c, b'SELECT id FROM items ORDER BY id LIMIT 10')
    lib.PQsetChunkedRowsMode(c, 4)
    results()
say('# pipeline')
lib.PQenterPipelineMode(c)
for n in range(40):
    sql = b'SELECT 1/0' if n == 20 else b'SELECT $1::int, repeat($2, 1000)'
    given = () if n == 20 else (str(n).encode(), b'p')
    lib.PQsendQueryParams(c, sql, len(given), None, values(*given), None, None, 0)
    if n % 8 == 7:
        lib.PQpipelineSync(c)
    if n == 3:
        lib.PQsendFlushRequest(c)
lib.PQsendPrepare(c, b'later', b'SELECT $1::text', 0, None)
lib.PQsendDescribePrepared(c, b'later')
lib.PQsendQueryPrepared(c, b'later', 1, values(b'x'), None, None, 0)
if hasattr(lib, 'PQsendPipelineSync'):
    lib.PQsendPipelineSync(c)
lib.PQpipelineSync(c)
drain()
say('pipeline left:', lib.PQexitPipelineMode(c))
say('# COPY')


def put(sql, *pieces, error=None):
    show(lib.PQexec(c, sql))
    for piece in pieces:
        lib.PQputCopyData(c, piece, len(piece))
    lib.PQputCopyEnd(c, error)
    results()


put(b'COPY taken (id, line) FROM STDIN', b'1\tone\n2\ttw', b'o\n' + b'3\tthree\n' * 9000)
put(b'COPY taken (id, line) FROM STDIN', b'1\tone\n', error=b'changed its mind')
put(b'COPY taken (id, line) FROM STDIN', b'x\tone\n', b'y\n' * 5000)
show(lib.PQexec(c, b'SELECT count(*), sum(id) FROM taken'))
show(lib.PQexec(c, b'COPY (SELECT * FROM items ORDER BY id LIMIT 3) TO STDOUT'))
buffer = c_void_p()
while True:
    size = lib.PQgetCopyData(c, ctypes.byref(buffer), 0)
    if size <= 0:
        break
    say(ctypes.string_at(buffer, size))
    lib.PQfreemem(buffer)
results()
say('# large objects, by fast-path calls')
show(lib.PQexec(c, b'BEGIN'))
say(lib.lo_create(c, c_uint(7777)))
fd = lib.lo_open(c, c_uint(7777), 0x60000)
say(fd, lib.lo_write(c, fd, b'z' * 50000, c_size_t(50000)), lib.lo_lseek(c, fd, 49990, 0))
read = ctypes.create_string_buffer(100)
say(lib.lo_read(c, fd, read, c_size_t(100)), read.value, lib.lo_truncate(c, fd, c_size_t(5)), lib.lo_close(c, fd))
show(lib.PQexec(c, b'SELECT lo_get(7777)'))
say(lib.lo_unlink(c, c_uint(7777)), lib.lo_unlink(c, c_uint(7777)), lib.PQerrorMessage(c))
show(lib.PQexec(c, b'ROLLBACK'))
say('# notifications')


class Notify(ctypes.Structure):
    _fields_ = [('channel', c_char_p), ('pid', c_int), ('payload', c_char_p)]


show(lib.PQexec(c, b"LISTEN here; NOTIFY here, 'payload'"))
while True:
    lib.PQconsumeInput(c)
    pointer = lib.PQnotifies(c)
    if not pointer:
        break
    got = ctypes.cast(pointer, ctypes.POINTER(Notify)).contents
    say(got.channel, got.payload)
say('# cancel')


def asleep():
    other = c_void_p(lib.PQconnectdb(b''))
    sql = b"SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = current_user"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        r = c_void_p(lib.PQexec(other, sql))
        found = lib.PQntuples(r)
        lib.PQclear(r)
        if found:
            break
        time.sleep(0.01)
    lib.PQfinish(other)


lib.PQsendQuery(c, b'SELECT pg_sleep(60)')
asleep()
old = c_void_p(lib.PQgetCancel(c))
said = ctypes.create_string_buffer(256)
say('PQcancel', lib.PQcancel(old, said, 256), said.value)
results()
lib.PQfreeCancel(old)
if hasattr(lib, 'PQcancelCreate'):
    lib.PQsendQuery(c, b'SELECT pg_sleep(60)')
    asleep()
    new = c_void_p(lib.PQcancelCreate(c))
    say('PQcancelBlocking', lib.PQcancelBlocking(new), lib.PQcancelErrorMessage(new))
    results()
    lib.PQcancelFinish(new)
show(lib.PQexec(c, b"SELECT 'still here'"))
lib.PQreset(c)
show(lib.PQexec(c, b"SELECT 'here again'"))
lib.PQfinish(c)
