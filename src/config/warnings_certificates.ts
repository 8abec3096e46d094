/**
 * Certificates and keys that work today and will not, or not for everybody.
 * https://www.rfc-editor.org/rfc/rfc6125 (names), RFC 5280 section 4.1.2.5 (times)
 * Rule: where several are trusted the last to end counts; where they are a chain, the first.
 */
import { X509Certificate } from 'node:crypto'
import { certificatesIn } from './pem.ts'
import type { Look, Warn } from './warnings.ts'

const DAY_MS = 86_400_000
const SOON_DAYS = 30
/** The longest that public authorities have issued since 2020; some clients refuse more. */
const LONG_DAYS = 398

export function warnOfListenerCertificate(
  path: PropertyKey[],
  file: string,
  look: Look,
  warn: Warn,
): void {
  const chain = read(file, look)
  const [leaf] = chain
  if (leaf === undefined) return
  const end = ending(Math.min(...chain.map(endMs)), look)
  if (end !== undefined) warn(path, `${file} ${end}, and clients refuse it then; renew it`)
  if (Date.parse(leaf.validFrom) > look.now())
    warn(
      path,
      `${file} is not valid before ${day(Date.parse(leaf.validFrom))}; clients refuse it until then`,
    )
  if (leaf.subjectAltName === undefined)
    warn(
      path,
      `${file} has no subjectAltName, where clients look for the name they connect to; issue one that has it there`,
    )
  const days = Math.round((endMs(leaf) - Date.parse(leaf.validFrom)) / DAY_MS)
  if (days > LONG_DAYS)
    warn(
      path,
      `${file} is good for ${days} days: a stolen key is as well, and some clients refuse more than ${LONG_DAYS}; issue it for less`,
    )
}

export function warnOfKeyFile(path: PropertyKey[], file: string, look: Look, warn: Warn): void {
  const mode = look.fileMode(file)
  if ((mode & 0o077) === 0) return
  const octal = mode.toString(8).padStart(4, '0')
  warn(
    path,
    `${file} has mode ${octal}, so that others than its owner get at it; chmod 0600 ${file}`,
  )
}

/** The nodes' CAs, or the clients': an old one beside its successor is a rotation. */
export function warnOfTrusted(path: PropertyKey[], file: string, look: Look, warn: Warn): void {
  const end = ending(Math.max(...read(file, look).map(endMs)), look)
  if (end !== undefined)
    warn(path, `${file} ${end}, and what it has signed is refused then; add its successor`)
}

/**
 * The CA that signs, and those between it and a root.
 * @param then - what becomes of things when it has ended.
 */
export function warnOfAuthority(
  path: PropertyKey[],
  file: string,
  then: string,
  look: Look,
  warn: Warn,
): void {
  const end = ending(Math.min(...read(file, look).map(endMs)), look)
  if (end !== undefined)
    warn(path, `${file} ${end}, and ${then} then; postern ca rotate replaces it`)
}

function read(file: string, look: Look): X509Certificate[] {
  return certificatesIn(look.readFile(file)).map((block) => new X509Certificate(block))
}

function endMs({ validTo }: X509Certificate): number {
  return Date.parse(validTo)
}

/** A verb and when, for an end that is near or past. */
function ending(endMs: number, { now }: Look): string | undefined {
  const leftMs = endMs - now()
  if (leftMs >= SOON_DAYS * DAY_MS) return undefined
  if (leftMs <= 0) return `ended on ${day(endMs)}`
  const days = Math.floor(leftMs / DAY_MS)
  return `ends on ${day(endMs)}, in ${days === 1 ? '1 day' : `${days} days`}`
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
