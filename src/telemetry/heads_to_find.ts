/**
 * The heads of an audit stream that were kept elsewhere, to be found in it: they alone show that its end was
 * cut off, or that somebody who has the key wrote it anew.
 * Rule: of each chain the last head counts, since its code is made of all that came before it. From the first
 * one on that is in the stream all have to be there; those of chains from before it are told.
 */
import type { Head, Sealed } from './seal.ts'
import type { Book, Place } from './verify_book.ts'

export interface KnownHead extends Head {
  /** When it was kept, as it is told. */
  at?: string | undefined
}

/** @param known - in the order in which they were kept. */
export function openHeadsToFind(known: readonly KnownHead[], book: Book) {
  const wanted = new Map<string, KnownHead>()
  for (const head of known) {
    const before = wanted.get(head.chain)
    if (before === undefined || before.seq < head.seq) wanted.set(head.chain, head)
    else if (before.seq === head.seq && before.mac !== head.mac)
      book.find('changed', undefined, `two heads contradict each other: ${told(head)}`)
  }
  const left = new Map<string, { last: number; place: Place }>()
  const found = new Set<string>()
  let since = 0

  function miss(head: KnownHead): void {
    const here = left.get(head.chain)
    if (here === undefined) book.find('cut', undefined, `a whole chain is missing: ${told(head)}`)
    // With later lines here it is missing in their midst, and that was told.
    else if (here.last < head.seq)
      book.find('cut', here.place, `the end is missing behind Seq ${here.last}: ${told(head)}`)
  }

  function before(older: readonly KnownHead[], fromNothing: boolean): void {
    const last = older.at(-1)
    if (last === undefined) return
    const many = older.length === 1 ? '1 head is of a chain' : `${older.length} heads are of chains`
    const says = `${many} from before what was given, the last one: ${told(last)}`
    if (fromNothing)
      book.find('cut', undefined, `the first chain says that nothing came before it, but ${says}`)
    else book.note(undefined, says)
  }

  return {
    get found() {
      return found.size
    },
    /** There are heads, and none is of this chain. */
    lack: (chain: string) => wanted.size > 0 && !wanted.has(chain),
    /** A line comes by. */
    pass(chain: string, { seq, mac }: Sealed, place: Place): void {
      since++
      const head = wanted.get(chain)
      if (head?.seq !== seq) return
      since = 0
      found.add(chain)
      if (head.mac !== mac)
        book.find('changed', place, `this is not the line that a head names: ${told(head)}`)
    },
    /** A chain is over. */
    leave: (chain: string, last: number, place: Place) => void left.set(chain, { last, place }),
    /** @param fromNothing - the first chain says that nothing came before it */
    end(fromNothing: boolean): void {
      const all = [...wanted.values()]
      const first = all.findIndex(({ chain }) => left.has(chain))
      if (all.length === 0)
        book.note(undefined, 'no head was given: an end that was cut off does not show')
      else if (first < 0) book.find('cut', undefined, 'no head is of a chain that is here')
      else {
        for (const head of all.slice(first)) if (!found.has(head.chain)) miss(head)
        before(all.slice(0, first), fromNothing)
      }
      if (found.size > 0 && since > 0)
        book.note(undefined, `${since} lines after the last head: nothing proves that no more came`)
    },
  }
}

function told({ chain, seq, at }: KnownHead): string {
  return `chain ${chain}, Seq ${seq}${at === undefined ? '' : `, kept at ${at}`}`
}
