/**
 * What the gate says to a client as a server would.
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 */
import { message } from './encode.ts'

export const SSL_ACCEPTED = Buffer.from('S')
export const ENCRYPTION_REFUSED = Buffer.from('N')

/** AuthenticationCleartextPassword: how a token is asked for. */
export const CLEARTEXT_PASSWORD = message('R', 3)
export const AUTHENTICATION_OK = message('R', 0)

/** What a client is told: an ErrorResponse's or a NoticeResponse's fields. */
export interface Report {
  severity: 'FATAL' | 'ERROR' | 'WARNING' | 'NOTICE'
  sqlstate: string
  message: string
  detail?: string | undefined
  hint?: string | undefined
}

export function errorResponse(report: Report): Buffer {
  return message('E', ...fields(report))
}

export function noticeResponse(report: Report): Buffer {
  return message('N', ...fields(report))
}

/** @param key - the process id's four bytes and the secret key's. */
export function backendKeyData(key: Buffer): Buffer {
  return message('K', key)
}

/** The client asked for a newer minor version, or for options that the gate doesn't know. */
export function negotiateProtocolVersion(minor: number, unknown: string[]): Buffer {
  return message('v', (3 << 16) | minor, unknown.length, ...unknown)
}

function fields(report: Report): (string | Buffer)[] {
  const { severity, sqlstate } = report
  const said = [`S${severity}`, `V${severity}`, `C${sqlstate}`, `M${clean(report.message)}`]
  if (report.detail !== undefined) said.push(`D${clean(report.detail)}`)
  if (report.hint !== undefined) said.push(`H${clean(report.hint)}`)
  return [...said, Buffer.from([0])]
}

/** A NUL would end the field early and let a client write the fields that follow. */
function clean(text: string): string {
  return text.replaceAll('\0', '\ufffd')
}
