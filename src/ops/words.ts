/**
 * How the page says numbers, moments and spans of time: so that they can be read at a glance, and are all
 * there for who needs them exactly. Times are UTC.
 */
import { type Html, html } from './html.ts'

const SECOND_MS = 1_000
const MINUTE_S = 60
const HOUR_S = 60 * MINUTE_S
const DAY_S = 24 * HOUR_S
/** Below so many both parts are said: `1 h 20 min`. */
const PARTS_MAX = 10

const numbers = new Intl.NumberFormat('en-US')

/** `12,345` */
export function number(value: number): string {
  return numbers.format(value)
}

/** `1 session`, `2 sessions` */
export function counted(count: number, one: string, several = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : several}`
}

/** `40 ms`, `12 s`, `1 h 20 min`, `8 days` */
export function span(ms: number): string {
  if (!Number.isFinite(ms)) return 'for ever'
  if (Math.round(ms) < SECOND_MS) return `${Math.round(ms)} ms`
  const tenths = Math.round(ms / 100)
  if (tenths < 100) return `${tenths / 10} s`
  const seconds = Math.round(ms / SECOND_MS)
  if (seconds < MINUTE_S) return `${seconds} s`
  if (seconds < HOUR_S) return parts(seconds, [MINUTE_S, 'min'], [1, 's'])
  if (seconds < DAY_S) return parts(seconds, [HOUR_S, 'h'], [MINUTE_S, 'min'])
  return counted(Math.floor(seconds / DAY_S), 'day')
}

type Unit = readonly [seconds: number, name: string]

function parts(seconds: number, [largeS, large]: Unit, [smallS, small]: Unit): string {
  const whole = Math.floor(seconds / largeS)
  const rest = Math.floor((seconds % largeS) / smallS)
  return whole >= PARTS_MAX || rest === 0
    ? `${whole} ${large}`
    : `${whole} ${large} ${rest} ${small}`
}

/** `4 min ago`, `in 8 days`; its exact time is with it. */
export function moment(atMs: number, nowMs: number): Html {
  return html`<time datetime="${iso(atMs)}">${fromNow(atMs, nowMs)}</time>`
}

export function fromNow(atMs: number, nowMs: number): string {
  const ms = Math.abs(atMs - nowMs)
  if (ms < SECOND_MS) return 'now'
  return atMs > nowMs ? `in ${span(ms)}` : `${span(ms)} ago`
}

/** `2026-11-23` */
export function day(ms: number): string {
  return iso(ms).slice(0, 10)
}

/** `2026-11-23 08:40:12` */
export function clock(ms: number): string {
  return iso(ms).slice(0, 19).replace('T', ' ')
}

/** What a Date can't say, from a certificate that somebody else has made, is far away. */
function iso(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? '9999-12-31T23:59:59Z' : date.toISOString()
}

/** So many characters of it, and that there are more. */
export function short(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`
}
