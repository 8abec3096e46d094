/**
 * A Postgres client that a test drives message by message. It writes and reads the wire by itself,
 * so that the gate's codec is never tested against itself.
 */
import { connect as connectSocket, type NetConnectOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

export interface Message {
  type: string
  body: Buffer
}

export interface WireClient {
  socket: Socket
  write(bytes: Buffer | string): void
  /** The next whole message; `undefined` when the gate closed instead. */
  next(): Promise<Message | undefined>
  /** The next `count` bytes, as they are. */
  bytes(count: number): Promise<Buffer>
  /** Reads on until a message of the type; what came before it is returned as well. */
  until(type: string): Promise<Message[]>
  close(): void
}

const DEADLINE_MS = 10_000

export async function openPlain(address: NetConnectOpts): Promise<WireClient> {
  const socket = connectSocket({ allowHalfOpen: true, ...address })
  await new Promise((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return wrap(socket)
}

/** @param before - bytes in front of SSLRequest. */
export async function openTls(
  port: number,
  caPem: string,
  before: Buffer = Buffer.alloc(0),
): Promise<WireClient> {
  const plain = await openPlain({ host: '127.0.0.1', port })
  plain.write(Buffer.concat([before, sslRequest()]))
  const answer = await plain.bytes(1)
  if (answer.toString() !== 'S')
    throw new Error(`the gate answered ${answer.toString()} to SSLRequest`)
  plain.socket.removeAllListeners('data')
  const tls = connectTls({ socket: plain.socket, host: '127.0.0.1', ca: caPem })
  await new Promise((resolve, reject) => {
    tls.once('secureConnect', resolve)
    tls.once('error', reject)
  })
  return wrap(tls)
}

/** TLS from the first byte. Rejects when the gate closes instead. */
export async function openDirectTls(
  port: number,
  caPem: string,
  options: ConnectionOptions = { ALPNProtocols: ['postgresql'] },
): Promise<WireClient> {
  const tls = connectTls({ port, host: '127.0.0.1', ca: caPem, ...options })
  await new Promise((resolve, reject) => {
    tls.once('secureConnect', resolve)
    tls.once('error', reject)
    tls.once('close', () => reject(new Error('the gate closed the connection')))
  })
  return wrap(tls)
}

function wrap(socket: Socket): WireClient {
  let received = Buffer.alloc(0)
  let ended = false
  let wake: () => void = () => undefined
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    wake()
  })
  const end = () => {
    ended = true
    wake()
  }
  socket.on('end', end).on('close', end).on('error', end)
  const wait = () =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error('the gate said nothing in time')),
        DEADLINE_MS,
      )
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  const next = async (): Promise<Message | undefined> => {
    for (;;) {
      if (received.length >= 5 && received.length > received.readUInt32BE(1)) {
        const size = received.readUInt32BE(1) + 1
        const message = {
          type: String.fromCharCode(received.readUInt8(0)),
          body: received.subarray(5, size),
        }
        received = received.subarray(size)
        return message
      }
      if (ended) return undefined
      await wait()
    }
  }
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    next,
    async bytes(count) {
      while (received.length < count && !ended) await wait()
      const taken = received.subarray(0, count)
      received = received.subarray(count)
      return taken
    },
    async until(type) {
      const messages: Message[] = []
      for (;;) {
        const message = await next()
        if (message === undefined) throw new Error(`closed before '${type}'`)
        messages.push(message)
        if (message.type === type) return messages
      }
    },
    close: () => void socket.destroy(),
  }
}

export function sslRequest(): Buffer {
  return Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
}

export function gssencRequest(): Buffer {
  return Buffer.from([0, 0, 0, 8, 4, 210, 22, 48])
}

export function cancelRequest(key: Buffer): Buffer {
  return Buffer.concat([uint32(8 + key.length), uint32(80877102), key])
}

/** @param version - 3.0 unless told: major << 16 | minor */
export function startup(parameters: Record<string, string>, version = 196608): Buffer {
  const text = Object.entries(parameters)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('')
  const body = Buffer.concat([uint32(version), Buffer.from(`${text}\0`)])
  return Buffer.concat([uint32(body.length + 4), body])
}

export function message(type: string, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body)
  return Buffer.concat([Buffer.from(type), uint32(bytes.length + 4), bytes])
}

export function password(text: string): Buffer {
  return message('p', `${text}\0`)
}

export function query(sql: string): Buffer {
  return message('Q', `${sql}\0`)
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

/** ErrorResponse's and NoticeResponse's fields by their letter. */
export function fields(body: Buffer): Record<string, string> {
  return Object.fromEntries(
    body
      .toString()
      .split('\0')
      .filter((field) => field !== '')
      .map((field) => [field.slice(0, 1), field.slice(1)]),
  )
}

export const JWT_OPTION = { options: '--crdb:jwt_auth_enabled=true' }

/** Sign-in by token up to ReadyForQuery or the refusal. @param version - as `startup` takes it */
export async function signIn(
  client: WireClient,
  parameters: Record<string, string>,
  token: string,
  version?: number,
): Promise<Message[]> {
  client.write(startup({ ...JWT_OPTION, ...parameters }, version))
  const said: Message[] = []
  for (;;) {
    const message = await client.next()
    if (message === undefined) return said
    said.push(message)
    if (message.type === 'R' && message.body.readInt32BE(0) === 3) client.write(password(token))
    if (message.type === 'Z' || message.type === 'E') return said
  }
}

/** What a refused client was told; undefined for one that came in. */
export function refusalOf(said: Message[]): Record<string, string> | undefined {
  const error = said.find(({ type }) => type === 'E')
  return error && fields(error.body)
}
