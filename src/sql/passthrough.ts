/**
 * A login without a token that the node itself judges (`non_jwt_logins: passthrough`): what it asks goes
 * to the client, and the client's answer to it. https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: a password in clear (over TLS, or on a unix socket) or SCRAM-SHA-256, asked once, and nothing else.
 * Two connections meet here, so neither can be bound to; and a node that asks nothing is refused, since it
 * took the gate for the role. The gate's own no comes behind the node's yes, in the node's words for no.
 */
import type { ClientsAnswers } from '../cluster/connect.ts'
import { hearSasl } from '../cluster/sign_in.ts'
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import { type Ask, decidePassage, type Passage, type Rules } from '../policy/decide.ts'
import type { Waits } from '../telemetry/login_time.ts'
import { takePassword } from '../wire/client_messages.ts'
import type { Frame } from '../wire/framing.ts'
import { saslInitialResponse, saslResponse } from '../wire/node_messages.ts'
import { authenticationSasl, decodeSaslInitialResponse, decodeSaslResponse } from '../wire/sasl.ts'
import { SCRAM_SHA_256 } from '../wire/scram.ts'
import { CLEARTEXT_PASSWORD } from '../wire/server_messages.ts'

/** PostgreSQL's own bounds on either, less the length that it counts with them; beyond, it just closes. */
const PASSWORD_BYTES_MAX = 65_535 - 4
const SASL_BYTES_MAX = 1024 - 4

const OFFER = authenticationSasl([SCRAM_SHA_256])

/** @throws Failure `password_authentication_failed`, `replication_refused` */
export function permitPassage(ask: Ask, rules: Rules): Passage {
  const decision = decidePassage(ask, rules)
  if (decision.granted) return decision.grant
  throw new Failure(decision.denial.code, { ...decision.denial, values: { user: ask.user } })
}

/**
 * What the node asks goes to the client, and the client's answer to the node.
 * @param isPrivate - nobody else hears what the client says.
 * @param permit - asked before the client hears, in the exchange itself, that its answer was right.
 */
export function clientsAnswers(
  client: Leg,
  isPrivate: boolean,
  permit: () => Promise<void>,
  waits: Waits,
): ClientsAnswers {
  let asked = false
  const hear = (limit: number) => waits.waiting('client', hearClient(client, limit))
  return {
    required: true,
    get asked() {
      return asked
    },
    async password(node) {
      if (!isPrivate) throw new Failure('encryption_required')
      asked = true
      client.send(CLEARTEXT_PASSWORD)
      const message = takePassword(await hear(PASSWORD_BYTES_MAX))
      node.socket.write(message, () => message.fill(0))
    },
    async sasl(node, offered) {
      if (!offered.includes(SCRAM_SHA_256))
        throw failed(`the node asks for SASL by ${JSON.stringify(offered)}, without SCRAM-SHA-256`)
      asked = true
      await relayScram(client, node, hear, permit)
    },
  }
}

/** Each end proves the other that it knows the password; the gate learns nothing of it. */
async function relayScram(
  client: Leg,
  node: Leg,
  hear: (limit: number) => Promise<Frame>,
  permit: () => Promise<void>,
): Promise<void> {
  client.send(OFFER)
  const chosen = decodeSaslInitialResponse(await hear(SASL_BYTES_MAX))
  if (chosen.mechanism !== SCRAM_SHA_256 || chosen.response === undefined)
    throw violation('the client selected a SASL mechanism that was not offered')
  const first = chosen.response.reveal()
  // It could bind the channel, and believes that the server can't: the node knows better, and refuses.
  if (first.startsWith('y') && node.encrypted) throw new Failure('channel_binding_lost')
  node.send(saslInitialResponse(SCRAM_SHA_256, Buffer.from(first, 'latin1')))
  client.send((await hearSasl(node, 'saslContinue')).whole)
  const proof = decodeSaslResponse(await hear(SASL_BYTES_MAX))
  node.send(saslResponse(Buffer.from(proof.reveal(), 'latin1')))
  const { whole } = await hearSasl(node, 'saslFinal')
  await permit()
  client.send(whole)
}

/** What is too long from the client is no fault of the node's. */
async function hearClient(client: Leg, limit: number): Promise<Frame> {
  try {
    return await client.message(limit)
  } catch (thrown) {
    if (thrown instanceof Failure && thrown.code === 'message_too_large')
      throw violation(thrown.message)
    throw thrown
  }
}

function violation(problem: string): Failure {
  return new Failure('protocol_violation', { values: { problem } })
}

function failed(log: string): Failure {
  return new Failure('node_signin_failed', { log })
}
