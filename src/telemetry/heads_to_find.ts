/**
 * The heads of an audit stream that were kept elsewhere, to be found in it: they alone show that its end was
 * cut off, or that somebody who has the key wrote it anew.
 * Rule: each of them is held against its line, since whoever has the key adds later ones of his own; and each
 * chain that has one is asked for, but for those in front of all that are here that were kept before a time
 * that is told.
 */
import type { Head, Sealed } from './seal.ts'
import type { Book, Place } from './verify_book.ts'

export interface KnownHead extends Head {
  /** When it was kept, as it is told. */
  at?: string | undefined
}

/** A chain's heads. */
interface Wanted {
  bySeq: Map<number, KnownHead>
  last: KnownHead
}

/**
 * @param known - in the order in which they were kept.
 * @param sinceMs - chains in front of the first one that is here, whose heads were all kept before it, may be
 *   missing; milliseconds since the epoch
 */
export function openHeadsToFind(known: readonly KnownHead[], book: Book, sinceMs?: number) {
  const wanted = byChain(known, book)
  const left = new Map<string, { last: number; place: Place }>()
  let found = 0
  let since = 0

  function miss({ last: head }: Wanted): void {
    const here = left.get(head.chain)
    if (here === undefined) book.find('cut', undefined, `a whole chain is missing: ${told(head)}`)
    // With later lines here it is missing in their midst, and that was told.
    else if (here.last < head.seq)
      book.find('cut', here.place, `the end is missing behind Seq ${here.last}: ${told(head)}`)
  }

  function before(older: readonly Wanted[], fromNothing: boolean): void {
    if (older.length === 0) return
    const says = `${many(older)} of chains from before these files: ${ASK}`
    const but = fromNothing ? 'the first chain says that nothing came before it, but ' : ''
    book.find('cut', undefined, `${but}${says}`)
  }

  return {
    get found() {
      return found
    },
    /** There are heads, and none is of this chain. */
    lack: (chain: string) => wanted.size > 0 && !wanted.has(chain),
    /** A head says that this line, or one behind it, was durable. */
    covers: (chain: string, seq: number) => (wanted.get(chain)?.last.seq ?? -1) >= seq,
    /** A line comes by. */
    pass(chain: string, { seq, mac }: Sealed, place: Place): void {
      since++
      const head = wanted.get(chain)?.bySeq.get(seq)
      if (head === undefined) return
      since = 0
      found++
      if (head.mac !== mac)
        book.find('changed', place, `this is not the line that a head names: ${told(head)}`)
    },
    /** A chain is over. */
    leave: (chain: string, last: number, place: Place) => void left.set(chain, { last, place }),
    /** @param fromNothing - the first chain says that nothing came before it */
    end(fromNothing: boolean): void {
      const all = [...wanted.values()]
      const first = all.findIndex(({ last }) => left.has(last.chain))
      const older = all.slice(0, first)
      const old = older.filter((chain) => isBefore(chain, sinceMs))
      const young = older.filter((chain) => !isBefore(chain, sinceMs))
      if (all.length === 0)
        book.note(undefined, 'no head was given: an end that was cut off does not show')
      else if (first < 0) book.find('cut', undefined, 'no head is of a chain that is here')
      else {
        for (const chain of all.slice(first)) miss(chain)
        before(young, fromNothing)
        if (old.length > 0)
          book.note(undefined, `${many(old)} of chains that are not asked for: from before --since`)
      }
      if (found > 0 && since > 0)
        book.note(undefined, `${since} lines after the last head: nothing proves that no more came`)
    },
  }
}

const ASK = 'give the files before them too, or say --since TIME where these begin'

function byChain(known: readonly KnownHead[], book: Book): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>()
  for (const head of known) {
    const chain = wanted.get(head.chain)
    const same = chain?.bySeq.get(head.seq)
    if (chain === undefined)
      wanted.set(head.chain, { bySeq: new Map([[head.seq, head]]), last: head })
    else if (same === undefined) put(chain, head)
    else if (same.mac !== head.mac)
      book.find('changed', undefined, `two heads contradict each other: ${told(head)}`)
  }
  return wanted
}

function put(chain: Wanted, head: KnownHead): void {
  chain.bySeq.set(head.seq, head)
  if (chain.last.seq < head.seq) chain.last = head
}

/** All of them: whoever may append could add one that is older. */
function isBefore({ bySeq }: Wanted, sinceMs = Number.NEGATIVE_INFINITY): boolean {
  for (const { at = '' } of bySeq.values()) if (!(Date.parse(at) < sinceMs)) return false
  return true
}

function many(chains: readonly Wanted[]): string {
  let heads = 0
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { bySeq } of chains)
    for (const { at = '' } of bySeq.values()) {
      const ms = Date.parse(at)
      heads++
      if (ms < from) from = ms
      if (ms > to) to = ms
    }
  const [first, last] = from <= to ? [new Date(from).toISOString(), new Date(to).toISOString()] : []
  const when = first === last ? `at ${first}` : `from ${first} to ${last}`
  const kept = first === undefined ? '' : `, kept ${when},`
  return heads === 1 ? `1 head${kept} is` : `${heads} heads${kept} are`
}

function told({ chain, seq, at }: KnownHead): string {
  return `chain ${chain}, Seq ${seq}${at === undefined ? '' : `, kept at ${at}`}`
}
