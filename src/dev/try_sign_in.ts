/**
 * A client that signs in once and says how it went: what `postern dev` tries its own gate with. It
 * speaks as libpq does and reads an ErrorResponse's fields; it runs no statement.
 */
import { connect as connectSocket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'

export interface Attempt {
  port: number
  caPem: string
  user: string
  database: string
  token: string
}

/** `in`, or the fields of the refusal. */
export type Outcome =
  | { in: true }
  | { in: false; sqlstate: string; message: string; detail: string }

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const DEADLINE_MS = 10_000

export async function trySignIn(attempt: Attempt): Promise<Outcome> {
  const socket = await openTls(attempt)
  socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error('the gate did not answer')))
  try {
    socket.write(startup(attempt))
    let received = Buffer.alloc(0)
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk as Buffer])
      while (received.length >= 5 && received.length > received.readUInt32BE(1)) {
        const body = received.subarray(5, received.readUInt32BE(1) + 1)
        const type = String.fromCharCode(received.readUInt8(0))
        received = received.subarray(body.length + 5)
        if (type === 'R' && body.readInt32BE(0) === 3) socket.write(password(attempt.token))
        if (type === 'Z') return { in: true }
        if (type === 'E') return refusal(body)
      }
    }
    return { in: false, sqlstate: '', message: 'the gate closed the connection', detail: '' }
  } finally {
    socket.destroy()
  }
}

async function openTls({ port, caPem }: Attempt): Promise<TLSSocket> {
  const plain = connectSocket({ host: '127.0.0.1', port })
  await new Promise((resolve, reject) => {
    plain.once('error', reject)
    plain.once('connect', () => plain.write(SSL_REQUEST))
    plain.once('readable', () => resolve(plain.read(1)))
  })
  const tls = connectTls({ socket: plain, host: '127.0.0.1', ca: caPem })
  await new Promise<void>((resolve, reject) => {
    tls.once('error', reject)
    tls.once('secureConnect', resolve)
  })
  return tls
}

function startup({ user, database }: Attempt): Buffer {
  const options = '--crdb:jwt_auth_enabled=true'
  const pairs = ['user', user, 'database', database, 'options', options]
  const body = Buffer.from(`\0\x03\0\0${pairs.join('\0')}\0\0`)
  return Buffer.concat([uint32(body.length + 4), body])
}

function password(token: string): Buffer {
  const body = Buffer.from(`${token}\0`)
  return Buffer.concat([Buffer.from('p'), uint32(body.length + 4), body])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function refusal(body: Buffer): Outcome {
  const fields = new Map(
    body
      .toString()
      .split('\0')
      .map((field) => [field.slice(0, 1), field.slice(1)]),
  )
  const field = (name: string) => fields.get(name) ?? ''
  return { in: false, sqlstate: field('C'), message: field('M'), detail: field('D') }
}
