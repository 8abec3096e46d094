/**
 * A scripted node that asks for SCRAM-SHA-256, reckons by itself (so that ours is never tested against
 * itself), and does as a test says.
 */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { type Conversation, error, letIn, type Script } from './scripted_node.ts'
import { message, uint32 } from './wire_client.ts'

export interface ScramOptions {
  /** Passwords by role. */
  passwords: Record<string, string>
  offer?: string[]
  salt?: string
  iterations?: number
  /** What `p=tls-server-end-point` has to be bound to. */
  endPoint?: Buffer
  /** Other words in the place of its own. */
  first?: (text: string) => string
  final?: (text: string) => string
  /** In the place of SASLFinal and what follows; or of what follows it alone. */
  instead?: (conversation: Conversation) => void
  letIn?: (conversation: Conversation) => void
}

/** What a client chose, and its two messages; one a sign-in. */
export interface Heard {
  mechanism: string
  first: string
  final: string
}

const PLUS = 'SCRAM-SHA-256-PLUS'
const PLAIN = 'SCRAM-SHA-256'
const request = (code: number, text: string) =>
  message('R', Buffer.concat([uint32(code), Buffer.from(text)]))
export const saslOffer = (mechanisms: string[]) =>
  request(10, `${mechanisms.map((name) => `${name}\0`).join('')}\0`)

export function scramScript(options: ScramOptions): Script & { heard: Heard[] } {
  const heard: Heard[] = []
  const exchanges = new WeakMap<Conversation, Exchange>()
  return {
    heard,
    greet(conversation) {
      exchanges.set(conversation, {})
      conversation.send(saslOffer(options.offer ?? [PLUS, PLAIN]))
    },
    session(chunk, conversation) {
      const exchange = exchanges.get(conversation)
      if (exchange === undefined || chunk[0] !== 'p'.charCodeAt(0)) return
      const body = chunk.subarray(5)
      if (exchange.server === undefined) {
        const end = body.indexOf(0)
        const mechanism = body.toString('latin1', 0, end)
        const first = body.toString('latin1', end + 5)
        heard.push({ mechanism, first, final: '' })
        exchange.client = first
        const { salt = 'W22ZaJ0SNY7soEsUEjb6gQ==', iterations = 4096 } = options
        const nonce = /r=(.*)$/.exec(first)?.[1] ?? ''
        const server = `r=${nonce}3rfcNHYJY1ZVvWVs7j,s=${salt},i=${iterations}`
        exchange.server = options.first?.(server) ?? server
        conversation.send(request(11, exchange.server))
        return
      }
      const final = body.toString('latin1')
      const last = heard.at(-1)
      if (last !== undefined) last.final = final
      exchanges.delete(conversation)
      if (options.instead !== undefined) return options.instead(conversation)
      const verifier = verify(options, exchange, conversation.parameters['user'] ?? '', final)
      if (verifier === undefined)
        return conversation.send(error('28P01', 'password authentication failed'))
      conversation.send(request(12, options.final?.(verifier) ?? verifier))
      ;(options.letIn ?? letIn)(conversation)
    },
  }
}

interface Exchange {
  client?: string
  server?: string
}

function verify(
  { passwords, endPoint }: ScramOptions,
  { client = '', server = '' }: Exchange,
  user: string,
  final: string,
): string | undefined {
  const [, salt = '', iterations] = /,s=([^,]*),i=(\d+)/.exec(server) ?? []
  const [, header = '', bare = ''] = /^([nyp][^,]*,[^,]*,)(.*)$/.exec(client) ?? []
  const [, withoutProof = '', proof = ''] = /^(.*),p=([^,]*)$/.exec(final) ?? []
  const bound = Buffer.concat([
    Buffer.from(header),
    header.startsWith('p') ? (endPoint ?? Buffer.alloc(0)) : Buffer.alloc(0),
  ]).toString('base64')
  if (!withoutProof.startsWith(`c=${bound},r=`)) return undefined
  const password = passwords[user] ?? ''
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
  const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()
  const clientKey = hmac(salted, 'Client Key')
  const exchanged = `${bare},${server},${withoutProof}`
  const mask = hmac(createHash('sha256').update(clientKey).digest(), exchanged)
  const expected = Buffer.from(clientKey.map((byte, at) => byte ^ (mask[at] ?? 0)))
  if (!expected.equals(Buffer.from(proof, 'base64'))) return undefined
  return `v=${hmac(hmac(salted, 'Server Key'), exchanged).toString('base64')}`
}
