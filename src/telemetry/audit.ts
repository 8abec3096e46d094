/**
 * The audit stream (JSON lines): for those who ask afterwards. It has one writer, in the primary; a line is
 * written before its effect, in the form in which it may be shown, and sealed where there is a key.
 * Rule: a line that could not be written breaks the chain: the next one begins another, which names the last
 * line that was.
 */
import { openRandomBytes } from '../random.ts'
import type { AuditSink } from './audit_file.ts'
import type { AuditEvent } from './events.ts'
import { shownTo } from './line.ts'
import {
  type Chain,
  type Head,
  openChain,
  readSeal,
  type SealBegin,
  type Sealed,
  type SealKey,
  VERSION,
  type Why,
} from './seal.ts'

/**
 * Writes a line, or throws. Nothing that it tells of may happen before what is returned has resolved: where
 * lines have to be durable, that takes a moment.
 * @param worker - the number of whose line it is
 */
export type AuditWriter = (worker: number, event: AuditEvent) => Promise<void> | undefined

export interface Audit {
  write: AuditWriter
  /** Of what was written; undefined before a line was sealed. */
  head(): Head | undefined
  /** Resolves when what was written is durable. */
  sync(): Promise<void>
  /** What is written to could be read, and has a last line that is sealed. */
  readonly knowsLast: boolean
  /** The first line names this one: the last that was kept elsewhere. */
  follow(head: Head | undefined): void
  /** Where the file has another name by now (logrotate), it is begun anew. @returns whether it was */
  reopen(): boolean
  /** What was there before ends in the middle of a line. */
  readonly foundTorn: boolean
  /** @returns how many lines are lost by it */
  close(): Promise<number>
}

export interface AuditOptions {
  seal?: SealKey | undefined
  /** What a line tells of waits until the line is durable. */
  required?: boolean
}

/** Timestamp is in nanoseconds since the epoch, as CockroachDB writes it; InstanceID is the worker. */
export function openAudit(
  to: AuditSink,
  now: () => number,
  { seal, required = false }: AuditOptions = {},
): Audit {
  const lineOf = (worker: number, event: AuditEvent | SealBegin) =>
    // By hand: so many nanoseconds are more than a number of JavaScript's holds.
    `{"channel":"SESSIONS","Timestamp":${now()}000000,"InstanceID":${worker},${JSON.stringify(event).slice(1)}\n`
  const begin = (event: SealBegin) => lineOf(0, event)
  const found = to.found?.()
  const last = found && readSeal(found.line)
  const sealed = seal && openSealing(to, seal, begin, last)
  const out = shownTo(sealed ?? to)
  const sync = async () => {
    const chain = sealed?.head()?.chain
    try {
      await to.sync?.()
    } catch (thrown) {
      // What was written before may be lost. Of those who wait for it the first one breaks it, and not the next.
      if (chain === sealed?.head()?.chain) sealed?.break('failure', false)
      throw thrown
    }
  }
  const durable = async () => {
    if (to.sync === undefined)
      throw new Error("nothing says when the audit stream's lines are durable")
    await sync()
  }
  return {
    write(worker, event) {
      out.write(lineOf(worker, event))
      return required && hasEffect(event) ? durable() : undefined
    },
    head: () => sealed?.head(),
    sync,
    reopen() {
      const isAnother = to.reopen?.() ?? false
      if (isAnother) sealed?.break('file')
      return isAnother
    },
    knowsLast: last !== undefined,
    follow: (head) => sealed?.follow(head),
    foundTorn: found?.torn ?? false,
    close: async () => (await to.close?.()) ?? 0,
  }
}

/** Nothing comes of an end, or of a no. */
function hasEffect(event: AuditEvent): boolean {
  if (event.EventType === 'login_decision') return event.Result !== 'refused'
  return (
    event.EventType !== 'client_session_end' && event.EventType !== 'client_authentication_failed'
  )
}

/** @param first - the line that was there last, if it was sealed. */
function openSealing(
  to: AuditSink,
  seal: SealKey,
  lineOf: (begin: SealBegin) => string,
  first: Sealed | undefined,
) {
  const random = openRandomBytes()
  let previous: Sealed | undefined = first
  /** The last line as it was kept elsewhere: there may have been more. */
  let kept: Head | undefined
  let chain: Chain | undefined
  /** Of the chain before, until there is a line in the next one. */
  let closed: Head | undefined
  let why: Why = 'start'

  const put = (into: Chain, line: string) => {
    const next = into.next(line)
    to.write(next.line)
    next.written()
  }
  const begin = (): Chain => {
    const id = random(ID_BYTES).toString('hex')
    const fresh = openChain(seal, id)
    const Previous = namesOf(previous ?? kept, previous === undefined ? kept?.chain : undefined)
    const names = { Version: VERSION, Chain: id, KeyID: seal.id, Why: why, Previous } as const
    put(fresh, lineOf({ EventType: 'seal_begin', ...names }))
    return fresh
  }
  /** @param isSure - what was written before is there, or a sync will say otherwise. */
  const breakChain = (how: Why, isSure = true) => {
    previous = chain?.head ?? previous
    closed = isSure ? (chain?.head ?? closed) : undefined
    chain = undefined
    why = how
  }
  return {
    write(line: string): void {
      try {
        chain ??= begin()
        put(chain, line)
      } catch (thrown) {
        breakChain('failure')
        throw thrown
      }
    },
    head: () => chain?.head ?? closed,
    follow(head: Head | undefined): void {
      kept = head
    },
    break: breakChain,
  }
}

function namesOf(line: Sealed | undefined, chain: string | undefined): SealBegin['Previous'] {
  if (line === undefined) return null
  return { ...(chain !== undefined && { Chain: chain }), Seq: line.seq, Mac: line.mac }
}

const ID_BYTES = 8
