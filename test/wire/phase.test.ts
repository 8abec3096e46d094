import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Headers } from '../../src/wire/headers.ts'
import { Phase, sessionPhase } from '../../src/wire/phase.ts'

/**
 * A script: `>PBES` are messages from the client, `<12CZI` from the node (Z with its status), and
 * any other word is the state that the phase must be in.
 */
function check(script: string): void {
  const phase = new Phase()
  const words = script.split(' ')
  words.forEach((word, i) => {
    const so = words.slice(0, i + 1).join(' ')
    if (word.startsWith('>')) for (const type of word.slice(1)) phase.fromClient(type.charCodeAt(0))
    else if (word.startsWith('<'))
      for (const [type = '', status = ''] of word.slice(1).match(/Z.|./g) ?? [])
        phase.fromNode(type.charCodeAt(0), status === '' ? 0 : status.charCodeAt(0))
    else expect(`${so} => ${phase.state}`).toBe(`${so} => ${word}`)
  })
}

const SCRIPTS: Record<string, [name: string, script: string][]> = {
  'one thing at a time': [
    ['before anything was sent', 'quiet'],
    ['a query', '>Q busy <TDDC busy <ZI quiet'],
    ['an empty query', '>Q <I busy <ZI quiet'],
    ['a query that fails', '>Q <E busy <ZI quiet'],
    ['several statements', '>Q <CTDCC busy <ZI quiet'],
    ['a transaction', '>Q <CZT transaction >Q busy <CZT transaction >Q <CZI quiet'],
    ['a failed transaction', '>Q <CZT >Q <EZE failed >Q <EZE failed >Q <CZI quiet'],
    ['a function call', '>F busy <V busy <ZI quiet'],
    ['a status nobody knows', '>Q <CZx busy >Q <CZI quiet'],
    ['what comes by itself', '<A quiet <NS quiet >Q <N busy <SA busy <CNZI quiet'],
    ['an end without a question', 'quiet <E busy'],
    ['the client takes its leave', '>X busy <ZI busy'],
    ['a message that ends the connection', '>Q <CZI >p busy >Q <CZI busy'],
  ],
  pipelines: [
    ['queries', '>QQQ busy <CZI busy <CZI busy <CZI quiet'],
    ['extended', '>P busy >BES busy <12 busy <C busy <ZI quiet'],
    ['extended without Sync', '>PBE busy <12C busy >H busy >S busy <ZI quiet'],
    ['extended, failing', '>PBE <E busy >BE busy >S busy <ZI quiet'],
    ['extended, one behind another', '>PBES >BES <12CZI busy <2CZI quiet'],
    ['Syncs alone', '>SSS busy <ZIZI busy <ZI quiet'],
    ['Flush alone', '>H quiet >HS busy <ZI quiet'],
    ['a Query behind unsynced messages', '>CQ busy <3CZI quiet >S busy <ZI quiet'],
    ['such a Query, skipped', '>PQS <EZI busy >SQ <ZI busy <CZI quiet'],
    ['such a Sync, failing', '>PBEQSQ <12CCZT busy <EZI busy <CZI quiet'],
  ],
  'copy in by Query': [
    ['in steps', '>Q <G copying >dd copying >c copying <C busy <ZI quiet'],
    ['all at once', '>Qddc busy <G copying <C busy <ZI quiet'],
    ['Syncs inside', '>Q <G >dSdSSd copying >c copying <CZI quiet'],
    ['Syncs inside and behind', '>QSdSc busy >SS <GCZI busy <ZI busy <ZI quiet'],
    ['two copies', '>Q <G >dSdc <C busy <G copying >Sdc <C busy <ZI quiet'],
    ['two copies at once', '>QSdScSdcS <G copying <CG copying <CZI busy <ZI quiet'],
    ['given up', '>Q <G >df copying <E busy <ZI quiet'],
    ['failing, the rest comes late', '>Q <G >d <EZI quiet >ddc quiet'],
    ['refused, the rest was sent', '>Qddc <EZI quiet >Qc <CZI quiet'],
    ['failing with Syncs inside', '>Q <G >SdSc <EZI busy <ZI busy <ZI quiet'],
    ['the same, unanswered', '>Q <G >SdSc <EZI busy >Q busy <CZI quiet'],
    ['the same, one unanswered', '>Q <G >SdSc <EZI <ZI busy >Q <CZI quiet'],
    ['a Sync behind a failure', '>Q <G >d <EZI quiet >dScS busy <ZI busy <ZI quiet'],
    ['another query behind it', '>QdcQ <GCZI busy <CZI quiet'],
    ['another copy behind it', '>QdcQSdcS <GCZI <G copying <C busy <ZI busy <ZI quiet'],
    ['data that belongs to no copy', '>ddcf quiet >Qc <CZI quiet >c quiet'],
  ],
  'copy in by Execute': [
    ['as libpq does it', '>PBDES <12nG copying >dd >cS copying <C busy <ZI quiet'],
    ['Flush instead of Sync', '>PBEH <12G copying >ddcS <C busy <ZI quiet'],
    ['Sync after the answer', '>PBEH <12G copying >SddSc <C busy >S <ZI quiet'],
    ['all at once', '>PBESdcS <12G copying <CZI quiet'],
    ['all at once, one Sync', '>PBEdcS <12GC busy <ZI quiet'],
    ['no Sync yet', '>PBES <12G >dc <C busy <N busy >S busy <ZI quiet'],
    ['Syncs behind it', '>PBESdcSSS <12GCZI busy <ZI busy <ZI quiet'],
    ['two copies, one Sync', '>PBEdcBES <12G <C2G copying >dcS <CZI quiet'],
    ['more behind it', '>PBESdcPBES <12GC busy <12CZI quiet'],
    ['a Query behind it', '>PBESdcQ <12GC busy <CZI quiet >S <ZI quiet'],
    ['failing before its Sync', '>PBES <12GE busy <ZI quiet >cS busy <ZI quiet'],
    ['failing behind its Sync', '>PBES <12G >dcS <E busy <ZI busy >Q <CZI quiet'],
    ['the same, then another copy', '>PBESdcS <12GEZI busy >PBESdcS <12GCZI quiet'],
    ['given up', '>PBESfS <12GEZI busy >PBES <12CZI quiet'],
    ['behind a lone Sync', '>SPBESdcS <ZI <12GCZI quiet'],
  ],
  'other copies': [
    ['out', '>Q busy <H copying <ddd copying <c copying <C busy <ZI quiet'],
    ['out, failing', '>Q <Hd copying <E busy <ZI quiet'],
    ['out by Execute', '>PBES <12H copying <dcC busy <ZI quiet'],
    ['out, Syncs behind it are answered', '>QSS <HdcCZI busy <ZI busy <ZI quiet'],
    ['both ways', '>Q <W copying >dd <dd copying >c copying <c copying <C busy <ZI quiet'],
    ['both ways, the node ends it', '>Q <Wd copying <c >c copying <TDCC busy <ZI quiet'],
  ],
  'what a node may do that PostgreSQL does not': [
    ['ReadyForQuery without a question', '<ZT transaction >Q <ZT busy <CZI quiet'],
    ['a copy that reads other messages', '>QBESS <GEZI busy <ZI busy <ZI quiet'],
    ['no answer to a function call', '>F <E busy >S busy <ZI busy >Q <CZI quiet'],
    ['a copy done without CopyDone', '>Q <GC busy <ZI quiet'],
  ],
}

