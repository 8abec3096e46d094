/**
 * An audit stream, held against its seal: which lines are missing, changed, out of their order or nobody's.
 * Pure: it is given line by line.
 * Rule: what can't be proven is never taken for good; what a crash does by itself is told apart from it.
 */
import type { KeyObject } from 'node:crypto'
import { type KnownHead, openHeadsToFind } from './heads_to_find.ts'
import type { Line } from './lines.ts'

import {
  type BeginRead,
  macOf,
  NO_MAC,
  type PreviousRead,
  readBegin,
  readSeal,
  type Sealed,
  VERSION,
} from './seal.ts'
import { isTorn } from './torn.ts'
import { type Finding, type Note, openBook, type Place, shown } from './verify_book.ts'

export interface Verified {
  lines: number
  sealed: number
  chains: { chain: string; keyId: string; from: number; to: number }[]
  /** As far as they are listed; `more` are not. */
  findings: Finding[]
  more: number
  notes: Note[]
  moreNotes: number
  /** How many heads were held against their lines. */
  heads: number
  /** What is said holds from here on: as was asked, or when the first line was written. ISO 8601. */
  from: string | undefined
}

type Read = Sealed & { text: Uint8Array }

/** Each line that comes late is looked for in all of them. */
const GAPS_MAX = 1_000
/** One after the other: a disk that is full for a while, and a crash. */
const TORN_MAX = 3

/** A chain whose end has not come yet. */
interface Open {
  id: string
  keyId: string
  /** Undefined where it isn't known: then only the numbers are looked at. */
  key: KeyObject | undefined
  from: number
  last: number
  /** Of the last line, as it stands there. */
  mac: Uint8Array
  place: Place
  /** As far as they are remembered. */
  missing: Gap[]
}

interface Gap {
  from: number
  to: number
  found: Finding
}

/** Lines one after the other that are not sealed. */
interface Run {
  from: Place
  to: Place
  lines: number
  torn: boolean
}

export class Verifier {
  readonly #keys: ReadonlyMap<string, KeyObject>
  readonly #book = openBook()
  readonly #heads: ReturnType<typeof openHeadsToFind>
  readonly #chains = new Map<string, Verified['chains'][number]>()
  /** The codes of the last two sealed lines. */
  #recent: [string | undefined, string | undefined] = [undefined, undefined]
  /** The line before all that was given, as the first of it names it. */
  #before: string | undefined
  /** The first chain that was given says that nothing came before it. */
  #fromNothing = false
  #open: Open | undefined
  /** The chain before it. */
  #ended: Open | undefined
  #from: string | undefined
  #run: Run | undefined
  #lines = 0
  #sealed = 0

  /**
   * @param keys - by their ids. @param known - heads, in the order in which they were kept.
   * @param sinceMs - chains whose heads were all kept before it are not asked for; since the epoch
   */
  constructor(keys: ReadonlyMap<string, KeyObject>, known: readonly KnownHead[], sinceMs?: number) {
    this.#keys = keys
    this.#heads = openHeadsToFind(known, this.#book, sinceMs)
    if (sinceMs !== undefined) this.#from = new Date(sinceMs).toISOString()
  }

