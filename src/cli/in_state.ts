/**
 * The way of a command into the state that gates share: by the gates' own configuration, as the state's owner.
 * Rule: what it says of times and failures is the same in each command.
 */
import { wordsOf } from '../cluster/refusals.ts'
import type { Config } from '../config/config.ts'
import { Failure } from '../failure.ts'
import { openStateSession, type StateSession, toFailure } from '../state/session.ts'
import type { Dialect } from '../wire/options.ts'
import type { World } from './terminal.ts'

/**
 * @param list - the command that says what is there, for who stops this one.
 * @throws Failure `usage`, `state_unusable`
 */
export async function inStateOf(
  config: Config,
  list: string,
  { stop }: Pick<World, 'stop'>,
  work: (session: StateSession) => Promise<void>,
): Promise<void> {
  const { state, nodes } = keptBy(config)
  let session: StateSession | undefined
  try {
    session = await openStateSession(nodes, state, stop)
    await work(session)
  } catch (thrown) {
    if (stop.aborted) throw usage(`this was stopped before it was done; ${list} says what there is`)
    const failure = toFailure(thrown)
    if (failure.code === 'usage' || failure.code === 'state_unusable') throw failure
    const problem = `as ${state.role} in the database ${state.database}: ${wordsOf(failure)}`
    throw new Failure('state_unusable', { values: { problem }, cause: failure })
  } finally {
    session?.close()
  }
}

/** @throws Failure `usage` where nothing is shared */
export function keptBy({ state, clusters }: Config) {
  const cluster = clusters.find(({ name }) => name === state?.cluster)
  if (state === undefined || cluster === undefined)
    throw usage('the configuration has no state, in which gates could be told (see docs/state.md)')
  return { state, nodes: cluster.nodes }
}

/**
 * What comes of a change; how many gates there are, and have read it, nobody knows here.
 * @param then - what they do
 */
export function howSoon(
  dialect: Dialect,
  then = ', and end the sessions of those who may not stay',
): string {
  const soon = dialect === 'postgresql' ? 'at once' : 'within a second'
  return `Gates that follow the state have it ${soon}${then}.\n`
}

/** @param seconds - since the epoch */
export function timeText(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace('.000', '')
}

export function usage(problem: string): Failure {
  return new Failure('usage', { values: { problem } })
}
