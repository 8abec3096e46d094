/**
 * The phase beside a real PostgreSQL: clients of all manners talk to it over a raw socket, with their
 * bytes cut and paced at random. Whenever the phase calls the session settled, PostgreSQL must have
 * nothing more to say; and when it has nothing more to say, the phase must come to know it.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { Headers } from '../../src/wire/headers.ts'
import { Phase, sessionPhase } from '../../src/wire/phase.ts'

function frame(type: string, ...parts: (string | number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  const header = Buffer.alloc(type.length + 4)
  header.write(type, 'latin1')
  header.writeInt32BE(4 + body.length, type.length)
  return Buffer.concat([header, body])
}

const query = (sql: string) => frame('Q', `${sql}\0`)
const parse = (sql: string) => frame('P', `\0${sql}\0`, [0, 0])
const BIND = frame('B', [0, 0, 0, 0, 0, 0, 0, 0])
/** A statement that isn't there: the unnamed one may be a COPY, which would want data. */
const BAD_BIND = frame('B', '\0nowhere\0', [0, 0, 0, 0, 0, 0])
const DESCRIBE = frame('D', 'P\0')
const EXECUTE = frame('E', [0, 0, 0, 0, 0])
const CLOSE = frame('C', 'S\0')
const FLUSH = frame('H')
const SYNC = frame('S')
const ROW = frame('d', '7\n')
const BAD_ROW = frame('d', 'seven\n')
const COPY_DONE = frame('c')
const COPY_FAIL = frame('f', 'enough\0')
/** pg_backend_pid(), and a function that isn't there. */
const CALL = frame('F', [0, 0, 0x07, 0xea, 0, 0, 0, 0, 0, 0])
const BAD_CALL = frame('F', [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])

const SETUP = `
  DROP SCHEMA IF EXISTS phase_test CASCADE;
  CREATE SCHEMA phase_test;
  CREATE TABLE phase_test.rows (a int);
  CREATE TABLE phase_test.refusing (a int);
  CREATE TABLE phase_test.regretting (a int);
  CREATE FUNCTION phase_test.refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
  CREATE TRIGGER refuse BEFORE INSERT ON phase_test.refusing
    FOR EACH STATEMENT EXECUTE FUNCTION phase_test.refuse();
  CREATE TRIGGER refuse AFTER INSERT ON phase_test.regretting
    FOR EACH STATEMENT EXECUTE FUNCTION phase_test.refuse();
  DO $$ BEGIN CREATE ROLE phase_nobody; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
`
const TEARDOWN = 'DROP SCHEMA phase_test CASCADE; DROP ROLE phase_nobody'

const COPY = 'COPY phase_test.rows FROM STDIN'
const COPIES_BY_QUERY = [
  COPY,
  `${COPY}; SELECT 1; ${COPY}`,
  `SELECT 1; ${COPY}; SELECT 1/0`,
  'COPY phase_test.refusing FROM STDIN',
  'COPY phase_test.regretting FROM STDIN',
  `SET LOCAL ROLE phase_nobody; ${COPY}`,
]
const COPIES_BY_EXECUTE = [
  COPY,
  COPY,
  'COPY phase_test.refusing FROM STDIN',
  'COPY phase_test.regretting FROM STDIN',
  'COPY phase_test.nowhere FROM STDIN',
]
const QUERIES = [
  'SELECT 1',
  'SELECT 1; SELECT 2 WHERE false; INSERT INTO phase_test.rows VALUES (1)',
  '',
  'SELECT nothing',
  'SELECT 1; SELECT 1/0; SELECT 2',
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  "SET application_name = 'phase'",
  'COPY (SELECT generate_series(1, 3)) TO STDOUT',
  'COPY (SELECT 1/(3 - g) FROM generate_series(1, 5) g) TO STDOUT',
]

const SETTLED = ['quiet', 'transaction', 'failed']
const STATUS: Record<string, string> = { I: 'quiet', T: 'transaction', E: 'failed' }
const ASYNCHRONOUS = 'ANS'

