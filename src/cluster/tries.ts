/**
 * What was tried to reach a node, for the log: how many, and why each one failed. The client is told
 * the last failure's sentence.
 * Rule: bounded, however long it goes on: a node is there once, with its last reason.
 */
import { Failure } from '../failure.ts'

const SHOWN_MAX = 10

export interface Tries {
  keep(node: string, failure: Failure): void
  /** Another try may end otherwise: not where every node's certificate is the wrong one. */
  hopeful(): boolean
  /** @param nobody - why, where not one was tried. */
  failure(nobody: string): Failure
}

export function openTries(): Tries {
  const reasons = new Map<string, { times: number; why: string }>()
  let last: Failure | undefined
  let hope = false
  return {
    keep(node, failure) {
      const times = (reasons.get(node)?.times ?? 0) + 1
      reasons.set(node, { times, why: failure.log ?? failure.message })
      last = failure
      hope ||= mayPass(failure)
    },
    hopeful: () => last === undefined || hope,
    failure(nobody) {
      if (last === undefined) return new Failure('node_unreachable', { log: nobody })
      const { code, message, response, cause } = last
      return new Failure(code, {
        values: { message },
        log: told([...reasons.values()]),
        ...(response && { response }),
        cause,
      })
    },
  }
}

/** The system's errors pass, and what a node says of itself; those of TLS are mistakes. */
function mayPass({ code, cause }: Failure): boolean {
  return code !== 'node_unreachable' || !(cause instanceof Error) || 'syscall' in cause
}

function told(reasons: { times: number; why: string }[]): string {
  const shown = reasons.slice(0, SHOWN_MAX).map(({ times, why }) => {
    return times === 1 ? why : `${why} (${times} times)`
  })
  const more = reasons.length > SHOWN_MAX ? [`and ${reasons.length - SHOWN_MAX} more`] : []
  const tries = reasons.reduce((sum, { times }) => sum + times, 0)
  if (tries === 1) return shown.join('')
  const nodes = reasons.length === 1 ? '1 node' : `${reasons.length} nodes`
  return `tried ${nodes}, ${tries} times in all: ${[...shown, ...more].join('; ')}`
}
