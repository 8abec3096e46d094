/**
 * Room for clients without a token, whom a node judges (`non_jwt_logins: passthrough`): each of them holds
 * a connection of the node's that is not signed in, for as long as it takes its time. A cluster's own; each
 * worker has its share.
 * Rule: who waits, waits behind those of its own address first, and no longer than its login may last. A
 * login that failed keeps its address's turn for a second more, whoever has left by then; it holds nothing
 * of the cluster's meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openNamedTurns, openTurns } from '../cluster/turns.ts'
import { Failure } from '../failure.ts'
import { holder } from './limits.ts'
import { within } from './within.ts'

export interface Passages {
  /**
   * Who was refused by the node hears of it when its second is over.
   * @param address - the client's; empty on a unix socket.
   * @throws Failure `login_timeout` for who waited in vain; the signal's reason; what the work throws
   */
  take<T>(address: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

/** In all workers. Few, beside a hundred that PostgreSQL takes by default: clients with tokens need the others. */
const AT_ONCE = 16
const OF_ADDRESS = 4
const aSecond = () => sleep(1_000, undefined, { ref: false })

/** @param workers - how many have their share; where there are more of them than places, one each. */
export function openPassages(workers: number, pause: () => Promise<void> = aSecond): Passages {
  const share = (places: number) => Math.max(1, Math.floor(places / workers))
  const [atOnce, perAddress] = [share(AT_ONCE), share(OF_ADDRESS)]
  const all = openTurns(atOnce)
  const ofAddress = openNamedTurns(perAddress)

  function waited({ log = '' }: Failure): Failure {
    const room = `${perAddress} of an address, ${atOnce} in all`
    return new Failure('login_timeout', {
      log: `${log}: too many sign in without a token (${room})`,
    })
  }

  return {
    async take<T>(address: string, signal: AbortSignal, work: () => Promise<T>) {
      const ended = Promise.withResolvers<T>()
      let begun = false
      const begin = async () => {
        begun = true
        return await work()
      }
      const turn = ofAddress(holder(address), signal, async () => {
        try {
          ended.resolve(await all.take(signal, begin))
        } catch (thrown) {
          if (!begun) throw thrown
          // Not ended by the login's end: whoever leaves, or is late, has had its guess.
          const second = pause()
          const told = isRefusal(thrown) ? within(signal, second) : undefined
          void Promise.allSettled([told]).then(() => ended.reject(thrown))
          await second
        }
      })
      turn.catch((thrown: unknown) => ended.reject(isLate(thrown) ? waited(thrown) : thrown))
      return await ended.promise
    },
  }
}

function isRefusal(thrown: unknown): boolean {
  // A right guess that doesn't count takes as long as a wrong one.
  return (
    thrown instanceof Failure &&
    (thrown.code === 'role_refused' || thrown.code === 'too_many_failures')
  )
}

function isLate(thrown: unknown): thrown is Failure {
  return thrown instanceof Failure && thrown.code === 'login_timeout'
}
