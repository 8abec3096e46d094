/**
 * Signing in by the token itself: the node asks for a password in clear, and judges what it gets.
 * Rule: a token goes only to a node whose name was verified under TLS.
 */
import { Failure } from '../failure.ts'
import type { Secret } from '../secret.ts'
import { passwordMessage } from '../wire/node_messages.ts'
import type { Answers } from './sign_in.ts'

export function forwarding(token: Secret): Answers {
  return {
    password(node) {
      if (!node.encrypted)
        throw new Failure('node_signin_failed', { log: 'the node asks for the token without TLS' })
      const message = passwordMessage(token)
      // Not awaited: a node that doesn't read would outlast the deadline.
      node.socket.write(message, () => message.fill(0))
    },
  }
}
