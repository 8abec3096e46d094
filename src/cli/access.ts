/**
 * `postern access`: entries of the allowlists and the denylist that gates share, for all of them at once:
 * written into their state as `postern revoke` does.
 * Rule: what an entry says is looked at before anybody is asked: its network, its cluster, its end.
 */
import type { Config } from '../config/config.ts'
import { check } from '../config/mistakes.ts'
import { network } from '../config/networks.ts'
import { type AccessEntry, clusterOf } from '../policy/lists.ts'
import { networkText } from '../policy/networks.ts'
import { counts } from '../policy/revocation.ts'
import { SHOWN_MAX } from '../state/changes.ts'
import { type EntryName, listEntries, putEntry, removeEntry } from '../state/entries.ts'
import type { HistoryEntry } from '../state/history.ts'
import { howSoon, inStateOf, timeText, usage } from './in_state.ts'
import { oneCluster, readConfig } from './serve.ts'
import { printable, type World } from './terminal.ts'

export interface AccessOptions {
  config: string
  cluster?: string
  /** In the place of a network: that the cluster has an allowlist. */
  nobody?: boolean
  /** Of a removal: also the last entry of an allowlist. */
  everybody?: boolean
  reason?: string
  /** Milliseconds since the epoch. */
  until?: number
}

const LIST = 'postern access list'

/** @throws Failure `usage`, `state_unusable`, or one of the configuration's */
export async function putIntoList(
  list: EntryName['list'],
  network: string | undefined,
  options: AccessOptions,
  world: World,
): Promise<void> {
  const config = readConfig(options.config, world)
  const { spelled, ...name } = nameOf(list, network, options, config)
  const about = clusterOf(name)
  if (about !== undefined) demandCluster(about, config)
  const { until, reason: why = '' } = options
  if (until !== undefined && until <= world.now())
    throw usage(`--until ${timeText(until / 1000)} is over already`)
  const entry = { ...name, why, until: until === undefined ? undefined : until / 1000 }
  await inStateOf(config, LIST, world, async (session) => {
    const written = await putEntry(session, entry, world.now(), said(list, name, world))
    world.stdout.write(`${list === 'deny' ? 'Denied' : 'Allowed'}: ${told(written)}\n`)
    if (list === 'allow') world.stdout.write(onlyThey(name.cluster))
    world.stdout.write(howSoon(session.dialect))
  })
}

/** @throws as `putIntoList` */
export async function takeFromList(
  list: EntryName['list'],
  network: string | undefined,
  options: AccessOptions,
  world: World,
): Promise<void> {
  const config = readConfig(options.config, world)
  const { spelled, ...name } = nameOf(list, network, options, config)
  await inStateOf(config, LIST, world, async (session) => {
    const last = options.everybody === true
    const gone = said(`remove ${list}`, name, world)
    if (!(await removeEntry(session, name, [name.item, spelled], last, gone)))
      throw usage(`there is no such entry; ${LIST}`)
    world.stdout.write(`Removed: ${list} ${named(name)}\n`)
    world.stdout.write(howSoon(session.dialect))
  })
}

/** @throws as `putIntoList` */
export async function listAccess(options: AccessOptions, world: World): Promise<void> {
  const config = readConfig(options.config, world)
  await inStateOf(config, LIST, world, async (session) => {
    const all = await listEntries(session)
    if (all.length === 0) world.stdout.write('Nobody is on a shared list.\n')
    for (const each of all) world.stdout.write(`${line(each, config, world.now())}\n`)
    if (all.length === SHOWN_MAX) world.stdout.write(`(the first ${SHOWN_MAX})\n`)
  })
}

/** @returns `spelled` - the item as it was given */
function nameOf(
  list: EntryName['list'],
  text: string | undefined,
  { cluster, nobody = false }: AccessOptions,
  config: Config,
): EntryName & { spelled: string } {
  if (list === 'deny') {
    if ((text === undefined) === (cluster === undefined))
      throw usage('say either a network, which is denied everywhere, or --cluster')
    if (text === undefined)
      return { list, kind: 'cluster', cluster: '', item: cluster ?? '', spelled: cluster ?? '' }
    return { list, kind: 'ip', cluster: '', ...itemOf(text) }
  }
  if ((text === undefined) !== nobody) throw usage('say either a network, or --nobody')
  const its = cluster ?? oneCluster(config, undefined).name
  if (text === undefined) return { list, kind: 'cluster', cluster: its, item: '', spelled: '' }
  return { list, kind: 'ip', cluster: its, ...itemOf(text) }
}

/** For the list of changes. */
function said(how: string, name: EntryName, { userName, now }: World): HistoryEntry {
  const statement = `postern access ${how}: ${named(name)}`
  const nowhere = { address: '', session: '', cluster: name.cluster }
  return { change: 'access', statement, who: userName, at: now() / 1000, ...nowhere }
}

function itemOf(text: string): { item: string; spelled: string } {
  const read = check(network, text)
  if (!read.ok) throw usage(read.mistakes.map(({ message }) => message).join('; '))
  return { item: networkText(read.value), spelled: text }
}

function demandCluster(name: string, { clusters }: Config): void {
  if (clusters.some((each) => each.name === name)) return
  const names = clusters.map((each) => each.name).join(', ')
  throw usage(`there is no cluster ${name} in this configuration; there is ${names}`)
}

function onlyThey(cluster: string): string {
  const name = printable(cluster)
  return `Cluster ${name} lets in whom its allowlists name, and nobody else.\n`
}

function line(entry: AccessEntry, { clusters }: Config, nowMs: number): string {
  const about = clusterOf(entry)
  const isThere = about === undefined || clusters.some(({ name }) => name === about)
  const marks = [
    ...(counts(entry, nowMs) ? [] : ['ended']),
    ...(isThere ? [] : ['no such cluster in this configuration']),
  ]
  const marked = marks.length === 0 ? '' : ` (${marks.join(', ')})`
  return printable(`${entry.list.padEnd(5)}  ${told(entry)}${marked}`)
}

function told({ until, why, ...name }: AccessEntry): string {
  const end = until === undefined ? '' : `, until ${timeText(until)}`
  return printable(`${named(name)}${end}${why === '' ? '' : `: ${why}`}`)
}

function named({ list, kind, cluster, item }: EntryName): string {
  if (list === 'deny') return printable(kind === 'ip' ? item : `cluster ${item}`)
  const whom = kind === 'ip' ? item : 'nobody but who is named'
  return printable(`cluster ${cluster}: ${whom}`)
}
