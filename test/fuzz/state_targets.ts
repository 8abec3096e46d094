/**
 * What gates share, as a node has it: rows of anything, which are known or end the reading; and what is
 * written there, read as the node would read it.
 */
import fc from 'fast-check'
import type { Row } from '../../src/cluster/query.ts'
import { type AccessEntry, keptOut, openAccessLists } from '../../src/policy/lists.ts'
import { type Revocation, type RevocationKind, revocationsOf } from '../../src/policy/revocation.ts'
import { lift, revoke } from '../../src/state/changes.ts'
import { putEntry, removeEntry } from '../../src/state/entries.ts'
import type { StateSession } from '../../src/state/session.ts'
import { entryOf, readAll, revocationOf, SCHEMA, TEXT_BYTES_MAX } from '../../src/state/tables.ts'
import type { Dialect } from '../../src/wire/options.ts'
import { anyCharacters, oddText } from './made_up.ts'
import { blockOf, networkText } from './near_networks.ts'
import {
  eventually,
  must,
  mustEqual,
  type Outcome,
  outcome,
  type Target,
  target,
} from './target.ts'

const NOW_MS = 1_800_000_000_000
const KINDS: readonly RevocationKind[] = ['token', 'digest', 'session', 'subject', 'issuer', 'all']

/** A column that may be missing, or NULL. */
function column(text: fc.Arbitrary<string>): fc.Arbitrary<string | null | undefined> {
  return fc.oneof(
    { weight: 8, arbitrary: text },
    { weight: 1, arbitrary: fc.constantFrom(null, undefined) },
  )
}

const bigint = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('0', '-1', '1800000000', '1800000001', '4102444800') },
  { weight: 1, arbitrary: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String) },
)
/** What no bigint is. */
const noBigint = fc.constantFrom('', ' ', 'soon', 'NaN', '1e3', 'Infinity', '0x10', '1.5')
const time = column(fc.oneof({ weight: 12, arbitrary: bigint }, { weight: 1, arbitrary: noBigint }))
const text = column(oddText)

const revocationRow = fc.record({
  kind: fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...KINDS) }, oddText),
  issuer: text,
  value: text,
  before: time,
  until: time,
  why: text,
})
const entryRow = fc.record({
  list: fc.oneof({ weight: 12, arbitrary: fc.constantFrom('allow', 'deny') }, oddText),
  kind: fc.oneof({ weight: 12, arbitrary: fc.constantFrom('ip', 'ip', 'cluster') }, oddText),
  cluster: column(fc.constantFrom('', 'main')),
  item: column(networkText),
  until: time,
  why: text,
})
type Given = Record<string, string | null | undefined>

/** Without those that are missing. */
function rowOf(given: Given): Row {
  return Object.fromEntries(Object.entries(given).filter(([, each]) => each !== undefined)) as Row
}

type Column = string | null | undefined
const isTime = (text: Column) => text === null || text === undefined || /^-?\d+$/.test(text)
const numberIn = (text: Column) => (text === null || text === undefined ? undefined : Number(text))

const oneRevocation = target('state/revocation', revocationRow, (given) => {
  const read = outcome(() => revocationOf(rowOf(given)), ['state_unusable'])
  const { kind, issuer, value, before, until, why } = given
  const isKnown = KINDS.some((each) => each === kind)
  mustEqual('value' in read, isKnown && isTime(before) && isTime(until), 'what is known')
  if (!('value' in read)) return
  const texts = { kind, issuer: issuer ?? '', value: value ?? '', why: why ?? '' }
  const times = { before: numberIn(before), until: numberIn(until) }
  mustEqual(read.value, { ...texts, ...times }, 'the row')
})

const oneEntry = target('state/entry', entryRow, (given) => {
  const read = outcome(() => entryOf(rowOf(given)), ['state_unusable'])
  const { list, kind, item } = given
  const isKnown = ['allow', 'deny'].includes(list) && ['ip', 'cluster'].includes(kind)
  const isItem = kind !== 'ip' || blockOf(item ?? '') !== undefined
  mustEqual('value' in read, isKnown && isItem && isTime(given.until), 'what is known')
  if (!('value' in read)) return
  const { cluster, why, until } = given
  const texts = { list, kind, cluster: cluster ?? '', item: item ?? '', why: why ?? '' }
  mustEqual(read.value, { ...texts, until: numberIn(until) }, 'the row')
})

/** A node that has these, page by page. */
function nodeWith(tables: Record<'revocations' | 'access_entries', readonly Row[]>) {
  const left = new Map(Object.entries(tables).map(([name, rows]) => [`postern_${name}`, [...rows]]))
  return async (sql: string): Promise<Row[]> => {
    const [, page, cursor] = /^FETCH (\d+) FROM (\w+)$/.exec(sql) ?? []
    if (cursor !== undefined) return left.get(cursor)?.splice(0, Number(page)) ?? []
    return sql.startsWith('SELECT number') ? [{ number: '7' }] : []
  }
}

/** All of it, or nothing. */
const snapshots = target(
  'state/snapshot',
  fc.tuple(fc.array(revocationRow, { maxLength: 3 }), fc.array(entryRow, { maxLength: 3 })),
  async ([revocations, entries]) => {
    const rows = { revocations: revocations.map(rowOf), access_entries: entries.map(rowOf) }
    const read = await eventually(readAll(nodeWith(rows), NOW_MS), ['state_unusable'])
    const each = outcome(
      () => ({
        number: '7',
        revocations: rows.revocations.map(revocationOf),
        entries: rows.access_entries.map(entryOf),
        settings: [],
      }),
      ['state_unusable'],
    )
    mustEqual(read, each, 'as each row is read')
    if (!('value' in read)) {
      const { says } = read
      return must(says.startsWith('the shared state ') && says.length < 1_000, 'its words', says)
    }
    revocationsOf(read.value.revocations, NOW_MS)
    const lists = openAccessLists(read.value.entries)
    for (const { list, kind, item, until = Infinity } of read.value.entries) {
      if (list !== 'deny' || kind !== 'cluster' || until * 1000 <= NOW_MS) continue
      const said = keptOut([lists], { address: undefined, cluster: item }, NOW_MS)
      must(said !== undefined, 'a cluster that is denied', item)
    }
  },
)

