/**
 * DOOR, and the way out: the gates beside this one. A cancel whose key nobody knows here is told to all of
 * them at once; what one of them tells is looked for here, and goes no further. Without `peers` in the
 * configuration there is nobody to tell, and nobody is listened to.
 * Rule: whatever is known of a key, nothing is said of it to anybody.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Names } from '../cluster/node_names.ts'
import type { PeersConfig } from '../config/peers.ts'
import { asFailure } from '../failure.ts'
import type { Metric } from '../peers/messages.ts'
import type { Logger } from '../telemetry/log.ts'
import { isDue, issueCredentials } from './credentials.ts'
import { openDirectory } from './directory.ts'
import { type Found, listenToGates, type PeerDoor } from './door.ts'
import { openTelling } from './tell.ts'

export interface GatesParts {
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  count(metric: Metric): void
  names: Names
}

export interface Gates {
  /** Resolves when the other gates have done what they could, or don't in time. */
  cancel(key: Buffer, from: string): Promise<void>
  /** Takes what other gates tell. @throws Failure `cannot_listen` */
  listen(found: Found): Promise<{ port: number } | undefined>
  /** Another authority, other gates. */
  renew(config: PeersConfig | undefined): void
  close(): Promise<void>
}

const LOOK_MS = 60_000

export async function openGates(first: PeersConfig | undefined, parts: GatesParts): Promise<Gates> {
  if (first === undefined) return alone(parts)
  const { log, now, count } = parts
  let config = first
  let credentials = await issueCredentials(config, now())
  const telling = openTelling(credentials, parts)
  let directory = openDirectory(config.gates, parts)
  let door: PeerDoor | undefined
  const certify = async () => {
    try {
      const wanted = config
      const fresh = await issueCredentials(wanted, now())
      // By the time that it is there, another authority may sign.
      if (wanted !== config) return
      credentials = fresh
      telling.renew(credentials)
      door?.renew(credentials)
    } catch (thrown) {
      log.error(`no certificate for other gates: ${asFailure(thrown).log}`)
    }
  }
  const timer = setInterval(() => isDue(credentials, now()) && void certify(), LOOK_MS).unref()
  return {
    async cancel(key, from) {
      count({ name: 'cancel', result: 'passed_on' })
      await Promise.all(directory.places().map((place) => telling.tell(place, { key, from })))
    },
    async listen(found) {
      door = await listenToGates(config.listen, credentials, { count, found })
      return door
    },
    renew(next) {
      if (next === undefined) return
      if (!isDeepStrictEqual(next.gates, config.gates)) {
        directory.close()
        directory = openDirectory(next.gates, parts)
      }
      config = next
      void certify()
    },
    async close() {
      clearInterval(timer)
      directory.close()
      telling.close()
      await door?.close()
    },
  }
}

function alone({ count }: GatesParts): Gates {
  return {
    cancel: async () => count({ name: 'cancel', result: 'unknown' }),
    listen: async () => undefined,
    renew: () => undefined,
    close: async () => undefined,
  }
}
