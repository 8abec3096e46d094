/**
 * The heads of an audit stream that were kept elsewhere, to be found in it: they alone show that its end was
 * cut off, or that somebody who has the key wrote it anew.
 * Rule: of each chain the last head counts, since its code is made of all that came before it. Those of chains
 * from before the stream that is looked at don't count; from the first one that is in it on, all do.
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

  return {
    get found() {
      return found.size
    },
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
    end(): void {
      const all = [...wanted.values()]
      const first = all.findIndex(({ chain }) => left.has(chain))
      if (all.length === 0)
        book.note(undefined, 'no head was given: an end that was cut off does not show')
      else if (first < 0) book.find('cut', undefined, 'no head is of a chain that is here')
      else for (const head of all.slice(first)) if (!found.has(head.chain)) miss(head)
      if (found.size > 0 && since > 0)
        book.note(undefined, `${since} lines after the last head: nothing proves that no more came`)
    },
  }
}

function told({ chain, seq, at }: KnownHead): string {
  return `chain ${chain}, Seq ${seq}${at === undefined ? '' : `, kept at ${at}`}`
}
