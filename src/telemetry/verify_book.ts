/** What is found while a stream is verified, within a bound: what is wrong, and what one should know of it. */

export interface Place {
  file: string
  line: number
}

export type Kind =
  | 'removed'
  | 'changed'
  | 'reordered'
  | 'repeated'
  | 'unsealed'
  | 'unlinked'
  | 'cut'
  | 'unknown_key'
  | 'unknown_version'

export interface Finding {
  kind: Kind
  /** Undefined where it is about no line that is there. */
  place: Place | undefined
  says: string
}

/** No proof against the stream. */
export type Note = Omit<Finding, 'kind'>

export interface Book {
  find(kind: Kind, place: Place | undefined, says: string): Finding
  /** It was none after all. */
  drop(finding: Finding): void
  note(place: Place | undefined, says: string): void
  /** `more` and `moreNotes` are not listed; notes without a place come first, and all of them. */
  done(): { findings: Finding[]; more: number; notes: Note[]; moreNotes: number }
}

const LISTED_MAX = 1_000

export function openBook(): Book {
  const findings = new Set<Finding>()
  const [ofAll, ofPlaces]: [Note[], Note[]] = [[], []]
  let more = 0
  let moreNotes = 0
  return {
    find(kind, place, says) {
      const finding = { kind, place, says }
      if (findings.size < LISTED_MAX) findings.add(finding)
      else more++
      return finding
    },
    drop(finding) {
      if (!findings.delete(finding)) more--
    },
    note(place, says) {
      if (place === undefined) ofAll.push({ place, says })
      else if (ofPlaces.length < LISTED_MAX) ofPlaces.push({ place, says })
      else moreNotes++
    },
    done: () => ({ findings: [...findings], more, notes: [...ofAll, ...ofPlaces], moreNotes }),
  }
}

export function shown({ file, line }: Place): string {
  return `${file}:${line}`
}