describe.each(Object.entries(SCRIPTS))('%s', (_heading, scripts) => {
  test.each(scripts)('%s: %s', (_name, script) => check(script))
})

test('in the middle of a message on either leg', () => {
  const phase = new Phase()
  const client = new Headers('client', { header: (type) => phase.fromClient(type) })
  const node = new Headers('node', { header: (type, status) => phase.fromNode(type, status) })
  const steps: [headers: Headers, bytes: number[], state: string][] = [
    [client, [], 'quiet'],
    [client, [0x51], 'mid-message'],
    [client, [0, 0, 0, 5], 'mid-message'],
    [client, [0], 'busy'],
    [node, [0x43, 0, 0, 0, 4, 0x5a], 'mid-message'],
    [node, [0, 0, 0, 5], 'mid-message'],
    [node, [0x49], 'quiet'],
    [node, [0x4e], 'mid-message'],
  ]
  for (const [headers, bytes, state] of steps) {
    headers.push(Uint8Array.from(bytes))
    expect(sessionPhase(phase, client, node)).toBe(state)
  }
})

test('what is owed is counted in runs of like messages', () => {
  const rows: [sent: string, owed: number][] = [
    ['', 0],
    ['d'.repeat(100) + 'c'.repeat(100), 0],
    ['Q'.repeat(10_000), 1],
    ['S'.repeat(10_000), 1],
    ['PBES'.repeat(10_000), 1],
    ['QS'.repeat(5_000), 10_000],
    ['Qc'.repeat(500), 1_000],
    [`P${'Pc'.repeat(500)}`, 1],
  ]
  for (const [sent, owed] of rows) {
    const phase = new Phase()
    for (const type of sent) phase.fromClient(type.charCodeAt(0))
    expect([sent.slice(0, 9), phase.owed]).toEqual([sent.slice(0, 9), owed])
  }
})

