/**
 * `postern audit verify`: is this what the gate wrote, all of it, and nothing else? By the seal's key, and by
 * heads that were kept elsewhere. `postern audit heads` prints those that gates keep in their shared state.
 * Rule: 0 is said only where everything was looked at and nothing is wrong.
 */
import { createReadStream, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Failure } from '../failure.ts'
import { readHeads } from '../state/heads.ts'
import { openStateSession, toFailure } from '../state/session.ts'
import { headIn } from '../telemetry/anchor.ts'
import type { KnownHead } from '../telemetry/heads_to_find.ts'
import { linesOf } from '../telemetry/lines.ts'
import { keyIn, sealKey } from '../telemetry/seal.ts'
import { type Verified, Verifier } from '../telemetry/verify.ts'
import { shown } from '../telemetry/verify_book.ts'
import { keptBy } from './in_state.ts'
import { readConfig } from './serve.ts'
import { printable, type World } from './terminal.ts'

export interface VerifyOptions {
  keyFile: string[]
  /** Files of heads, or heads themselves: `chain:seq:mac`. */
  head?: string[]
  /** Older chains whose heads were all kept before it are not asked for; milliseconds since the epoch. */
  since?: number
  json?: boolean
}

export interface HeadsOptions {
  config: string
  gate?: string
}

const HEAD = /^([0-9a-f]{16}):(\d{1,15}):([\w-]{43})$/

/**
 * @param files - of one stream, the oldest first; `-` is standard input.
 * @throws Failure `audit_broken`, `config_unreadable`, `usage`
 */
export async function auditVerify(
  files: readonly string[],
  { keyFile, head = [], since, json }: VerifyOptions,
  world: World,
): Promise<void> {
  if (since !== undefined && since > world.now())
    throw new Failure('usage', { values: { problem: '--since: write a time that is over' } })
  const keys = new Map(keyFile.map((file) => keyOf(file, world)))
  let heads: KnownHead[] = []
  const skipped: string[] = []
  for (const each of head) {
    const given = await headsIn(each, world)
    heads = heads.concat(given.heads)
    if (given.others > 0) skipped.push(`no head is in ${count(given.others, 'line')} of ${each}`)
  }
  const verifier = new Verifier(keys, heads, since)
  for (const file of files) {
    let number = 0
    for await (const line of reading(file, world))
      verifier.line(line, { file: file === '-' ? 'standard input' : file, line: ++number })
  }
  const verified = verifier.end()
  verified.notes.unshift(...skipped.map((says) => ({ place: undefined, says })))
  world.stdout.write(json ? toJson(verified) : toText(verified))
  const many = verified.findings.length + verified.more
  if (many === 0) return
  const problem = `this is not what the gate wrote: ${many} ${many === 1 ? 'thing is' : 'things are'} wrong`
  throw new Failure('audit_broken', { values: { problem } })
}

/** @throws Failure `usage`, `state_unusable`, or one of a node's or the configuration's */
export async function auditHeads({ config, gate }: HeadsOptions, world: World): Promise<void> {
  const { state, nodes } = keptBy(readConfig(config, world))
  try {
    const session = await openStateSession(nodes, state, world.stop)
    const heads = await readHeads(session.ask, gate).finally(() => session.close())
    for (const { at, gate: Gate, chain, seq, mac } of heads)
      world.stdout.write(`${JSON.stringify({ At: at, Gate, Chain: chain, Seq: seq, Mac: mac })}\n`)
  } catch (thrown) {
    throw toFailure(thrown)
  }
}

function keyOf(file: string, world: World) {
  const key = keyIn(readFile(file, world))
  if (key === undefined) throw unreadable(file, 'it holds no key of a seal')
  const { id, key: opened } = sealKey(key)
  return [id, opened] as const
}

function readFile(file: string, world: World): string {
  try {
    return readFileSync(resolve(world.workingDirectory, file), 'utf8')
  } catch (thrown) {
    throw unreadable(file, (thrown as Error).message)
  }
}

/** @returns `others` - how many lines are none: torn ones, and what doesn't belong there */
async function headsIn(given: string, world: World) {
  const [, chain, seq, mac] = HEAD.exec(given) ?? []
  if (chain !== undefined && mac !== undefined)
    return { heads: [{ chain, seq: Number(seq), mac }], others: 0 }
  const heads: KnownHead[] = []
  let others = 0
  for await (const { bytes } of reading(given, world)) {
    const head = headIn(bytes.toString())
    if (head === undefined) others += bytes.length === 0 ? 0 : 1
    else heads.push(head)
  }
  if (heads.length === 0) throw unreadable(given, 'it holds no head, and is none (chain:seq:mac)')
  return { heads, others }
}

async function* reading(file: string, world: World) {
  try {
    const stream: AsyncIterable<Uint8Array> =
      file === '-' ? world.stdin() : createReadStream(resolve(world.workingDirectory, file))
    yield* linesOf(stream)
  } catch (thrown) {
    throw thrown instanceof Failure ? thrown : unreadable(file, (thrown as Error).message)
  }
}

function toText(verified: Verified): string {
  const { lines, sealed, chains, findings, more, notes, moreNotes, heads, from } = verified
  const on = from === undefined ? '' : `, from ${from} on`
  const told = [
    ...findings.map(({ kind, place, says }) => `✗ ${kind}: ${at(place)}${says}`),
    ...(more === 0 ? [] : [`✗ and ${more} more`]),
    ...notes.map(({ place, says }) => `· ${at(place)}${says}`),
    ...(moreNotes === 0 ? [] : [`· and ${moreNotes} more`]),
    `${count(lines, 'line')}, ${sealed} sealed, in ${count(chains.length, 'chain')}; ${count(heads, 'head')} found`,
    ...(findings.length === 0 ? [`✓ this is what the gate wrote${on}`] : []),
  ]
  return `${told.map(printable).join('\n')}\n`
}

function at(place: Verified['findings'][number]['place']): string {
  return place === undefined ? '' : `${shown(place)}: `
}

function count(many: number, what: string): string {
  return `${many} ${what}${many === 1 ? '' : 's'}`
}

function toJson(verified: Verified): string {
  const clean = (_key: string, value: unknown) =>
    typeof value === 'string' ? printable(value) : value
  return `${JSON.stringify(verified, clean, 2)}\n`
}

function unreadable(file: string, problem: string): Failure {
  return new Failure('config_unreadable', { values: { file, problem } })
}
