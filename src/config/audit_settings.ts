/**
 * `audit` in the configuration file: where the stream goes, whether logins wait for it, and its seal.
 * Rule: whoever reads the seal's key can forge the stream, so a key that others can read is refused.
 */
import { z } from 'zod'
import { KEY_BYTES_MIN, keyIn, type SealKey, sealKey } from '../telemetry/seal.ts'
import { shown } from './mistakes.ts'
import type { Reading } from './nodes.ts'
import { certificateProblem } from './pem.ts'
import type { Complain } from './trust_settings.ts'
import { fileName, type HostPort, parseHostPort } from './values.ts'

export interface AuditPlan {
  to: AuditTo
  /** Whoever is let in waits until the line that says so is durable. */
  required: boolean
  seal: SealKey | undefined
  /** The file that the seal's heads are kept in. */
  anchor: string | undefined
}

export type AuditTo =
  | { kind: 'stdout' }
  | { kind: 'file'; path: string }
  /** Without `tls`, in clear. */
  | ({ kind: 'syslog'; tls: { ca: string | undefined } | undefined } & HostPort)

type Written =
  | { kind: 'stdout' }
  | { kind: 'file'; path: string }
  | ({ kind: 'syslog'; tls: boolean } & HostPort)

const NO_SYSLOG = 'no syslog server; write syslog+tls://host:6514 or syslog+tcp://host:601'

const destination = fileName.transform((text, context): Written => {
  if (text === 'stdout') return { kind: 'stdout' }
  const [, way, address = ''] = /^syslog(?:\+(\w*))?:(?:\/\/)?(.*)$/.exec(text) ?? []
  if (!text.startsWith('syslog+') && !text.startsWith('syslog:'))
    return { kind: 'file', path: text }
  const at = parseHostPort(address)
  if (at !== undefined && at.port !== 0 && (way === 'tls' || way === 'tcp'))
    return { kind: 'syslog', tls: way === 'tls', ...at }
  context.addIssue(`${shown(text)} is ${NO_SYSLOG}`)
  return z.NEVER
})

export const auditKeys = {
  to: destination.default({ kind: 'stdout' }),
  required: z.boolean().default(false),
  syslog_ca_file: fileName.optional(),
  seal: z.strictObject({ key_file: fileName }).optional(),
  anchor: fileName.optional(),
}

export const auditSection = z.strictObject(auditKeys)
export type AuditSection = z.output<typeof auditSection>

/** What no single key can know. */
export function checkAudit({ to, required, seal, anchor }: AuditSection, complain: Complain): void {
  if (required && to.kind === 'stdout')
    complain(
      ['audit', 'required'],
      'who reads stdout may lose what it has read; write a file, or a syslog server, in audit.to',
    )
  if (anchor !== undefined && seal === undefined)
    complain(['audit', 'anchor'], 'what is kept here is of a seal; write seal: {key_file}, too')
  if (anchor !== undefined && to.kind === 'file' && anchor === to.path)
    complain(['audit', 'anchor'], 'this is the audit stream itself; write another file')
}

/** @returns undefined after a complaint about what it names. */
export function readAudit(section: AuditSection, reading: Reading): AuditPlan | undefined {
  const { to, required, anchor, seal } = section
  const key = seal && readKey(seal.key_file, reading)
  const ca = readCa(section, reading)
  if (seal !== undefined && key === undefined) return undefined
  return {
    to:
      to.kind === 'file'
        ? { kind: 'file', path: reading.resolve(to.path) }
        : to.kind === 'syslog'
          ? { ...to, tls: to.tls ? { ca } : undefined }
          : to,
    required,
    seal: key,
    anchor: anchor && reading.resolve(anchor),
  }
}

function readCa({ syslog_ca_file: file }: AuditSection, { pem }: Reading): string | undefined {
  return file === undefined ? undefined : pem(['audit', 'syslog_ca_file'], file, certificateProblem)
}

function readKey(file: string, { text, isPrivate, complain }: Reading): SealKey | undefined {
  const path = ['audit', 'seal', 'key_file']
  try {
    const key = keyIn(text(file))
    if (!isPrivate(file)) complain(path, `${file} can be read by others; chmod 0600 ${file}`)
    else if (key !== undefined) return sealKey(key)
    else complain(path, `${file} is no key; ${HOW_TO_MAKE_ONE} ${file}`)
  } catch (thrown) {
    complain(path, `cannot read ${file}: ${(thrown as Error).message}`)
  }
  return undefined
}

const HOW_TO_MAKE_ONE = `write one line of at least ${KEY_BYTES_MIN} characters: openssl rand -hex 32 >`

/** What stays as it is while the gate runs: name, as it was opened, as it would be. */
export function auditCompared(opened: AuditPlan, next: AuditPlan): [string, unknown, unknown][] {
  return [
    ['audit.to', opened.to, next.to],
    ['audit.required', opened.required, next.required],
    ['audit.seal', opened.seal?.id, next.seal?.id],
    ['audit.anchor', opened.anchor, next.anchor],
  ]
}
