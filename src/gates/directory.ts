/**
 * Where the other gates are, at this moment. A host's name is that of all gates that it has addresses for,
 * looked up again as an answer has lived its time; one that the DNS doesn't know may still be this
 * machine's own name for somebody, and is asked for as it is.
 */

import { isIP } from 'node:net'
import { follow, type Place } from '../cluster/node_names.ts'
import type { PeerGate } from '../config/peer_settings.ts'
import type { HostPort } from '../config/values.ts'
import type { GatesParts } from './gates.ts'

export interface Directory {
  /** Each once, and so many at most that all can be told at once. */
  places(): HostPort[]
  close(): void
}

const GATES_MAX = 64

export function openDirectory(
  gates: readonly PeerGate[],
  { names, log }: Pick<GatesParts, 'names' | 'log'>,
): Directory {
  const known = gates.map((gate) => {
    let places: readonly HostPort[] = 'srv' in gate ? [] : [gate]
    if (!('srv' in gate) && isIP(gate.host)) return { places: () => places, stop: () => undefined }
    let told = false
    const { stop } = follow(lookUp(gate, names), {
      found(next: readonly Place[]) {
        places = next
        told = false
      },
      failed(why) {
        if (!told) log.warn(`peers: ${why}; those that are known are kept`)
        told = true
      },
    })
    return { places: () => places, stop }
  })
  let tooMany = false
  return {
    places() {
      const all = known.flatMap(({ places }) => places())
      const byName = new Map(all.map(({ host, port }) => [`${host} ${port}`, { host, port }]))
      if (byName.size > GATES_MAX && !tooMany)
        log.warn(`peers: there are ${byName.size} gates; ${GATES_MAX} of them are told of cancels`)
      tooMany = byName.size > GATES_MAX
      return [...byName.values()].slice(0, GATES_MAX)
    },
    close() {
      for (const { stop } of known) stop()
    },
  }
}

function lookUp(gate: PeerGate, names: GatesParts['names']) {
  return 'srv' in gate
    ? () => names.services(gate.srv)
    : () => names.addresses(gate.host, gate.port)
}
