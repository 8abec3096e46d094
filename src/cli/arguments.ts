/**
 * What stands on the command line, read: times, names, numbers.
 * Rule: what it should have been is the error, and the exit code is that of a mistaken usage.
 */
import { isIP } from 'node:net'
import { InvalidArgumentError } from 'commander'
import type { World } from './terminal.ts'

export function moment(world: World): (text: string) => number {
  return (text) => (text === 'now' ? world.now() : time(text))
}

/** An IP address, one with a mask, or a host's name: what pg_hba.conf takes. */
export function gateAddress(text: string): string {
  const [host = '', mask, more] = text.split('/')
  const version = isIP(host)
  const masked =
    mask === undefined || (/^\d{1,3}$/.test(mask) && Number(mask) <= (version === 4 ? 32 : 128))
  if (version !== 0 && masked && more === undefined) return text
  if (/^\.?[A-Za-z0-9][A-Za-z0-9.-]*$/.test(text) && !/^[\d.]+$/.test(text)) return text
  throw new InvalidArgumentError('write an IP address, one with a mask like 10.0.0.0/24, or a name')
}

/** A line break would make two lines of one, and a NUL ends a string. */
export function name(text: string): string {
  if (/^[^\p{Cc}]+$/u.test(text)) return text
  throw new InvalidArgumentError('write a name')
}

/** @returns milliseconds since the epoch; a time of day without an offset is UTC, as all that we print. */
export function time(text: string): number {
  if (/^\d{1,11}$/.test(text)) return Number(text) * 1000
  const [, day, clock, offset] = ISO_8601.exec(text) ?? []
  const ms = Date.parse(clock === undefined ? `${day}` : `${day}T${clock}${offset ?? 'Z'}`)
  if (!Number.isNaN(ms)) return ms
  throw new InvalidArgumentError('write a time like 2026-01-31T12:00:00Z, or seconds since 1970')
}

const ISO_8601 = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/

export function port(text: string): number {
  return bounded(text, 1, 65_535, 'a port')
}

export function seconds(text: string): number {
  return bounded(text, 1, 86_400, 'a number of seconds up to a day')
}

export function days(text: string): number {
  return bounded(text, 1, 3_650, 'a number of days up to ten years')
}

function bounded(text: string, least: number, most: number, what: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw new InvalidArgumentError(`write ${what}`)
}
