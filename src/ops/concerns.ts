/**
 * What of a gate's status somebody should look at, the worst first: said in a sentence, with the part of the
 * page that has the rest. Rule: nothing is said that mends itself, and nothing that is a user's own mistake.
 */
import { FAILURES, type FailureRow } from '../failure.ts'
import type { IssuerKeys, NodeStatus, Status } from '../telemetry/status.ts'
import { counted, day, fromNow, span } from './words.ts'

export interface Concern {
  /** `bad`: somebody is kept out, or will be within a week; or what is done leaves no proof. */
  level: 'bad' | 'warn'
  says: string
  /** The id of a section of the page. */
  section: string
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const ENDS_SOON_MS = 30 * DAY_MS
const ENDS_VERY_SOON_MS = 7 * DAY_MS
/** So many minutes back a refusal still counts. */
const LATELY_MINUTES = 15

export function concerns(status: Status): Concern[] {
  const all = [
    ...ofGate(status),
    ...ofEvidence(status),
    ...ofShared(status),
    ...ofNodes(status.nodes),
    ...status.issuers.flatMap((issuer) => ofIssuer(issuer, status.atMs)),
    ...ofCertificates(status),
    ...ofRefusals(status),
  ]
  return [...all.filter(({ level }) => level === 'bad'), ...all.filter(isWarning)]
}

function isWarning({ level }: Concern): boolean {
  return level === 'warn'
}

function ofGate({ notReady, workers: { open, wanted } }: Status): Concern[] {
  const section = 'gate'
  if (notReady !== undefined)
    return [{ level: 'bad', section, says: `No sign-ins are taken: ${notReady}.` }]
  // More than wanted: some that were replaced still have sessions.
  if (open >= wanted) return []
  return [{ level: 'warn', section, says: `${open} of ${counted(wanted, 'worker')} are open.` }]
}

function ofEvidence({ evidence: { unwrittenMs, unkept }, atMs }: Status): Concern[] {
  const section = 'gate'
  const bad = (says: string): Concern => ({ level: 'bad', section, says })
  const wasUnwritten =
    unwrittenMs !== undefined && atMs - unwrittenMs < LATELY_MINUTES * MINUTE_MS
      ? [
          bad(
            `The audit stream could not be written (last: ${fromNow(unwrittenMs, atMs)}): nobody is let in without it.`,
          ),
        ]
      : []
  return [
    ...wasUnwritten,
    ...unkept.map(({ place, sinceMs }) =>
      bad(`The audit stream's head can't be kept in ${place} for ${span(atMs - sinceMs)}.`),
    ),
  ]
}

function ofShared({ shared }: Status): Concern[] {
  if (shared === undefined) return []
  const { ageMs, maxAgeMs } = shared
  const section = 'state'
  const heard = Number.isFinite(ageMs)
    ? `was last heard of ${span(ageMs)} ago`
    : 'has not been read yet'
  if (ageMs > maxAgeMs) {
    const says = `Nobody new is let in: the shared state ${heard}, and ${span(maxAgeMs)} is allowed.`
    return [{ level: 'bad', section, says }]
  }
  if (ageMs <= maxAgeMs / 2) return []
  const says = `The shared state ${heard}; at ${span(maxAgeMs)} nobody new is let in.`
  return [{ level: 'warn', section, says }]
}

function ofNodes(nodes: readonly NodeStatus[]): Concern[] {
  const section = 'nodes'
  return [...new Set(nodes.map(({ cluster }) => cluster))].flatMap((cluster): Concern[] => {
    const own = nodes.filter((each) => each.cluster === cluster)
    const down = own.filter(({ down }) => down > 0)
    const draining = own.filter(({ down, draining }) => down === 0 && draining > 0)
    if (own.every(({ up }) => up === 0))
      return [{ level: 'bad', section, says: `No node of cluster ${cluster} takes sessions.` }]
    return [
      ...(down.length > 0 ? [warn(section, `${which(down, cluster, own.length)} down.`)] : []),
      ...(draining.length > 0
        ? [warn(section, `${which(draining, cluster, own.length)} draining.`)]
        : []),
    ]
  })
}

function which(found: readonly NodeStatus[], cluster: string, all: number): string {
  const [first] = found
  if (found.length === 1) return `Node ${first?.node} of cluster ${cluster} is`
  return `${found.length} of ${all} nodes of cluster ${cluster} are`
}

function ofIssuer(issuer: IssuerKeys, nowMs: number): Concern[] {
  const { cluster, issuer: name, from, lastError, freshUntilMs = 0 } = issuer
  const section = 'issuers'
  if (from === 'nowhere')
    return [warn(section, `There are no keys for ${name} in cluster ${cluster}.`)]
  if (lastError === undefined) return []
  if (freshUntilMs > nowMs) {
    const still = `its keys are good for another ${span(freshUntilMs - nowMs)}`
    return [warn(section, `The last fetch from ${name} failed; ${still}.`)]
  }
  const says = `The keys of ${name} can't be fetched, and those that were are stale.`
  return [{ level: 'bad', section, says }]
}

function ofCertificates({ certificates, atMs }: Status): Concern[] {
  return certificates
    .filter(({ endsMs }) => endsMs - atMs < ENDS_SOON_MS)
    .map(({ key, subject, endsMs }) => {
      const verb = endsMs > atMs ? 'ends' : 'ended'
      const says = `The certificate ${subject} (${key}) ${verb} on ${day(endsMs)}, ${fromNow(endsMs, atMs)}.`
      const level = endsMs - atMs < ENDS_VERY_SOON_MS ? 'bad' : 'warn'
      return { level, section: 'certificates', says }
    })
}

/** Those that no user could have helped. */
function ofRefusals({ refusals }: Status): Concern[] {
  const lately = refusals
    .filter(({ failure }) => isOurs(failure))
    .map(({ failure, perMinute }) => ({ failure, count: sum(perMinute.slice(-LATELY_MINUTES)) }))
    .filter(({ count }) => count > 0)
  if (lately.length === 0) return []
  const all = counted(sum(lately.map(({ count }) => count)), 'sign-in')
  const why = lately.map(({ failure }) => failure).join(', ')
  return [
    warn(
      'sign-ins',
      `${all} in the last ${LATELY_MINUTES} minutes failed by no fault of the user: ${why}.`,
    ),
  ]
}

function isOurs(failure: string): boolean {
  const row = rowOf(failure)
  return row?.level === 'warn' || row?.level === 'error'
}

/** The failure's row, where the table has one of this name. */
export function rowOf(failure: string): FailureRow | undefined {
  const rows: Record<string, FailureRow> = FAILURES
  return Object.hasOwn(rows, failure) ? rows[failure] : undefined
}

function warn(section: string, says: string): Concern {
  return { level: 'warn', section, says }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0)
}