  line(line: Line, place: Place): void {
    this.#lines++
    const read = line.tooLong ? undefined : readSeal(line.bytes)
    if (read === undefined) {
      const { from, torn, lines } = this.#run ?? { from: place, torn: true, lines: 0 }
      this.#run = { from, to: place, lines: lines + 1, torn: torn && isTorn(line) }
      return
    }
    const begin = read.seq === 0 ? readBegin(read.text) : undefined
    this.#endRun(begin)
    this.#sealed++
    this.#from ??= writtenAt(read.text)
    if (begin !== undefined) this.#begin(begin, read, place)
    else if (this.#open === undefined) this.#beginLate(read, place)
    else this.#follow(this.#open, read, place)
    if (read.mac === this.#before)
      this.#book.find('reordered', place, 'this line belongs before the first one that was given')
    this.#recent = [this.#recent[1], read.mac]
    this.#heads.pass(this.#open?.id ?? '', read, place)
  }

  end(): Verified {
    this.#endRun('end')
    this.#endChain()
    if (this.#sealed === 0)
      this.#book.find('unsealed', undefined, 'no line is sealed: nothing can be said')
    else this.#heads.end(this.#fromNothing)
    return {
      lines: this.#lines,
      sealed: this.#sealed,
      chains: [...this.#chains.values()],
      heads: this.#heads.found,
      from: this.#from,
      ...this.#book.done(),
    }
  }

  /** @param next - what comes behind it: the begin of a chain, another sealed line, or nothing. */
  #endRun(next: BeginRead | 'end' | undefined): void {
    if (this.#run === undefined) return
    const { from, to, torn, lines } = this.#run
    this.#run = undefined
    const many = lines === 1 ? 'this line is' : `from here to ${shown(to)} ${lines} lines are`
    const begin = next === 'end' ? undefined : next
    const isFirst = begin !== undefined && begin.previous === undefined && this.#sealed === 0
    if (torn && next !== undefined && lines <= TORN_MAX)
      this.#book.note(from, `${many} torn: ${next === 'end' ? TORN_AT_END : TORN_BEFORE}`)
    else if (isFirst) this.#book.note(from, `${many} not sealed: the seal was set later`)
    else this.#book.find('unsealed', from, `${many} not sealed: the gate did not write this`)
  }

  #begin({ version, chain, keyId, previous }: BeginRead, read: Read, place: Place): void {
    const isFirst = this.#sealed === 1
    this.#endChain()
    const key = version === VERSION ? this.#keys.get(keyId) : undefined
    if (version !== VERSION) this.#book.find('unknown_version', place, UNKNOWN_VERSION)
    else if (key === undefined)
      this.#book.find('unknown_key', place, `sealed with a key that was not given: ${keyId}`)
    else if (!fits(key, NO_MAC, read)) this.#book.find('changed', place, 'this line was changed')
    if (this.#chains.has(chain))
      this.#book.find('repeated', place, `the chain ${chain} is here a second time`)
    if (previous === undefined) {
      if (isFirst) this.#fromNothing = true
      else if (this.#heads.lack(chain))
        this.#book.find('unlinked', place, `${UNLINKED}, and no head is of it`)
      else this.#book.note(place, `${UNLINKED}: what was cut off there shows by a head alone`)
    } else if (isFirst) {
      this.#before = previous.mac
      this.#book.note(place, NOT_FROM_THE_BEGINNING)
    } else this.#link(previous, place)
    const { mac } = read
    this.#open = { id: chain, keyId, key, from: 0, last: 0, mac: bytesOf(mac), place, missing: [] }
  }

  /** A chain names the line before it. */
  #link({ chain = '', seq, mac }: PreviousRead, place: Place): void {
    const [before, last] = this.#recent
    if (mac === last) return
    if (seq <= (this.#chains.get(chain)?.to ?? -1)) this.#book.note(place, BY_A_HEAD)
    else if (mac === before) this.#unacknowledged(place)
    else this.#book.find('removed', place, `lines are missing before this one, up to Seq ${seq}`)
  }

  /** A chain names the line before the last one. */
  #unacknowledged(place: Place): void {
    const { id = '', last = 0 } = this.#ended ?? {}
    if (this.#heads.covers(id, last)) this.#book.find('unlinked', place, PUT_BACK)
    else this.#book.note(place, UNACKNOWLEDGED)
  }

  #beginLate({ seq, mac }: Read, place: Place): void {
    const says = `the beginning of its chain is missing: this line is Seq ${seq}`
    this.#book.find('removed', place, says)
    const key = this.#keys.size === 1 ? [...this.#keys.values()][0] : undefined
    const open = { id: '', keyId: '', key, place, missing: [] }
    this.#open = { ...open, from: seq, last: seq, mac: bytesOf(mac) }
  }

  #follow(open: Open, read: Read, place: Place): void {
    const { seq, mac } = read
    if (seq <= open.last) {
      this.#outOfOrder(open, seq, place)
      return
    }
    if (seq > open.last + 1) {
      const found = this.#book.find('removed', place, '')
      open.missing.push(told({ from: open.last + 1, to: seq - 1, found }))
      open.missing.length = Math.min(open.missing.length, GAPS_MAX)
    } else if (open.key !== undefined && !fits(open.key, open.mac, read))
      this.#book.find('changed', place, `Seq ${seq} was changed, or is not the one that was here`)
    // What comes next follows the code that stands here: one change is told once.
    Object.assign(open, { last: seq, mac: bytesOf(mac), place })
  }

  #outOfOrder(open: Open, seq: number, place: Place): void {
    const at = open.missing.findIndex(({ from, to }) => from <= seq && seq <= to)
    const gap = open.missing[at]
    if (gap === undefined) {
      this.#book.find('repeated', place, `Seq ${seq} is here a second time`)
      return
    }
    this.#book.find('reordered', place, `Seq ${seq} stands behind Seq ${open.last}`)
    const { from, to, found } = gap
    const left = [
      { from, to: seq - 1 },
      { from: seq + 1, to },
    ].filter((each) => each.from <= each.to)
    this.#book.drop(found)
    const again = () => this.#book.find('removed', found.place, '')
    open.missing.splice(at, 1, ...left.map((each) => told({ ...each, found: again() })))
    open.missing.length = Math.min(open.missing.length, GAPS_MAX)
  }

  #endChain(): void {
    if (this.#open === undefined) return
    const { id: chain, keyId, from, last: to, place } = this.#open
    this.#chains.set(chain, { chain, keyId, from, to })
    this.#heads.leave(chain, to, place)
    this.#ended = this.#open
    this.#open = undefined
  }
}

const TORN_BEFORE =
  'the gate stopped, or could not write, in the middle of a line; nobody was let in by it'
const TORN_AT_END = 'the gate or its machine stopped, or its disk was full, in the middle of a line'
const UNLINKED = 'the chain that begins here does not know what came before it'
const BY_A_HEAD =
  'the chain that begins here names a head of before: that no more came behind the last line above shows by nothing'
const UNACKNOWLEDGED =
  'the line before this one was written whole, and the chain that begins here does not know of it: it may not have been acknowledged'
const PUT_BACK =
  'the chain that begins here does not know the line before this one, of which there is a head: it was not there then'
const NOT_FROM_THE_BEGINNING = 'what was written before this line was not given, and not looked at'
const UNKNOWN_VERSION = 'a seal of a version that this Postern does not know'

/** As it stands there: the gate writes milliseconds, and six zeros behind them. */
function writtenAt(text: Uint8Array): string | undefined {
  const begins = Buffer.from(text.subarray(0, BEGINS_MAX)).toString('latin1')
  const [, ms] = /^\{"channel":"SESSIONS","Timestamp":(\d{1,15})0{6},/.exec(begins) ?? []
  return ms === undefined ? undefined : new Date(Number(ms)).toISOString()
}

const BEGINS_MAX = 64

function fits(key: KeyObject, previous: Uint8Array, { mac, text }: Read): boolean {
  return macOf(key, previous, text).toString('base64url') === mac
}

function told(gap: Gap): Gap {
  const { from, to, found } = gap
  const which = from === to ? `Seq ${from} is` : `Seq ${from} to ${to} are`
  found.says = `${which} missing before this line`
  return gap
}

function bytesOf(mac: string): Uint8Array {
  return Buffer.from(mac, 'base64url')
}