/** A client's connection, its phase, and a reading of what came that has nothing of ours in it. */
class Session {
  readonly #socket: Socket
  readonly #phase = new Phase()
  readonly #client: Headers
  readonly #node: Headers
  /** One letter for a message, but for those that come by themselves. */
  heard = ''
  rows: string[] = []
  closed = false
  #status = 'quiet'
  #unread = Buffer.alloc(0)
  /** What was sent and heard, and what was wrong with it. */
  readonly #log: string[] = []
  #wrong: string | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    this.#client = new Headers('client', {
      header: (type) => {
        this.#log.push(`>${String.fromCharCode(type)}`)
        this.#phase.fromClient(type)
      },
    })
    this.#node = new Headers('node', { header: (type, status) => this.#told(type, status) })
    socket.on('data', (chunk: Buffer) => this.#hear(chunk))
    socket.on('close', () => {
      this.closed = true
    })
    socket.on('error', () => undefined)
  }

  get state(): string {
    return sessionPhase(this.#phase, this.#client, this.#node)
  }

  get settled(): boolean {
    return SETTLED.includes(this.state)
  }

  send(bytes: Buffer): void {
    if (this.closed) return
    this.#client.push(bytes)
    this.#socket.write(bytes)
  }

  /** Until that is so, the server has gone, or the time is over. @returns whether it came to be. */
  async until(condition: () => boolean, ms: number): Promise<boolean> {
    for (let waited = 0; waited < ms && !condition() && !this.closed; waited++) await sleep(1)
    return condition()
  }

  /** Throws what went wrong so far, or if `so` is false, that. */
  expect(so: boolean, what: string): void {
    const wrong = this.#wrong ?? (so ? undefined : `${what}, the phase being ${this.state}`)
    if (wrong !== undefined) expect.fail(`${this.#log.join('')}: ${wrong}`)
  }

  close(): void {
    this.#socket.destroy()
  }

  #told(type: number, status: number): void {
    const letter = String.fromCharCode(type)
    const before = this.#phase.state
    this.#log.push(`<${letter}${status === 0 ? '' : String.fromCharCode(status)}`)
    // An error by itself is the server's last word: PostgreSQL ends what it can't go on with.
    if (SETTLED.includes(before) && !`${ASYNCHRONOUS}E`.includes(letter))
      this.#wrong ??= `${letter} came while ${before}`
    this.#phase.fromNode(type, status)
  }

  #hear(chunk: Buffer): void {
    this.#node.push(chunk)
    this.#unread = Buffer.concat([this.#unread, chunk])
    while (this.#unread.length >= 5) {
      const end = 1 + this.#unread.readInt32BE(1)
      if (this.#unread.length < end) break
      const type = this.#unread.toString('latin1', 0, 1)
      if (!ASYNCHRONOUS.includes(type)) this.heard += type
      if (type === 'D') this.rows.push(this.#unread.toString('utf8', 5, end))
      if (type === 'Z') this.#status = STATUS[this.#unread.toString('latin1', 5, 6)] ?? '?'
      this.#unread = this.#unread.subarray(end)
    }
    if (this.settled && this.state !== this.#status)
      this.#wrong ??= `${this.state} instead of ${this.#status}`
  }
}

async function open(): Promise<Session> {
  const { socketDir, port } = inject('postgres')
  const socket = connect(`${socketDir}/.s.PGSQL.${port}`)
  await once(socket, 'connect')
  socket.write(frame('', [0, 3, 0, 0], 'user\0postgres\0database\0postgres\0\0'))
  let greeting = Buffer.alloc(0)
  const ready = frame('Z', 'I')
  while (!greeting.subarray(-ready.length).equals(ready)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    greeting = Buffer.concat([greeting, chunk])
  }
  return new Session(socket)
}

async function administer(sql: string): Promise<void> {
  const session = await open()
  session.send(query(sql))
  await session.until(() => session.heard.includes('Z'), 10_000)
  session.close()
  expect(session.heard).toMatch(/^C+Z$/)
}

type Pace = 'at once' | 'next turn' | 'pause' | 'until settled'
interface Step {
  messages: Buffer[]
  cuts: number[]
  pace: Pace
}

async function play(session: Session, steps: Step[]): Promise<void> {
  for (const { messages, cuts, pace } of steps) {
    const bytes = Buffer.concat(messages)
    const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length]
    places.sort((a, b) => a - b)
    for (const [i, place] of places.slice(1).entries()) {
      session.send(bytes.subarray(places[i], place))
      if (cuts.length > 0) await turn()
    }
    if (pace === 'next turn') await turn()
    if (pace === 'pause') await sleep(2)
    if (pace === 'until settled') {
      await session.until(() => session.settled, 4)
      await sleep(1)
    }
    session.expect(true, '')
  }
}

