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
  done(): { findings: Finding[]; more: number; notes: Note[] }
}

const LISTED_MAX = 1_000

export function openBook(): Book {
  const findings = new Set<Finding>()
  const notes: Note[] = []
  let more = 0
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
      if (notes.length < LISTED_MAX) notes.push({ place, says })
    },
    done: () => ({ findings: [...findings], more, notes }),
  }
}

export function shown({ file, line }: Place): string {
  return `${file}:${line}`
}
