/**
 * `postern replay`: the logins of an audit stream, judged by another configuration, and what would change:
 * who would be refused, and by what; who would come in; and who can't be judged by what was written down.
 * Rule: nothing is fetched and nobody is asked.
 */
import { createReadStream } from 'node:fs'
import { resolve } from 'node:path'
import { inspectConfig } from '../config/config.ts'
import { Failure } from '../failure.ts'
import { type Recorded, readDecisions } from './explanation_record.ts'
import { instant } from './explanation_says.ts'
import { rejudge } from './replay_judge.ts'
import { outsideOf, readText } from './serve.ts'
import { printable, type World } from './terminal.ts'

export interface ReplayOptions {
  config: string
  audit: string
  /** Milliseconds since the epoch. */
  since?: number
  json?: boolean
}

/** Logins that change in the same way. */
interface Group {
  change: 'refused' | 'granted' | 'unknown'
  user: string
  cluster: string
  says: string
  logins: number
  /** The last of them. */
  requestId: string
  atMs: number
}

interface Counts {
  logins: number
  same: number
  refused: number
  granted: number
  unknown: number
}

const GROUPS_MAX = 10_000
const MARKS = { refused: '✗', granted: '✓', unknown: '?' }

/** @throws Failure `replay_differs`, `config_unreadable`, `config_invalid` */
export async function replay(options: ReplayOptions, world: World): Promise<void> {
  const { config: file, audit, since = 0, json } = options
  const { config } = inspectConfig(file, readText(file, world), outsideOf(world))
  const counts: Counts = { logins: 0, same: 0, refused: 0, granted: 0, unknown: 0 }
  const groups = new Map<string, Group>()
  for await (const login of decisions(audit, world)) {
    if (login.JudgedMs < since) continue
    counts.logins++
    const outcome = rejudge(login, config)
    if (outcome.kind === login.Result) {
      counts.same++
      continue
    }
    counts[outcome.kind]++
    note(groups, login, outcome.kind, saysOf(outcome, login))
  }
  const found = [...groups.values()].sort(inOrder)
  world.stdout.write(json ? toJson(counts, found) : toText(counts, found))
  const changes = counts.refused + counts.granted
  if (changes === 0) return
  const problem = `${changes} of ${counts.logins} logins would end otherwise`
  throw new Failure('replay_differs', { values: { problem } })
}

function saysOf(outcome: ReturnType<typeof rejudge>, { Failure: code }: Recorded): string {
  if (outcome.kind === 'unknown') return outcome.why
  return outcome.kind === 'granted' ? `refused then by ${code}` : `${outcome.code}: ${outcome.says}`
}

async function* decisions(file: string, world: World): AsyncGenerator<Recorded> {
  try {
    const stream: AsyncIterable<Uint8Array> =
      file === '-' ? world.stdin() : createReadStream(resolve(world.workingDirectory, file))
    yield* readDecisions(stream)
  } catch (thrown) {
    const name = file === '-' ? 'standard input' : file
    const { message } = thrown as Error
    throw new Failure('config_unreadable', { values: { file: name, problem: message } })
  }
}

/** Those beyond the bound are counted, and not listed. */
function note(
  groups: Map<string, Group>,
  { User: user, Cluster: cluster, SessionID: requestId, JudgedMs: atMs }: Recorded,
  change: Group['change'],
  says: string,
): void {
  const key = JSON.stringify([change, user, cluster, says])
  const group = groups.get(key)
  if (group === undefined && groups.size >= GROUPS_MAX) return
  const logins = (group?.logins ?? 0) + 1
  groups.set(key, { change, user, cluster, says, logins, requestId, atMs })
}

const ORDER = Object.keys(MARKS)

function inOrder(one: Group, other: Group): number {
  return ORDER.indexOf(one.change) - ORDER.indexOf(other.change) || other.logins - one.logins
}

function toText({ logins, same, refused, granted, unknown }: Counts, groups: Group[]): string {
  const lines = groups.map(({ change, user, cluster, says, logins: many, requestId, atMs }) => {
    const last = `${many === 1 ? '' : `${many} logins, the last `}${requestId} at ${instant(atMs / 1000)}`
    return `${MARKS[change]} ${user} on ${cluster || '?'} ${VERBS[change]}: ${says} (${last})`
  })
  const listed = groups.reduce((sum, each) => sum + each.logins, 0)
  const rest = refused + granted + unknown - listed
  const more = rest > 0 ? [`and ${rest} more`] : []
  const sum = `${logins} logins: ${same} as they were, ${refused} would be refused, ${granted} would come in, ${unknown} can't be judged`
  return `${[...lines, ...more, sum].map(printable).join('\n')}\n`
}

const VERBS = {
  refused: 'would be refused',
  granted: 'would come in',
  unknown: "can't be judged",
}

function toJson(counts: Counts, changes: Group[]): string {
  const clean = (_key: string, value: unknown) =>
    typeof value === 'string' ? printable(value) : value
  return `${JSON.stringify({ ...counts, changes }, clean, 2)}\n`
}
