/**
 * The phase beside a model of the node's main loop, which may fail, copy and answer as it likes, with
 * any delay in between: many more orders of events than a real node would show (phase_postgresql).
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Phase } from '../../src/wire/phase.ts'

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
    const copies = outcome.startsWith('copy') && this.#status !== 'E'
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

  /** With the implicit transaction gone, a Sync has nothing left to fail in. */
  #fail(): false {
    this.said.push('E')
    this.#unsynced = false
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

/**
 * Of the Syncs in a copy that fails nobody knows how many are answered, until something else is. And
 * in a failed transaction none succeeds.
 */
const settling = (copy: Sent[], fails: boolean) =>
  fails ? [...copy, message('Q', 'done')] : [message('Q', 'commit'), ...copy]
const copyByQuery = fc
  .tuple(copyData, fc.constantFrom<Sent[]>([], [BAD_DATA]), end, fc.nat(2), anyOutcome)
  .map(([data, bad, last, more, first]) => {
    const copies = Array.from({ length: more + 1 }, () => [...data, ...bad, ...last]).flat()
    const outcomes = [first, ...Array.from({ length: more }, (): Outcome => 'copy')]
    const fails = bad.length > 0 || last[0]?.type === 'f' || first !== 'copy'
    return settling([message('Q', ...outcomes), ...copies], fails)
  })
const copyByExecute = fc
  .tuple(copyData, fc.constantFrom<Sent[]>([], [BAD_DATA]), end, fc.boolean(), anyOutcome)
  .map(([data, bad, last, early, how]) => {
    const copy = [...data, ...bad, ...last, message('S')]
    const fails = bad.length > 0 || last[0]?.type === 'f' || how !== 'copy'
    const begin = [...messages('PB'), message('E', how), ...messages(early ? 'S' : 'H')]
    return settling([...begin, ...copy], fails)
  })
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
  fc.array(step, { maxLength: 10, size: 'max' }).map((steps) => steps.flat())
const dialect = fc.constantFrom<Dialect>('postgresql', 'cockroachdb')
/** Who is next: the client sends, the node reads, or the phase hears of something the node said. */
const turns = fc.array(fc.constantFrom('send', 'read', 'hear', 'hear'), {
  maxLength: 80,
  size: 'max',
})

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
