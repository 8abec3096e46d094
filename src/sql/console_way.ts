/**
 * The way to the gate's own console: a client names its database, gives its token like anyone, and is one of
 * the admins of that cluster. Its statements go to the primary, one after the other.
 * Rule: no password of a node's and no role without a token ever leads there.
 */
import { openVirtualSession } from '../answers/virtual_node.ts'
import type { NodeSession } from '../cluster/connect.ts'
import type { Node } from '../cluster/node.ts'
import { type ConsoleConfig, isAdmin } from '../config/console_settings.ts'
import { CONSOLE_NODE, type ConsoleAnswer } from '../console/console.ts'
import { parametersOf } from '../console/drivers.ts'
import { Failure } from '../failure.ts'
import type { Primary } from '../peers/primary.ts'
import type { Ask, Grant } from '../policy/decide.ts'

export interface ConsoleDoor {
  /** Of the session. */
  id: string
  /** Whose token it was. */
  cluster: { name: string }
  /** Undefined where there is none. */
  console(): ConsoleConfig | undefined
  primary: Pick<Primary, 'console'>
}

/**
 * @param grant - undefined for who comes without a token.
 * @returns undefined for who asks for a database of the cluster's
 * @throws Failure `console_denied`, `replication_refused`
 */
export function wayToConsole(
  grant: Grant | undefined,
  { database, replication }: Ask,
  { id, cluster, console: own, primary }: ConsoleDoor,
): (() => NodeSession) | undefined {
  const terms = own()
  if (terms === undefined || terms.database !== database) return undefined
  if (grant === undefined || !isAdmin(grant.role, cluster.name, terms))
    throw new Failure('console_denied', { values: { database } })
  if (replication) throw new Failure('replication_refused')
  return () => openConsoleSession(id, grant, primary)
}

/** Nothing of it is ever dialled. */
const NODE: Node = {
  name: CONSOLE_NODE,
  isVirtual: true,
  address: { path: '' },
  tls: undefined,
  signIn: 'trust',
  certificates: undefined,
  secrets: undefined,
  dialect: 'postgresql',
  sendRemoteAddress: false,
  connectTimeoutMs: 0,
}

/** A client gets a key for its cancels; there is nothing that they could end. */
const CANCEL_KEY = Buffer.alloc(8)

function openConsoleSession(
  session: string,
  { role }: Grant,
  { console: ask }: ConsoleDoor['primary'],
): NodeSession {
  const answering = {
    async describe(statement: string) {
      const about = { session, statement, parameters: undefined, inTransaction: false }
      const answer = demand(await ask(about))
      return 'described' in answer ? answer.described : { parameters: 0 }
    },
    async run(
      statement: string,
      parameters: readonly (string | undefined)[],
      inTransaction: boolean,
    ) {
      const answer = demand(await ask({ session, statement, parameters, inTransaction }))
      return 'answered' in answer ? answer.answered : { tag: '' }
    },
  }
  const { leg, opening } = openVirtualSession(answering, parametersOf(role))
  return {
    leg,
    opening: { ...opening, cancelKey: CANCEL_KEY },
    node: NODE,
    warm: false,
    keep: undefined,
    leave: undefined,
    release: () => undefined,
  }
}

type Good = Extract<ConsoleAnswer, { ok: true }>

/** @throws Failure that the primary met */
function demand(answer: ConsoleAnswer): Good {
  if (answer.ok) return answer
  const { code, values, detail } = answer.refused
  throw new Failure(code, { values, ...(detail === undefined ? {} : { detail }) })
}
