/**
 * The audit stream as a running gate has it: its writer, its file begun anew when somebody moved it, and its
 * head kept elsewhere. Rule: what is wrong with it is in the log, once.
 */
import type { AuditPlan } from '../config/audit_settings.ts'
import { asFailure } from '../failure.ts'
import type { Metric } from '../peers/messages.ts'
import { anchorFile } from './anchor.ts'
import { type AuditWriter, openAudit } from './audit.ts'
import type { AuditSink } from './audit_file.ts'
import { type HeadPlace, type Heads, lastKept, openHeads } from './heads.ts'
import type { KnownHead } from './heads_to_find.ts'
import type { Logger } from './log.ts'
import type { Head } from './seal.ts'

export interface Trail {
  write: AuditWriter
  /** Somebody may have moved the file (logrotate): then it is begun anew. */
  reopen(): void
  /**
   * The seal's head is kept from now on, in the file that is configured for it and in what gates share. The
   * last one that is there is what the first line names, where the stream can't be read: call it before one.
   */
  keepHeads(state: StateForHeads | undefined): Promise<void>
  /** Keeps the last head, and ends it all. */
  close(): Promise<void>
}

export interface StateForHeads {
  keepHead(head: Head, gate: string): Promise<void>
  lastHead(gate: string): Promise<KnownHead | undefined>
}

export interface TrailParts {
  /** Of this machine: gates that share a state are told apart by it. */
  hostName: string
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  count(metric: Metric): void
  /** Milliseconds since the epoch. */
  now(): number
}

export function openTrail(
  { seal, required, anchor }: AuditPlan,
  to: AuditSink,
  { hostName, log, count, now }: TrailParts,
): Trail {
  const audit = openAudit(to, now, { seal, required })
  let heads: Heads | undefined
  if (audit.foundTorn) log.warn('the audit stream ended in the middle of a line: it is left there')
  to.onTrouble?.((problem) =>
    problem === undefined
      ? log.info('the audit stream is taken again')
      : log.error(`the audit stream is not taken: ${problem}`),
  )
  return {
    write: audit.write,
    reopen() {
      try {
        if (!audit.reopen()) return
        log.info('the audit stream goes on in a new file')
        heads?.keep()
      } catch (thrown) {
        log.error(`the audit stream stays in the old file: ${asFailure(thrown).message}`)
      }
    },
    async keepHeads(state) {
      if (seal === undefined) return
      const places = [
        ...(anchor === undefined ? [] : [anchorFile(anchor, now)]),
        ...(state === undefined ? [] : [inState(state, hostName)]),
      ]
      if (!audit.knowsLast) audit.follow(await lastKept(places, log))
      heads = openHeads({ ...audit, places, log, count })
    },
    async close() {
      await heads?.close()
      const lines = await audit.close()
      if (lines === 0) return
      count({ name: 'audit_failed', lines })
      log.error(`the audit stream is closed, and its last ${lines} lines were not taken`)
    },
  }
}

function inState({ keepHead, lastHead }: StateForHeads, gate: string): HeadPlace {
  return { name: 'state', keep: (head) => keepHead(head, gate), last: () => lastHead(gate) }
}
