/** A sealed audit stream as the gate writes it, and what is found of it. */
import { readFileSync } from 'node:fs'
import { Secret } from '../../src/secret.ts'
import { type Audit, type AuditOptions, openAudit } from '../../src/telemetry/audit.ts'
import { openAuditStream } from '../../src/telemetry/audit_file.ts'
import type { KnownHead } from '../../src/telemetry/heads_to_find.ts'
import { linesOf } from '../../src/telemetry/lines.ts'
import { sealKey } from '../../src/telemetry/seal.ts'
import { Verifier } from '../../src/telemetry/verify.ts'
import { shown } from '../../src/telemetry/verify_book.ts'

export const KEY_TEXT = '0123456789abcdef0123456789abcdef'
export const KEY = sealKey(new Secret(KEY_TEXT))
export const NOW = 1_700_000_000_000

export function openSealed(path: string, options: AuditOptions = { seal: KEY }): Audit {
  return openAudit(openAuditStream(path), () => NOW, options)
}

export function say(audit: Pick<Audit, 'write'>, ...sessions: string[]): void {
  for (const SessionID of sessions)
    audit.write(1, { EventType: 'client_session_end', SessionID } as never)
}

/** @returns what is wrong, as `kind place`, and how many notes there are. */
export async function verify(
  texts: string | string[],
  heads: (KnownHead | undefined)[] = [],
  keys = new Map([[KEY.id, KEY.key]]),
  sinceMs?: number,
) {
  const known = heads.filter((head) => head !== undefined)
  const verifier = new Verifier(keys, known, sinceMs)
  for (const [file, text] of [texts].flat().entries()) {
    let line = 0
    for await (const each of linesOf(streamOf(text)))
      verifier.line(each, { file: `${file}`, line: ++line })
  }
  const { findings, ...verified } = verifier.end()
  const wrong = findings.map(({ kind, place }) => `${kind} ${place ? shown(place) : ''}`.trim())
  return { ...verified, findings, wrong }
}

async function* streamOf(text: string) {
  yield Buffer.from(text)
}

export function textOf(path: string): string {
  return readFileSync(path, 'utf8')
}
