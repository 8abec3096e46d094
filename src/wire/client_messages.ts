/**
 * What a client says to the gate while it signs in, once the startup packet is read: its password,
 * which is a token, or is for the node. https://www.postgresql.org/docs/18/protocol-message-formats.html
 */
import { Failure } from '../failure.ts'
import { Secret } from '../secret.ts'
import type { Frame } from './framing.ts'

/** The longest token that signs in. Entra's are near 7 KB, group claims make them longer. */
export const PASSWORD_BYTES_MAX = 128 * 1024

const PASSWORD_MESSAGE = 0x70
const TERMINATE = 0x58

/** Reads the token and wipes the frame that it came in. */
export function decodePassword(frame: Frame): Secret {
  return wiped(frame, ({ body }) => new Secret(body.toString('utf8', 0, body.length - 1)))
}

/**
 * The whole message for another reader, byte for byte: a password needs not be text. Its frame is wiped;
 * the caller wipes what it got.
 */
export function takePassword(frame: Frame): Buffer {
  return wiped(frame, ({ whole }) => Buffer.from(whole))
}

function wiped<T>(frame: Frame, read: (frame: Frame) => T): T {
  try {
    if (frame.type === TERMINATE) throw new Failure('client_gone')
    if (frame.type !== PASSWORD_MESSAGE) throw new Failure('password_expected')
    const end = frame.body.indexOf(0)
    if (end < 0 || end !== frame.body.length - 1) throw new Failure('invalid_password_message')
    return read(frame)
  } finally {
    frame.body.fill(0)
  }
}
