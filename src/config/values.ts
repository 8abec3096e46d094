/**
 * The small value forms of the configuration file: durations, addresses, file modes. Each is read
 * from text once, with a sentence for what is wrong, and is a number or a record from then on.
 */
import { isIP } from 'node:net'
import { z } from 'zod'

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** `15s`, `1m30s`, `500ms`: milliseconds. */
export const duration = z.string().transform((text, context) => {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    context.addIssue(`${quote(text)} is not a duration; write one like 15s, 1m30s or 500ms`)
    return z.NEVER
  }
  return parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (UNITS_MS[unit ?? ''] ?? 0),
    0,
  )
})

export interface HostPort {
  host: string
  port: number
}

/** `host:port` or `[::1]:port`. */
export const hostPort = z.string().transform((text, context): HostPort => {
  const found = parseHostPort(text)
  if (found !== undefined) return found
  context.addIssue(`${quote(text)} is not an address; write host:port, like 127.0.0.1:26257`)
  return z.NEVER
})

/** `host:port`, or the absolute path of a unix socket. */
export const nodeAddress = z.string().transform((text, context): HostPort | { path: string } => {
  const found = text.startsWith('/') ? { path: text } : parseHostPort(text)
  if (found !== undefined) return found
  context.addIssue(
    `${quote(text)} is not a node's address; write host:port or the path of its unix socket`,
  )
  return z.NEVER
})

/** An octal file mode in quotes, like '0770'. */
export const fileMode = z.string().transform((text, context) => {
  if (/^0[0-7]{3}$/.test(text)) return Number.parseInt(text, 8)
  context.addIssue(
    `${quote(text)} is not a file mode; write four octal digits in quotes, like '0770'`,
  )
  return z.NEVER
})

export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

function parseHostPort(text: string): HostPort | undefined {
  const found = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text)
  if (found === null) return undefined
  const [, ipv6, name, digits] = found
  const port = Number(digits)
  const host = ipv6 ?? name ?? ''
  return port <= 65_535 && (ipv6 === undefined || isIP(ipv6) === 6) ? { host, port } : undefined
}

export function quote(text: string): string {
  return JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 80)}…`)
}
