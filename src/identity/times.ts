/**
 * The times of a token (RFC 7519 section 4.1): to the second, in the order iat, exp, nbf. How far one was
 * missed is for the log; a difference of clocks is the commonest cause.
 */
import type { Failure } from '../failure.ts'
import { invalid, type Members } from './jws.ts'
import type { Trust } from './trust.ts'

/** An expiry missed by less than this is said to be a matter of clocks, in the log. */
const NEARLY_VALID_MS = 60_000

/** Seconds since the epoch; undefined where the token doesn't say. */
export interface Times {
  issuedAt: number | undefined
  until: number | undefined
  notBefore: number | undefined
}

/** @throws Failure `invalid_token` for a claim that is no time. */
export function readTimes(claims: Members): Times {
  return {
    issuedAt: time(claims, 'iat'),
    until: time(claims, 'exp'),
    notBefore: time(claims, 'nbf'),
  }
}

/** @throws Failure `invalid_token` */
export function checkTimes(
  { issuedAt: iat, until: exp, notBefore: nbf }: Times,
  trust: Trust,
  nowMs: number,
): void {
  const { requireExpiry, clockToleranceMs: tolerance } = trust
  if (iat !== undefined && iat > latest(nowMs, tolerance)) throw notSatisfied('iat', iat, nowMs)
  if (exp === undefined && requireExpiry)
    throw invalid('"exp" not satisfied: required claim not found')
  if (exp !== undefined && exp <= earliest(nowMs, tolerance)) throw notSatisfied('exp', exp, nowMs)
  if (nbf !== undefined && nbf > latest(nowMs, tolerance)) throw notSatisfied('nbf', nbf, nowMs)
}

function latest(nowMs: number, toleranceMs: number): number {
  return Math.floor((nowMs + toleranceMs) / 1000)
}

function earliest(nowMs: number, toleranceMs: number): number {
  return Math.floor((nowMs - toleranceMs) / 1000)
}

function time(claims: Members, name: string): number | undefined {
  const value = claims[name]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER)
    return Math.floor(value)
  throw invalid(`"${name}" is not a time in seconds`)
}

function notSatisfied(name: string, seconds: number, nowMs: number): Failure {
  const offMs = Math.abs(nowMs - seconds * 1000)
  const log = `"${name}" missed by ${Math.round(offMs / 1000)} s`
  const clocks = '; are the clocks in step? server.jwt_authentication.clock_tolerance allows for it'
  return invalid(`"${name}" not satisfied`, offMs < NEARLY_VALID_MS ? log + clocks : log)
}