/** The texts in quotes of a statement, as PostgreSQL reads them with standard_conforming_strings. */
function literalsOf(sql: string): string[] {
  const found: string[] = []
  for (let at = sql.indexOf("'"); at >= 0; at = sql.indexOf("'", at)) {
    let text = ''
    for (at += 1; sql[at] !== "'" || sql[at + 1] === "'"; at += 1) {
      must(at < sql.length, 'a quote without an end', sql)
      text += sql[at]
      if (sql[at] === "'") at += 1
    }
    found.push(text)
    at += 1
  }
  return found
}

const longText = fc.oneof(
  { weight: 8, arbitrary: oddText },
  { weight: 3, arbitrary: fc.constantFrom("'", "''", "\\'", "'; DROP TABLE x; --", '$$', "E'\\'") },
  { weight: 2, arbitrary: anyCharacters(40) },
  { weight: 1, arbitrary: fc.nat(30).map((more) => 'é'.repeat(TEXT_BYTES_MAX / 2 - 15 + more)) },
)
const seconds = fc.oneof(
  fc.constantFrom(undefined, 0, 1_800_000_000, 0.5, -1.5, 2 ** 53, 1e300, Number.NaN, Infinity),
  fc.double(),
)
const dialect = fc.constantFrom('postgresql' as const, 'cockroachdb' as const)
const revocation = fc.record<Revocation>({
  kind: fc.constantFrom(...KINDS),
  issuer: longText,
  value: longText,
  before: seconds,
  until: seconds,
  why: longText,
})

/** A node that answers each statement by this row; and what it was asked. */
function recording(dialect: Dialect, row: Row) {
  const asked: string[] = []
  const ask = async (sql: string): Promise<Row[]> => {
    asked.push(sql)
    return [row]
  }
  const session = { ask, dialect } as Partial<StateSession> as StateSession
  /** The texts in the statements that have this word. */
  const texts = (word: string) => asked.filter((sql) => sql.includes(word)).flatMap(literalsOf)
  return { asked, session, texts }
}

/** What a row can hold is written as it is, in one transaction, and for everything else nobody is asked. */
function judgeWritten(
  done: Outcome<unknown>,
  { asked, texts }: ReturnType<typeof recording>,
  [values, times]: [texts: readonly string[], times: readonly (number | undefined)[]],
  table = 'revocations',
): void {
  const fits = (text: string) => !text.includes('\0') && Buffer.byteLength(text) <= TEXT_BYTES_MAX
  const isWhole = (at = 0) => Number.isSafeInteger(Math.ceil(at))
  mustEqual('value' in done, values.every(fits) && times.every(isWhole), 'what no row holds')
  if (!('value' in done)) {
    mustEqual(asked, [], 'asked before it was looked at')
    return
  }
  mustEqual(texts(`INSERT INTO ${SCHEMA}.${table}`), values, 'the texts that the node reads')
  must(asked[0] === 'BEGIN' && asked.at(-1) === 'COMMIT', 'one transaction', asked)
}

const revoking = target(
  'state/revoking',
  fc.tuple(revocation, longText, dialect),
  async ([what, who, dialect]) => {
    const { kind, issuer, value, why, before, until } = what
    const node = recording(dialect, { rows: '1', kind })
    const done = await eventually(revoke(node.session, what, who, NOW_MS), ['usage'])
    judgeWritten(done, node, [
      [kind, issuer, value, why, who],
      [before, until],
    ])
    if (!('value' in done)) return
    node.asked.length = 0
    await lift(node.session, what, who, NOW_MS)
    mustEqual(node.texts('DELETE'), [kind, issuer, value], 'what is lifted')
  },
)

const goodNetwork = networkText.filter((text) => blockOf(text) !== undefined)
const entry: fc.Arbitrary<AccessEntry> = fc
  .record({
    list: fc.constantFrom('allow' as const, 'deny' as const),
    kind: fc.constantFrom('ip' as const, 'cluster' as const),
    cluster: longText,
    item: longText,
    network: goodNetwork,
    until: seconds,
    why: longText,
  })
  .map(({ network, ...entry }) => ({ ...entry, item: entry.kind === 'ip' ? network : entry.item }))

const listing = target('state/listing', fc.tuple(entry, longText, dialect), async (given) => {
  const [what, spelling, dialect] = given
  const { list, kind, cluster, item, why, until } = what
  const node = recording(dialect, { rows: '1', list, kind, cluster, item, why, until: null })
  const done = await eventually(putEntry(node.session, what, NOW_MS), ['usage'])
  judgeWritten(done, node, [[list, kind, cluster, item, why], [until]], 'access_entries')
  if (!('value' in done)) return
  mustEqual(done.value, { ...what, until: undefined }, 'what the node has now')
  node.asked.length = 0
  const gone = await eventually(removeEntry(node.session, what, [item, spelling], true), ['usage'])
  if ('value' in gone)
    mustEqual(node.texts('DELETE'), [list, kind, cluster, item, spelling], 'what is taken out')
  else mustEqual(node.asked, [], 'asked before it was looked at')
})

export const stateTargets: Target[] = [oneRevocation, oneEntry, snapshots, revoking, listing]
