/**
 * Nodes under a DNS name: its A and AAAA records with one port, or its SRV records (RFC 2782), looked
 * up again when an answer has lived its time.
 * Rule: an answer of nothing, and a lookup that fails, leave things as they were: a name server that
 * is gone must not take the cluster with it.
 */
import { Resolver } from 'node:dns/promises'

/** Where one of the nodes is. */
export interface Place {
  host: string
  port: number
  /** As in an SRV record; 1 and 0 for an address. */
  weight: number
  priority: number
}

export interface Answer {
  places: Place[]
  /** How long until it should be asked for again. */
  goodForMs: number
}

/** Answers are never empty; a name without records throws, as one that can't be looked up. */
export interface Names {
  addresses(name: string, port: number): Promise<Answer>
  services(name: string): Promise<Answer>
}

const GOOD_FOR_MS = { min: 5_000, max: 300_000 }
/** Node doesn't tell the TTL of an SRV record. */
const SERVICES_GOOD_FOR_MS = 30_000
const NODES_MAX = 1_000
const RESOLVER = { timeout: 2_000, tries: 2 }
/** The name is there, or isn't, but it has no records of the type. */
const NONE = ['ENODATA', 'ENOTFOUND']

/** @param servers - in the place of the system's own, as `host:port`. */
export function openNames(servers?: readonly string[]): Names {
  const resolver = new Resolver(RESOLVER)
  if (servers !== undefined) resolver.setServers(servers)
  return {
    async addresses(name, port) {
      const found = await Promise.all([
        resolver.resolve4(name, { ttl: true }).catch(none),
        resolver.resolve6(name, { ttl: true }).catch(none),
      ])
      const records = found.flat()
      const ttlMs = Math.min(...records.map(({ ttl }) => ttl)) * 1_000
      const places = records.map(({ address: host }) => ({ host, port, weight: 1, priority: 0 }))
      return answer(name, places, Math.min(Math.max(ttlMs, GOOD_FOR_MS.min), GOOD_FOR_MS.max))
    },
    async services(name) {
      const records = await resolver.resolveSrv(name).catch(none)
      // A dot as the host: there is no such service, says RFC 2782.
      const places = records
        .filter(({ name: host }) => host !== '' && host !== '.')
        .map(({ name: host, port, weight, priority }) => ({
          host,
          port,
          weight: Math.max(weight, 1),
          priority,
        }))
      return answer(name, places, SERVICES_GOOD_FOR_MS)
    },
  }
}

/** Half an answer would lose the other half's nodes: only that there are none is no failure. */
function none(thrown: unknown): never[] {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  if (NONE.includes(code)) return []
  throw thrown
}

function answer(name: string, places: Place[], goodForMs: number): Answer {
  if (places.length === 0) throw new Error(`${name} has no records`)
  const different = new Map(places.map((place) => [`${place.host} ${place.port}`, place]))
  return { places: [...different.values()].slice(0, NODES_MAX), goodForMs }
}

const RETRY_MS = 5_000

/**
 * Asks now, and again when the answer has lived its time, or soon after a failure, until it is told to
 * stop. It keeps no process alive.
 */
export function follow(
  ask: () => Promise<Answer>,
  { found, failed }: { found(places: readonly Place[]): void; failed(why: string): void },
  retryMs = RETRY_MS,
): { stop(): void } {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const look = async (): Promise<void> => {
    const answered = await ask().catch((thrown: unknown) => {
      if (!stopped) failed(thrown instanceof Error ? thrown.message : String(thrown))
      return undefined
    })
    if (stopped) return
    if (answered !== undefined) found(answered.places)
    timer = setTimeout(look, answered?.goodForMs ?? retryMs).unref()
  }
  void look()
  return {
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
