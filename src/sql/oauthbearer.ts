/**
 * The exchange of OAUTHBEARER with a client: a token is asked for and taken, or refused in the way that
 * sends libpq for another one. https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: a token that is accepted needs no more words; AuthenticationOk says it.
 */
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'
import type { Secret } from '../secret.ts'
import { PASSWORD_BYTES_MAX } from '../wire/client_messages.ts'
import {
  type Challenge,
  encodeRefusal,
  OAUTHBEARER,
  parseResponse,
  type Status,
} from '../wire/oauthbearer.ts'
import {
  authenticationSasl,
  authenticationSaslContinue,
  decodeSaslInitialResponse,
  decodeSaslResponse,
} from '../wire/sasl.ts'

/** The client's answer to a refusal is one byte. */
const ANSWER_BYTES_MAX = 16

const ASK = authenticationSasl([OAUTHBEARER])
const GO_ON = authenticationSaslContinue(Buffer.alloc(0))

/** @returns undefined for a client that has no token yet, and asks where to get one. */
export async function askBearer(client: Leg): Promise<Secret | undefined> {
  client.send(ASK)
  const chosen = decodeSaslInitialResponse(await client.message(PASSWORD_BYTES_MAX))
  if (chosen.mechanism !== OAUTHBEARER)
    throw new Failure('protocol_violation', {
      values: { problem: 'the client selected a SASL mechanism that was not offered' },
    })
  return parseResponse(chosen.response ?? (await askResponse(client)))
}

/**
 * Says why in JSON, and hears the client's leave to fail; the ErrorResponse is the caller's. The
 * refusal stands whatever the client does with it, so nothing is thrown: libpq that has learned
 * the issuer closes at once, to come back with a token.
 */
export async function refuseBearer(
  client: Leg,
  status: Status,
  challenge: Challenge,
): Promise<void> {
  client.send(authenticationSaslContinue(encodeRefusal(status, challenge)))
  await client.message(ANSWER_BYTES_MAX).catch(() => undefined)
}

/** From a client that gave none when it chose the mechanism. */
async function askResponse(client: Leg): Promise<Secret> {
  client.send(GO_ON)
  return decodeSaslResponse(await client.message(PASSWORD_BYTES_MAX))
}
