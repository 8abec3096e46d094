/**
 * SASL (RFC 4422) as PostgreSQL carries it: the mechanisms that are offered, the client's choice with
 * its first response, and the challenges and responses that follow.
 * https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: a response may be a token, so it comes out as a Secret, its frame is wiped, and no error says a
 * word of it; nor of the mechanism's name, where a client that misunderstood puts its password.
 */
import { Failure } from '../failure.ts'
import { Secret } from '../secret.ts'
import { message } from './encode.ts'
import type { Frame } from './framing.ts'

const AUTHENTICATION_SASL = 10
const AUTHENTICATION_SASL_CONTINUE = 11
/** SASLInitialResponse and SASLResponse have the type of a PasswordMessage. */
const SASL_RESPONSE = 0x70
const TERMINATE = 0x58
const NO_RESPONSE = -1

export interface SaslInitialResponse {
  mechanism: string
  /** Undefined where the client waits for a challenge first. One byte a character. */
  response: Secret | undefined
}

/** @param mechanisms - in the order in which the gate would have them. */
export function authenticationSasl(mechanisms: readonly string[]): Buffer {
  return message('R', AUTHENTICATION_SASL, ...mechanisms, Buffer.from([0]))
}

export function authenticationSaslContinue(challenge: Buffer): Buffer {
  return message('R', AUTHENTICATION_SASL_CONTINUE, challenge)
}

/** Reads the client's choice, and wipes the frame that it came in. */
export function decodeSaslInitialResponse(frame: Frame): SaslInitialResponse {
  return wiped(frame, (body) => {
    const nameEnd = body.indexOf(0)
    const start = nameEnd + 1 + 4
    if (nameEnd < 0 || body.length < start) throw malformed('SASLInitialResponse is cut short')
    const mechanism = body.toString('latin1', 0, nameEnd)
    const size = body.readInt32BE(nameEnd + 1)
    const rest = body.length - start
    if (size === NO_RESPONSE && rest === 0) return { mechanism, response: undefined }
    if (size !== rest) throw malformed('SASLInitialResponse is not as long as it says')
    return { mechanism, response: new Secret(body.toString('latin1', start)) }
  })
}

/** Reads a response to a challenge, and wipes the frame that it came in. */
export function decodeSaslResponse(frame: Frame): Secret {
  return wiped(frame, (body) => new Secret(body.toString('latin1')))
}

function wiped<T>({ type, body }: Frame, read: (body: Buffer) => T): T {
  try {
    if (type === TERMINATE) throw new Failure('client_gone')
    if (type !== SASL_RESPONSE) throw new Failure('password_expected')
    return read(body)
  } finally {
    body.fill(0)
  }
}

function malformed(problem: string): Failure {
  return new Failure('protocol_violation', { values: { problem } })
}