/** Asks something whose answer is known; when it has come, everything before it has. */
const MARKER = query("ROLLBACK; SELECT 'marker'")
const MARKER_ANSWER = 'CTDCZ'

async function expectMarkerSettles(session: Session): Promise<void> {
  session.send(MARKER)
  const answered = () =>
    session.rows.at(-1)?.includes('marker') === true && session.heard.endsWith(MARKER_ANSWER)
  const came = await session.until(answered, 5_000)
  session.expect(came || session.closed, 'no answer to the marker')
  if (!session.closed) session.expect(session.settled, 'all was answered')
}

const ARE_SYNCS = (message: Buffer) => message.equals(SYNC)
const pace = fc.constantFrom<Pace>('at once', 'at once', 'next turn', 'pause', 'until settled')
const cuts = fc.oneof(fc.constant<number[]>([]), fc.array(fc.nat(500), { maxLength: 3 }))

/** What a step says, one or more messages a write. */
function said(messages: fc.Arbitrary<Buffer[]>): fc.Arbitrary<Step[]> {
  const together = fc.record({ messages, cuts, pace }).map((step) => [step])
  const apart = fc
    .tuple(messages, fc.array(pace, { minLength: 1, maxLength: 5 }))
    .map(([all, paces]) =>
      all.map(
        (one, i): Step => ({
          messages: [one],
          cuts: [],
          pace: paces[i % paces.length] ?? 'at once',
        }),
      ),
    )
  return fc.oneof(together, apart)
}

