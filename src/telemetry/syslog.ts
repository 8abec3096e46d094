/**
 * A syslog server that takes the audit stream: RFC 5424 messages over TCP or TLS, each with its length before
 * it (RFC 6587 section 3.4.1, RFC 5425). What it hasn't taken yet is kept, within a bound, and sent again
 * over the next connection. One counts once it has lasted a moment: a balancer without a server behind it
 * takes connections as well, and closes them.
 * Rule: a line is never dropped in silence. Where there is no room for it `write` throws, and nobody is let
 * in by it; what `sync` has waited for was given to the connection, and no more can be known of a server
 * that answers nothing.
 */
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { AuditSink } from './audit_file.ts'

export interface SyslogServer {
  host: string
  port: number
  /** Undefined for a connection in clear; without `ca` the system's are good. */
  tls: { ca: string | undefined } | undefined
}

export interface SyslogParts {
  /** Of this machine; a message says where it is from. */
  hostName: string
  /** Milliseconds since the epoch. */
  now(): number
  /** How long a connection may hold a line without taking it, in milliseconds. */
  takenMs?: number
  /** How long a connection has to last before it is given a line, in milliseconds. */
  lastsMs?: number
}

/** authpriv (10), informational (6): RFC 5424 section 6.2.1. */
const PRIORITY = 10 * 8 + 6
const WAITING_BYTES_MAX = 16 * 1024 * 1024
const CONNECT_MS = 10_000
const TAKEN_MS = 5_000
const LASTS_MS = 1_000
const CLOSE_MS = 3_000
const KEEPALIVE_MS = 30_000
const BACKOFF_MS = { min: 100, max: 5_000 }
/** Of one time that it is away. */
const TOLD_MAX = 10

export function openSyslog(server: SyslogServer, parts: SyslogParts): AuditSink {
  return new Syslog(server, parts)
}

interface Waiting {
  frame: Buffer
  /** It was given to the connection that there is now. */
  given: boolean
}

interface Wait {
  upTo: number
  settle(lost?: Error): void
}

class Syslog implements AuditSink {
  readonly #server: SyslogServer
  readonly #parts: SyslogParts
  /** What no connection has taken, the oldest first. */
  #waiting: Waiting[] = []
  #bytes = 0
  #socket: Socket | undefined
  /** One that is `new` has to last yet. */
  #connection: 'none' | 'new' | 'up' = 'none'
  #closing = false
  #backoffMs = BACKOFF_MS.min
  #again: NodeJS.Timeout | undefined
  /** Runs while the connection has a line that it has not taken. */
  #stuck: NodeJS.Timeout | undefined
  #trouble: string | undefined
  /** Since it was last up: what is wrong may be one thing now, and then another. */
  readonly #told = new Set<string>()
  #heard: (problem: string | undefined) => void = () => undefined
  /** How many lines there were, and how many of them were taken. */
  #lines = 0
  #taken = 0
  readonly #waits = new Set<Wait>()

  constructor(server: SyslogServer, parts: SyslogParts) {
    this.#server = server
    this.#parts = parts
    this.#connect()
  }