/*
 * The rest runs the phase against a model of the node's main loop that may fail, copy and answer as
 * it likes, with any delay in between: many more orders of events than a real node would show.
 */

type Dialect = 'postgresql' | 'cockroachdb'
type Outcome =
  | 'done'
  | 'error'
  | 'begin'
  | 'commit'
  | 'copy'
  | 'copyFailingAtOnce'
  | 'copyFailingLate'
interface Sent {
  type: string
  /** What a Query's statements come to, or an extended message or a function call. */
  outcomes: Outcome[]
  /** CopyData that a copy can't digest. */
  bad: boolean
}

class ModelNode {
  readonly said: string[] = []
  skipping = false
  copying = false
  dead = false
  #status = 'I'
  #unsynced = false
  readonly #dialect: Dialect
  readonly #loop: Generator<undefined, void, Sent>

  constructor(dialect: Dialect) {
    this.#dialect = dialect
    this.#loop = this.#run()
    this.#loop.next()
  }

  read(message: Sent): void {
    this.#loop.next(message)
  }

  #ready(): void {
    this.said.push(`Z${this.#status}`)
  }

  *#run(): Generator<undefined, void, Sent> {
    while (!this.dead) {
      const message = yield
      const { type } = message
      if (this.skipping && type === 'Q' && this.#dialect === 'cockroachdb') {
        this.skipping = false
        this.#ready()
      } else if (type === 'S') {
        if (this.#unsynced && !this.skipping && message.outcomes[0] === 'error') this.#fail()
        this.#unsynced = this.skipping = false
        this.#ready()
      } else if (this.skipping) {
        // Read and forgotten.
      } else if (type === 'Q') {
        for (const outcome of message.outcomes) if (!(yield* this.#statement(outcome))) break
        if (!this.dead) this.#ready()
      } else if (type === 'F' && this.#dialect === 'cockroachdb') {
        this.skipping = !this.#fail()
      } else if (type === 'F') {
        yield* this.#statement(message.outcomes[0] === 'error' ? 'error' : 'done')
        this.#ready()
      } else if ('PBDEC'.includes(type)) {
        this.#unsynced = true
        this.skipping = !(yield* this.#statement(message.outcomes[0] ?? 'done'))
      }
    }
  }

  *#statement(outcome: Outcome): Generator<undefined, boolean, Sent> {
    const copies = outcome.startsWith('copy')
    if (copies) this.said.push('G')
    const fine = copies ? yield* this.#copyIn(outcome) : outcome !== 'error'
    if (this.#status === 'E' && outcome !== 'commit') return this.#fail()
    if (!fine) return this.#fail()
    if (outcome === 'begin') this.#status = 'T'
    if (outcome === 'commit') this.#status = 'I'
    this.said.push('C')
    return true
  }

  *#copyIn(outcome: Outcome): Generator<undefined, boolean, Sent> {
    if (outcome === 'copyFailingAtOnce') return false
    this.copying = true
    for (;;) {
      const { type, bad } = yield
      if (type === 'S' || type === 'H' || (type === 'd' && !bad)) continue
      this.copying = false
      if (type === 'c') return outcome !== 'copyFailingLate'
      if (type !== 'd' && type !== 'f' && this.#dialect === 'postgresql') this.dead = true
      return false
    }
  }

  #fail(): false {
    this.said.push('E')
    if (this.#status === 'T') this.#status = 'E'
    return false
  }

  /** What was not yet read of the client would be read in silence. */
  settled(unread: Sent[]): boolean {
    return !this.copying && !this.skipping && unread.every(({ type }) => 'dcfH'.includes(type))
  }
}

const message = (type: string, ...outcomes: Outcome[]): Sent => ({ type, outcomes, bad: false })
const messages = (types: string) => [...types].map((type) => message(type))
const BAD_DATA: Sent = { ...message('d'), bad: true }

const data = fc.constantFrom([], messages('d'), messages('dd'))
const copyData = fc.constantFrom(...['', 'd', 'dd', 'S', 'dSd', 'SdHS', 'SS'].map(messages))
const outcome = fc.constantFrom<Outcome>('done', 'done', 'error', 'begin', 'commit')
const anyOutcome = fc.constantFrom<Outcome>(
  ...(['done', 'error', 'copy', 'copy', 'copyFailingAtOnce', 'copyFailingLate'] as const),
)
const query = fc
  .array(outcome, { minLength: 1, maxLength: 3 })
  .map((outcomes) => [message('Q', ...outcomes)])
const extended = fc
  .array(fc.tuple(fc.constantFrom(...'PBDEC'), outcome), { minLength: 1, maxLength: 4 })
  .map((parts) => [...parts.map(([type, one]) => message(type, one)), message('S')])
const bursts = fc.constantFrom('S', 'SS', 'SSS', 'H', 'c', 'df', 'HS').map(messages)
const end = fc.constantFrom<Sent[]>(messages('c'), messages('c'), messages('f'))

/** Copies whose Syncs, if there are any, stand where a copy that succeeds swallows or needs them. */
const copyByQuery = fc
  .tuple(data, fc.constantFrom<Sent[]>([], [BAD_DATA]), end, fc.nat(2), anyOutcome)
  .map(([before, bad, last, more, first]) => [
    message('Q', first, ...Array.from({ length: more }, (): Outcome => 'copy')),
    ...Array.from({ length: more + 1 }, () => [...before, ...bad, ...last]).flat(),
  ])
const copyByExecute = fc
  .tuple(data, fc.constantFrom<Sent[]>([], [BAD_DATA]), end, fc.boolean(), anyOutcome)
  .map(([before, bad, last, early, how]) => [
    ...messages('PB'),
    message('E', how),
    ...messages(early ? 'S' : 'H'),
    ...before,
    ...bad,
    ...last,
    message('S'),
    // A Sync too many cannot be told from one that is still to be answered, until there is an answer.
    message('Q', 'done'),
  ])
const copyWithSyncs = fc
  .tuple(copyData, fc.constantFrom<Sent[]>([], [BAD_DATA]), copyData, end, anyOutcome, fc.boolean())
  .map(([before, bad, after, last, how, byQuery]) => [
    ...(byQuery ? [message('Q', how)] : [...messages('PB'), message('E', how), message('S')]),
    ...before,
    ...bad,
    ...after,
    ...last,
    message('S'),
  ])
const stray = fc
  .tuple(fc.constantFrom(...'QFPBDECHSSSddcf'), anyOutcome, fc.boolean())
  .map(([type, one, bad]): Sent[] => [{ type, outcomes: [one], bad }])

const polite = fc.oneof(query, extended, bursts, copyByQuery, copyByExecute)
const orderly = fc.oneof(query, extended, bursts, copyByQuery, copyByExecute, copyWithSyncs)
const rude = fc.oneof(
  { weight: 1, arbitrary: polite },
  { weight: 1, arbitrary: copyWithSyncs },
  { weight: 4, arbitrary: stray },
)

const script = (step: fc.Arbitrary<Sent[]>) =>
  fc.array(step, { maxLength: 6 }).map((steps) => steps.flat())
const dialect = fc.constantFrom<Dialect>('postgresql', 'cockroachdb')
/** Who is next: the client sends, the node reads, or the phase hears of something the node said. */
const turns = fc.array(fc.constantFrom('send', 'read', 'hear', 'hear'), { maxLength: 60 })

const SETTLED = ['quiet', 'transaction', 'failed']
const STATUS: Record<string, string> = { ZI: 'quiet', ZT: 'transaction', ZE: 'failed' }

/** A session of client, phase and node, safe at every step. */
class Session {
  readonly phase = new Phase()
  readonly #node: ModelNode
  readonly #log: string[] = []
  #unread: Sent[] = []
  #status = 'quiet'

  constructor(dialect: Dialect) {
    this.#node = new ModelNode(dialect)
  }

  get dead(): boolean {
    return this.#node.dead
  }

  play(sends: Sent[], turns: string[]): void {
    const left = [...sends]
    for (const turn of turns) {
      if (turn === 'send') this.#send(left.shift())
      else if (turn === 'read') this.#read()
      else this.#hear()
    }
    for (const sent of left) this.#send(sent)
    while (this.#unread.length > 0 && !this.dead) this.#read()
    while (this.#node.said.length > 0 && !this.dead) this.#hear()
  }

  expectSettled(): void {
    if (!this.dead)
      expect(`${this.#log.join('')} ${this.phase.state}`).toBe(
        `${this.#log.join('')} ${this.#status}`,
      )
  }

  #send(sent: Sent | undefined): void {
    if (sent === undefined) return
    this.#log.push(`>${sent.type}`)
    this.phase.fromClient(sent.type.charCodeAt(0))
    this.#unread.push(sent)
    this.#expectSafe()
  }

  #read(): void {
    const sent = this.#unread.shift()
    if (sent !== undefined) this.#node.read(sent)
    this.#expectSafe()
  }

  #hear(): void {
    const said = this.#node.said.shift()
    if (said === undefined) return
    this.#log.push(`<${said}`)
    this.phase.fromNode(said.charCodeAt(0), said.length > 1 ? said.charCodeAt(1) : 0)
    this.#status = STATUS[said] ?? this.#status
    this.#expectSafe()
  }

  #expectSafe(): void {
    const { state } = this.phase
    if (this.dead || !SETTLED.includes(state)) return
    const silent = this.#node.said.length === 0 && this.#node.settled(this.#unread)
    expect([this.#log.join(''), silent, state]).toEqual([this.#log.join(''), true, this.#status])
  }
}

const RUNS = { numRuns: 3_000 }
const syncs = (sends: Sent[]) => sends.filter(({ type }) => type === 'S')

describe('against a model of the node', () => {
  test('a client that reads what it is owed finds the session settled', () => {
    fc.assert(
      fc.property(script(polite), dialect, turns, (sends, dialect, turns) => {
        const session = new Session(dialect)
        session.play(sends, turns)
        session.expectSettled()
      }),
      RUNS,
    )
  })

  test('a Sync and a Query settle it after any copy that failed', () => {
    fc.assert(
      fc.property(script(orderly), dialect, turns, (sends, dialect, turns) => {
        const session = new Session(dialect)
        session.play(sends, turns)
        session.play([message('S'), message('Q', 'done')], [])
        session.expectSettled()
      }),
      RUNS,
    )
  })

  test('whatever was sent, it is never called settled before it is, and can be settled', () => {
    fc.assert(
      fc.property(script(rude), dialect, turns, (sends, dialect, turns) => {
        const session = new Session(dialect)
        session.play(sends, turns)
        // One Sync for what is skipped, then more than may be waited for, so that none is mistaken.
        session.play([...messages('fSS'), ...syncs(sends), message('Q', 'done')], [])
        session.expectSettled()
      }),
      RUNS,
    )
  })
})