const simple = fc.constantFrom(...QUERIES).map((sql) => [query(sql)])
const call = fc.constantFrom<Buffer[]>([CALL], [BAD_CALL])
const bursts = fc.constantFrom<Buffer[]>(
  [SYNC],
  [SYNC, SYNC, SYNC],
  [FLUSH],
  [ROW, COPY_DONE],
  [COPY_FAIL],
  [FLUSH, SYNC],
)
const extended = fc
  .array(
    fc.oneof(
      fc.constantFrom(...QUERIES).map((sql) => [parse(sql), BIND, DESCRIBE, EXECUTE]),
      fc.constantFrom([BAD_BIND], [DESCRIBE], [EXECUTE], [CLOSE], [FLUSH]),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((parts) => [...parts.flat(), SYNC])

const rows = fc.constantFrom<Buffer[]>([], [ROW], [ROW, ROW], [BAD_ROW], [ROW, BAD_ROW, ROW])
const rowsAndSyncs = fc.constantFrom<Buffer[]>(
  [ROW, SYNC, ROW],
  [SYNC, BAD_ROW, SYNC],
  [SYNC, SYNC],
  [BAD_ROW, SYNC, FLUSH, ROW],
)
const copyEnd = fc.constantFrom(COPY_DONE, COPY_DONE, COPY_FAIL)
/**
 * Of the Syncs in a copy that fails nobody knows how many are answered, until something else is. And
 * in a failed transaction none succeeds.
 */
const settling = (copy: Buffer[]) =>
  copy[0]?.includes(COPY) && !copy.includes(BAD_ROW) && !copy.includes(COPY_FAIL)
    ? [query('ROLLBACK'), ...copy]
    : [...copy, query('')]
const copyByQuery = fc
  .tuple(fc.constantFrom(...COPIES_BY_QUERY), fc.oneof(rows, rowsAndSyncs), copyEnd)
  .map(([sql, data, end]) => [
    ...[query(sql), ...data, end],
    ...(sql.endsWith(COPY) && sql !== COPY ? [...data, end] : []),
  ])
const copyByExecute = fc
  .tuple(fc.constantFrom(...COPIES_BY_EXECUTE), fc.boolean(), fc.oneof(rows, rowsAndSyncs), copyEnd)
  .map(([sql, early, data, end]) => [
    ...[parse(sql), BIND, EXECUTE, early ? SYNC : FLUSH],
    ...[...data, end, SYNC],
  ])
const copyWithSyncs = fc
  .tuple(fc.constantFrom(...COPIES_BY_EXECUTE), fc.boolean(), rowsAndSyncs, copyEnd)
  .map(([sql, byQuery, data, end]) => [
    ...(byQuery ? [query(sql)] : [parse(sql), BIND, EXECUTE, SYNC]),
    ...data,
    end,
    SYNC,
  ])
const stray = fc
  .constantFrom(
    ...[query(COPY), query('SELECT 1'), CALL, parse(COPY), parse('SELECT 1'), parse('nonsense')],
    ...[
      BIND,
      EXECUTE,
      DESCRIBE,
      CLOSE,
      FLUSH,
      SYNC,
      SYNC,
      SYNC,
      ROW,
      BAD_ROW,
      COPY_DONE,
      COPY_FAIL,
    ],
  )
  .map((message) => [message])

const politeStep = said(
  fc.oneof(simple, call, bursts, extended, copyByQuery.map(settling), copyByExecute.map(settling)),
)
const orderlyStep = said(fc.oneof(simple, extended, copyByQuery, copyWithSyncs, copyWithSyncs))
const rudeStep = said(
  fc.oneof({ weight: 3, arbitrary: stray }, copyWithSyncs, copyByExecute, simple),
)

const script = (step: fc.Arbitrary<Step[]>, maxLength: number) =>
  fc.array(step, { maxLength }).map((steps) => steps.flat())

/** Runs each script of a kind over a connection of its own. */
async function forAll(
  scripts: fc.Arbitrary<Step[]>,
  numRuns: number,
  end: (session: Session, steps: Step[]) => Promise<void>,
): Promise<void> {
  const property = fc.asyncProperty(scripts, async (steps) => {
    const session = await open()
    try {
      await play(session, steps)
      await end(session, steps)
    } finally {
      session.close()
    }
  })
  // Each try at a smaller script would wait in vain: the report would come after the test's time.
  await fc.assert(property, { numRuns, endOnFailure: true })
}

beforeAll(() => administer(SETUP))
afterAll(() => administer(TEARDOWN))

describe('beside PostgreSQL', () => {
  test('a client that reads what it is owed finds the session settled, and the node silent', async () => {
    await forAll(script(politeStep, 6), 70, async (session) => {
      const settled = await session.until(() => session.settled, 5_000)
      session.expect(settled, 'all was answered')
      await sleep(2)
      session.heard = ''
      await expectMarkerSettles(session)
      session.expect(session.heard === MARKER_ANSWER, `the marker was answered ${session.heard}`)
    })
  })

  test('a Sync and a Query settle it after any copy that failed', async () => {
    await forAll(script(orderlyStep, 5), 40, async (session) => {
      session.send(SYNC)
      await expectMarkerSettles(session)
    })
  })

  test('whatever was sent, it is never called settled before it is, and can be settled', async () => {
    await forAll(script(rudeStep, 10), 70, async (session, steps) => {
      await sleep(1)
      const syncs = steps.flatMap(({ messages }) => messages).filter(ARE_SYNCS)
      // One Sync for what is skipped, then more than may be waited for, so that none is mistaken.
      for (const bytes of [COPY_FAIL, SYNC, SYNC, ...syncs]) session.send(bytes)
      await expectMarkerSettles(session)
    })
  })
})