  onTrouble(heard: (problem: string | undefined) => void): void {
    this.#heard = heard
    if (this.#trouble !== undefined) heard(this.#trouble)
  }

  write(line: string): void {
    const frame = framed(line, this.#parts)
    if (this.#closing) throw new Error('the syslog connection is closed')
    if (this.#bytes + frame.length > WAITING_BYTES_MAX)
      throw new Error(`the syslog server has not taken ${this.#bytes} bytes of lines`)
    this.#waiting.push({ frame, given: false })
    this.#lines++
    this.#bytes += frame.length
    this.#give()
  }

  async sync(): Promise<void> {
    // At the beginning nothing is wrong yet, and the first connection is waited for; a new one later as well.
    if (this.#connection === 'none' && this.#trouble !== undefined)
      throw new Error(`the syslog server is not connected: ${this.#trouble}`)
    if (this.#waiting.length > 0) await this.#wait(this.#parts.takenMs ?? TAKEN_MS)
  }

  async close(): Promise<number> {
    const isThere = this.#socket !== undefined
    if (isThere && this.#waiting.length > 0) await this.#wait(CLOSE_MS).catch(() => undefined)
    const lost = this.#closing ? 0 : this.#waiting.length
    this.#closing = true
    clearTimeout(this.#again)
    clearTimeout(this.#stuck)
    this.#socket?.destroySoon()
    return lost
  }

  /** For all that waits now. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (lost?: Error) => {
        clearTimeout(timer)
        this.#waits.delete(wait)
        if (lost === undefined) resolve()
        else reject(lost)
      }
      const late = new Error(`the syslog server took nothing for ${ms / 1000} s`)
      const timer = setTimeout(settle, ms, late)
      const wait = { upTo: this.#lines, settle }
      this.#waits.add(wait)
    })
  }

  #connect(): void {
    const { host, port, tls } = this.#server
    let lasted: NodeJS.Timeout | undefined
    const opened = () => {
      this.#connection = 'new'
      const ms = this.#parts.lastsMs ?? LASTS_MS
      lasted = setTimeout(() => this.#up(socket), ms).unref()
    }
    const name = isIP(host) === 0 ? { servername: host } : {}
    const ca = tls?.ca === undefined ? {} : { ca: tls.ca }
    const socket: Socket = tls
      ? connectTls({ host, port, ...name, ...ca, minVersion: 'TLSv1.2' }, opened)
      : connectTcp({ host, port }, opened)
    this.#socket = socket
    let problem = 'it closed the connection'
    const late = setTimeout(() => socket.destroy(new Error('no connection in time')), CONNECT_MS)
    socket.unref()
    socket.setKeepAlive(true, KEEPALIVE_MS)
    socket.on('error', (error) => {
      problem = error.message
    })
    // It has nothing to say, and is over when it ends its side.
    socket.resume().on('end', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(late)
      clearTimeout(lasted)
      this.#down(problem)
    })
    socket.once(tls ? 'secureConnect' : 'connect', () => clearTimeout(late))
  }

  #up(socket: Socket): void {
    this.#connection = 'up'
    this.#backoffMs = BACKOFF_MS.min
    if (this.#trouble !== undefined) this.#heard(undefined)
    this.#trouble = undefined
    this.#told.clear()
    socket.on('drain', () => this.#give())
    this.#give()
  }

  #down(problem: string): void {
    this.#connection = 'none'
    this.#socket = undefined
    clearTimeout(this.#stuck)
    this.#stuck = undefined
    for (const each of this.#waiting) each.given = false
    for (const { settle } of [...this.#waits]) settle(new Error(problem))
    if (this.#closing) return
    this.#trouble = problem
    if (!this.#told.has(problem) && this.#told.size < TOLD_MAX) {
      this.#told.add(problem)
      this.#heard(problem)
    }
    this.#again = setTimeout(() => this.#connect(), this.#backoffMs).unref()
    this.#backoffMs = Math.min(2 * this.#backoffMs, BACKOFF_MS.max)
  }

  /** A server that takes nothing and keeps the connection is given up, as one that is gone. */
  #watch(socket: Socket): void {
    clearTimeout(this.#stuck)
    this.#stuck = undefined
    if (this.#closing || this.#waiting[0]?.given !== true) return
    const ms = this.#parts.takenMs ?? TAKEN_MS
    const giveUp = () => socket.destroy(new Error(`it took nothing for ${ms / 1000} s`))
    this.#stuck = setTimeout(giveUp, ms).unref()
  }

  /** As much as the connection takes without keeping it for itself. */
  #give(): void {
    const socket = this.#socket
    if (socket === undefined || this.#connection !== 'up') return
    for (const each of this.#waiting) {
      if (socket.writableNeedDrain) return
      if (each.given) continue
      each.given = true
      socket.write(each.frame, (error) => {
        if (error || socket !== this.#socket) return
        this.#take(each)
        this.#watch(socket)
      })
      if (this.#stuck === undefined) this.#watch(socket)
    }
  }

  #take(taken: Waiting): void {
    // In their order: it is the first one.
    if (this.#waiting[0] === taken) this.#waiting.shift()
    this.#bytes -= taken.frame.length
    this.#taken++
    for (const { upTo, settle } of [...this.#waits]) if (upTo <= this.#taken) settle()
  }
}

function framed(line: string, { hostName, now }: SyslogParts): Buffer {
  const at = new Date(now()).toISOString()
  const from = /^[!-~]{1,255}$/.test(hostName) ? hostName : '-'
  const message = `<${PRIORITY}>1 ${at} ${from} postern - audit - ${line.trimEnd()}`
  return Buffer.from(`${Buffer.byteLength(message)} ${message}`)
}
