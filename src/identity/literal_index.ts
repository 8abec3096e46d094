/**
 * Which of thousands of patterns are worth running on a principal. Every pattern is filed under three
 * characters that all its matches contain, the rarest it has; a lookup looks at what is filed under
 * the threes of the principal. Reads RE2's syntax: https://github.com/google/re2/wiki/Syntax
 * The one rule: claim a literal only where the pattern's text is plainly understood. One too few
 * costs time, one too many keeps a user out.
 */

/** What every match begins with, ends with and contains; '' where nothing is known. */
export interface RequiredLiterals {
  prefix: string
  suffix: string
  inner: string
}

interface Item {
  required: RequiredLiterals
}

/** Answers with the items that may match a principal, in no particular order. */
export function indexByLiterals<T extends Item>(items: readonly T[]): (principal: string) => T[] {
  const uses = countUses(items)
  const filed = new Map<string, T[]>()
  const unfiled: T[] = []
  for (const item of items) {
    const key = rarest(threesOf(item.required), uses)
    if (key === undefined) unfiled.push(item)
    else file(filed, key, item)
  }
  return (principal) => {
    const found = unfiled.filter((item) => mayMatch(item, principal))
    for (const three of threes(principal)) {
      for (const item of filed.get(three) ?? []) if (mayMatch(item, principal)) found.push(item)
    }
    return found
  }
}

/**
 * The literals of a pattern that RE2 has accepted. `whole`: it is matched against the whole
 * principal; only then do its first and last characters have to be the principal's.
 */
export function requiredLiterals(pattern: string, whole: boolean): RequiredLiterals {
  const runs = literalText(pattern).split(GAP)
  const inner = runs.reduce((longest, run) => (run.length > longest.length ? run : longest), '')
  if (!whole) return { prefix: '', suffix: '', inner }
  return { prefix: runs[0] ?? '', suffix: runs.at(-1) ?? '', inner }
}

function countUses(items: readonly Item[]): Map<string, number> {
  const uses = new Map<string, number>()
  for (const item of items) {
    for (const three of threesOf(item.required)) uses.set(three, (uses.get(three) ?? 0) + 1)
  }
  return uses
}

function rarest(keys: Iterable<string>, uses: Map<string, number>): string | undefined {
  let best: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const key of keys) {
    const count = uses.get(key) ?? 0
    if (count < least) [best, least] = [key, count]
  }
  return best
}

function file<T>(filed: Map<string, T[]>, key: string, item: T): void {
  const there = filed.get(key)
  if (there === undefined) filed.set(key, [item])
  else there.push(item)
}

function mayMatch({ required }: Item, principal: string): boolean {
  return (
    principal.startsWith(required.prefix) &&
    principal.endsWith(required.suffix) &&
    principal.includes(required.inner)
  )
}

function threesOf({ prefix, suffix, inner }: RequiredLiterals): Set<string> {
  return new Set([...threes(prefix), ...threes(suffix), ...threes(inner)])
}

/** Every run of three code units, once. */
function threes(text: string): Set<string> {
  const found = new Set<string>()
  for (let at = 0; at + 3 <= text.length; at += 1) found.add(text.slice(at, at + 3))
  return found
}

/** Stands for characters that may be anything. A NUL in a pattern counts as one: less is claimed. */
const GAP = '\0'

/**
 * One token of a pattern. Left out on purpose, so that a pattern that has them claims nothing:
 * flags such as `(?i)`, `\Q…\E`, characters by number.
 */
const TOKEN = new RegExp(
  [
    String.raw`(?<nothing>[\^$]|\\[AzbB])`,
    String.raw`(?<quantifier>[*+?]\??|\{\d+(?:,\d*)?\}\??)`,
    String.raw`(?<gap>[.{]|\\[dDsSwWafnrtv]|\\[pP](?:\{[^}]*\}|.)|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])`,
    String.raw`(?<open>\((?!\?)|\(\?(?::|P?<\w+>))`,
    String.raw`(?<close>\))`,
    String.raw`(?<bar>\|)`,
    String.raw`\\(?<escaped>[^a-zA-Z0-9])`,
    String.raw`(?<plain>[^\\^$.|?*+()[{])`,
  ].join('|'),
  'gsuy',
)

interface Group {
  items: string[]
  alternates: boolean
}

/** The characters that every match has, in order, gaps between them; one gap when in doubt. */
function literalText(pattern: string): string {
  const outer: Group[] = []
  let group: Group = { items: [], alternates: false }
  let read = 0
  for (const token of pattern.matchAll(TOKEN)) {
    read += token[0].length
    const { quantifier, gap, open, close, bar, escaped, plain } = token.groups ?? {}
    if (open !== undefined) {
      outer.push(group)
      group = { items: [], alternates: false }
    } else if (close !== undefined) {
      const closed = textOf(group)
      group = outer.pop() ?? { items: [], alternates: true }
      group.items.push(closed)
    } else if (quantifier !== undefined) group.items.splice(-1, 1, GAP)
    else if (gap !== undefined) group.items.push(GAP)
    else if (bar !== undefined) group.alternates = true
    else group.items.push(escaped ?? plain ?? '')
  }
  return read === pattern.length ? textOf(group) : GAP
}

function textOf({ items, alternates }: Group): string {
  return alternates ? GAP : items.join('')
}
