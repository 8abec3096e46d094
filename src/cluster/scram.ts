/**
 * Signing in by a secret of the role's own, which never leaves the gate: SCRAM-SHA-256, bound to the
 * node's certificate where there is one. RFC 5802, RFC 7677.
 * https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: a password is stretched once for a role, a salt and a count, away from the main thread; what is
 * remembered of it has a bound, and a node that didn't prove that it knows the role drives none of it out.
 */
import { pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { LRUCache } from 'lru-cache'
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import type { Secret } from '../secret.ts'
import { saslInitialResponse, saslResponse } from '../wire/node_messages.ts'
import { saslprep } from '../wire/saslprep.ts'
import {
  choose,
  clientFirstBare,
  parseServerFirst,
  prove,
  type ScramKeys,
  type ServerFirst,
  scramKeys,
  verifyServerFinal,
} from '../wire/scram.ts'
import { endPointOf } from './end_point.ts'
import { type Answers, hearSasl } from './sign_in.ts'
import { openNamedTurns, openTurns } from './turns.ts'

/** The secrets that a cluster's roles sign in with. */
export interface RoleSecrets {
  /**
   * @param signal - ends the wait for a password's turn to be stretched.
   * @throws Failure `node_signin_failed` for a role that has none
   */
  answersFor(role: string, signal: AbortSignal): Answers
}

/** PBKDF2 with SHA-256, as `node:crypto` does it in its pool of threads. */
export type StretchPassword = (
  password: string,
  salt: Buffer,
  iterations: number,
) => Promise<Buffer>

const KEYS_MAX = 1_000
/** Of exchanges that are under way, for who comes meanwhile. */
const UNPROVEN_MAX = 64
const STRETCH_AT_ONCE = 2
const KEY_BYTES = 32
/** As libpq's: 24 characters. */
const NONCE_BYTES = 18

const pbkdf2Async = promisify(pbkdf2)
const inPool: StretchPassword = (password, salt, iterations) =>
  pbkdf2Async(password, salt, iterations, KEY_BYTES, 'sha256')

/** @param secrets - by the role's name, in the cluster's spelling. */
export function openRoleSecrets(
  secrets: ReadonlyMap<string, Secret>,
  stretch = inPool,
  keysMax = KEYS_MAX,
): RoleSecrets {
  const proven = new LRUCache<string, ScramKeys>({ max: keysMax })
  const unproven = new LRUCache<string, ScramKeys>({ max: UNPROVEN_MAX })
  const turns = openTurns(STRETCH_AT_ONCE)
  const oneByOne = openNamedTurns()
  const keysOf = async (
    role: string,
    secret: Secret,
    { salt, iterations }: ServerFirst,
    signal: AbortSignal,
  ): Promise<Stretched> => {
    const id = `${iterations} ${salt.toString('base64')} ${role}`
    // Who comes at the same time waits for the first one, and finds what that one left.
    const keys = await oneByOne(id, signal, async () => {
      const known = proven.get(id) ?? unproven.get(id)
      if (known !== undefined) return known
      // A node may ask for a million iterations, each time with another salt: it gets two threads.
      const work = () => stretch(saslprep(secret.reveal()), salt, iterations)
      const stretched = scramKeys(await turns.take(signal, work))
      unproven.set(id, stretched)
      return stretched
    })
    return {
      keys,
      keep() {
        unproven.delete(id)
        proven.set(id, keys)
      },
    }
  }
  return {
    answersFor(role, signal) {
      const secret = secrets.get(role)
      if (secret === undefined)
        throw failed(`scram.secrets has none for the role ${JSON.stringify(role)}`)
      return {
        required: true,
        sasl: (node, offered) =>
          exchange(node, offered, (server) => keysOf(role, secret, server, signal)),
      }
    },
  }
}

interface Stretched {
  keys: ScramKeys
  /** The node is who it has to be. */
  keep(): void
}

async function exchange(
  node: Leg,
  offered: readonly string[],
  stretch: (server: ServerFirst) => Promise<Stretched>,
): Promise<void> {
  const choice = choose(offered, endPointOf(node.socket))
  if (choice === undefined)
    throw failed(`the node asks for SASL by ${JSON.stringify(offered)}, without SCRAM-SHA-256`)
  const nonce = randomBytes(NONCE_BYTES).toString('base64')
  const first = clientFirstBare(nonce)
  node.send(saslInitialResponse(choice.mechanism, Buffer.from(choice.header + first)))
  const server = parseServerFirst((await hearSasl(node, 'saslContinue')).data, nonce)
  const { keys, keep } = await stretch(server)
  const { clientFinal, signature } = prove(choice, first, server, keys)
  node.send(saslResponse(Buffer.from(clientFinal)))
  verifyServerFinal((await hearSasl(node, 'saslFinal')).data, signature)
  keep()
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log })
}
