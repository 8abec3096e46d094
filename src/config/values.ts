/**
 * The small value forms of the configuration file: durations, addresses, file names and modes. Each
 * is read from text once, with a sentence for what is wrong, and is a number or a record from then on.
 */
import { isIP } from 'node:net'
import { z } from 'zod'
import { shown } from './mistakes.ts'

const UNITS_MS = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
])
/** Below what a timer can wait: a longer one would fire at once. */
const DURATION_MS_MAX = 24 * 24 * 3_600_000
/** Below 32767 seconds, Linux's own bound. */
const KEEPALIVE_MS_MAX = 9 * 3_600_000

/** `15s`, `1m30s`, `500ms`: milliseconds. */
export const duration = form(
  'a duration; write one like 15s, 1m30s or 500ms, at most 24 days (576h)',
  parseDuration,
)

/** A duration that something waits for. */
export const timeout = form(
  'a time to wait; write one like 15s, 1m30s or 500ms, at least 1ms and at most 24 days (576h)',
  (text) => parseDuration(text) || undefined,
)

/** The system counts seconds here. */
export const keepalive = form(
  'a time between signs of life; write one like 30s or 2m, at least 1s and at most 9h',
  (text) => {
    const ms = parseDuration(text) ?? 0
    return ms >= 1_000 && ms <= KEEPALIVE_MS_MAX ? ms : undefined
  },
)

export interface HostPort {
  host: string
  port: number
}

/** `host:port` or `[::1]:port`. */
export const hostPort = form('an address; write host:port, like 127.0.0.1:26257', parseHostPort)

/** What a browser calls a host, in small letters. */
export const hostName = form(
  "a host's name; write one without a port, like gate.example.com",
  (text) => (/^[\w-]+(?:\.[\w-]+)*$/.test(text) ? text.toLowerCase() : undefined),
)

/** An address of the web. What somebody wrote is not shown: it may have a password in it. */
export const webAddress = z.string().transform((text, context) => {
  const url = URL.parse(text)
  const known = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (known && url.username === '' && url.password === '') return url.href
  context.addIssue('write a URL like http://127.0.0.1:4318/v1/traces, without a password')
  return z.NEVER
})

/** `host:port`, or `fd:3` and up: a socket that listens already, from whoever started the gate. */
export const listenAddress = form(
  'an address; write host:port, like 127.0.0.1:26257',
  (text): HostPort | { fd: number } | undefined => {
    if (!text.startsWith('fd:')) return parseHostPort(text)
    const fd = Number(/^fd:(\d{1,3})$/.exec(text)?.[1])
    return fd >= 3 ? { fd } : undefined
  },
)

/** `host:port`, or the absolute path of a unix socket. */
export const nodeAddress = form(
  "a node's address; write host:port or the path of its unix socket",
  (text): HostPort | { path: string } | undefined =>
    text.startsWith('/') ? { path: text } : parseHostPort(text),
)

/** An octal file mode in quotes, like '0770'. */
export const fileMode = form(
  "a file mode; write four octal digits in quotes, like '0770'",
  (text) => (/^0[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : undefined),
)

/** The name of a file. Its text in this place may be a key: it is never shown. */
export const fileName = z
  .string()
  .regex(/^[^\n\0]+$/, 'write the path of the file; the gate reads the file itself')

/** The name of a role. A NUL would end the string that a node is sent. */
export const roleName = z.string().regex(/^[^\0]+$/, 'write the name of a role')

export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

/** @param what - ends the sentence that begins with the value: `"x" is not …` */
export function form<T>(what: string, parse: (text: string) => T | undefined) {
  const problem = (input: unknown) => `${shown(input)} is not ${what}`
  const text = z.string({
    error: ({ input }) => (input === undefined || input === null ? undefined : problem(input)),
  })
  return text.transform((input, context): T => {
    const value = parse(input)
    if (value !== undefined) return value
    context.addIssue(problem(input))
    return z.NEVER
  })
}

function parseDuration(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) return undefined
  const ms = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (UNITS_MS.get(unit ?? '') ?? 0),
    0,
  )
  return ms <= DURATION_MS_MAX ? Math.round(ms) : undefined
}

export function parseHostPort(text: string): HostPort | undefined {
  const found = /^(?:\[([^\s[\]]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text)
  if (found === null) return undefined
  const [, ipv6, name, digits] = found
  const port = Number(digits)
  const host = ipv6 ?? name ?? ''
  return port <= 65_535 && (ipv6 === undefined || isIP(ipv6) === 6) ? { host, port } : undefined
}
