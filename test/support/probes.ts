/**
 * Raw probes: what a server is sent, byte by byte, and everything that it answers, in words that two
 * servers can be compared by. Left out is what must differ: a key's bytes, where in its source an
 * error was raised, a request id, and the question for the token that lets a session in.
 */
import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { fields, password, uint32 } from './wire_client.ts'

export interface Target {
  port: number
  caPem: string
  /** In every startup packet: what this server wants beside what the probe says. */
  parameters: Parameters
  /** What is answered to a question for a password that the probe itself doesn't answer. */
  token: string | undefined
}

export type Parameters = [name: string, value: string | Buffer][]

/** `request` is a request for encryption: one byte may answer it. `tls` is the client's end of TLS. */
export type Step =
  | Buffer
  | ((to: Target) => Buffer)
  | { request: Buffer }
  | { tls: ConnectionOptions }
  | { password: Buffer }
  | 'end'

/** The answers in order, the last of them `closed` or the ReadyForQuery of a session that is let in. */
export async function probe(to: Target, steps: Step[]): Promise<string[]> {
  const socket = connectSocket({ host: '127.0.0.1', port: to.port, allowHalfOpen: true })
  socket.on('error', () => undefined)
  const wires = [listen(socket)]
  const said: string[] = []
  try {
    await once(socket, 'connect')
    const passwords = steps.flatMap((step) =>
      typeof step === 'object' && 'password' in step ? [step.password] : [],
    )
    for (const step of steps) {
      const wire = wires.at(-1) ?? listen(socket)
      if (step === 'end') wire.socket.end()
      else if (Buffer.isBuffer(step)) wire.socket.write(step)
      else if (typeof step === 'function') wire.socket.write(step(to))
      else if ('request' in step) await request(wire, step.request, said)
      else if ('tls' in step) wires.push(await startTls(wire, to, step.tls, said))
      if (said.at(-1) === CLOSED) return said
    }
    await converse(wires.at(-1) ?? listen(socket), to, passwords, said)
    return said
  } finally {
    for (const wire of wires) wire.socket.destroy()
  }
}

/** What a session that is let in is told is shortened to the bytes of its key. */
export function summary(said: string[]): string {
  const shown = said.filter((each) => !each.startsWith('ParameterStatus '))
  return shown
    .join(', ')
    .replace(
      /AuthenticationOk, BackendKeyData (\d+), ReadyForQuery I/,
      'signed in, key of $1 bytes',
    )
}

/** A startup packet; more of it may follow the terminator, and less. */
export function hello(
  parameters: Parameters,
  version = '3.0',
  { terminated = true, size = 0 } = {},
): (to: Target) => Buffer {
  return (to) => {
    const [major = 0, minor = 0] = version.split('.').map(Number)
    const all = [...parameters, ...to.parameters]
    const plain = encode(all, (major << 16) | minor, terminated)
    if (size === 0) return plain
    const padding = 'x'.repeat(size - plain.length - 'a.b\0\0'.length)
    return encode([...all, ['a.b', padding]], (major << 16) | minor, terminated)
  }
}

/** Bytes after a length word that says so many. */
export function sized(length: number, ...parts: (Buffer | string)[]): Buffer {
  return Buffer.concat([uint32(length), ...parts.map((part) => Buffer.from(part))])
}

const CLOSED = 'closed'
/** Types of TLS records. */
const RECORDS: Record<number, string> = { 21: 'TLS alert', 22: 'TLS handshake' }
const DEADLINE_MS = 5_000

interface Wire {
  socket: Socket
  /** Takes `count` bytes; undefined when the other side ended before them. */
  take(count: number): Promise<Buffer | undefined>
  rest(): Buffer
}

function encode(parameters: Parameters, code: number, terminated: boolean): Buffer {
  const zero = Buffer.alloc(1)
  const strings = parameters.flatMap(([name, value]) => [
    Buffer.from(name),
    zero,
    Buffer.from(value),
    zero,
  ])
  const body = Buffer.concat([uint32(code), ...strings, terminated ? zero : Buffer.alloc(0)])
  return sized(body.length + 4, body)
}

async function request(wire: Wire, bytes: Buffer, said: string[]): Promise<void> {
  wire.socket.write(bytes)
  const answer = await wire.take(1)
  if (answer === undefined) said.push(CLOSED)
  else if ('SNG'.includes(answer.toString())) said.push(answer.toString())
  else await readMessages(wire, said, answer)
}

async function startTls(
  { socket }: Wire,
  { caPem }: Target,
  options: ConnectionOptions,
  said: string[],
): Promise<Wire> {
  socket.removeAllListeners('data')
  const tls = connectTls({ socket, host: '127.0.0.1', ca: caPem, ...options })
  const wire = listen(tls)
  const outcome = await new Promise<string>((resolve) => {
    tls.once('secureConnect', () => resolve('TLS'))
    tls.once('error', (error: NodeJS.ErrnoException) => resolve(refusal(error)))
    tls.once('end', () => resolve('no TLS'))
    tls.once('close', () => resolve('no TLS'))
  })
  said.push(outcome)
  if (outcome !== 'TLS') said.push(CLOSED)
  return wire
}

/** An alert has a name; anything else is the end of the connection. */
function refusal({ code = '' }: NodeJS.ErrnoException): string {
  return code.includes('ALERT') ? code.replace(/^ERR_SSL_(TLSV1_|SSLV3_)?/, '') : 'no TLS'
}

async function converse(wire: Wire, to: Target, passwords: Buffer[], said: string[]) {
  for (;;) {
    const type = await readMessages(wire, said)
    if (type === undefined || type === 'Z') return
    if (type !== 'R' || said.at(-1) !== PASSWORD_ASKED) continue
    const own = passwords.shift()
    if (own !== undefined) wire.socket.write(own)
    else if (to.token !== undefined) {
      said.pop()
      wire.socket.write(password(to.token))
    }
  }
}

const PASSWORD_ASKED = 'AuthenticationCleartextPassword'
const AUTHENTICATIONS: Record<number, string> = { 0: 'AuthenticationOk', 3: PASSWORD_ASKED }

/** The next message is put into words; its type, or undefined at the end. */
async function readMessages(wire: Wire, said: string[], first?: Buffer) {
  const header = await wire.take(first === undefined ? 5 : 4)
  const whole = header && Buffer.concat([first ?? Buffer.alloc(0), header])
  const body = whole && (await wire.take(whole.readUInt32BE(1) - 4))
  if (whole === undefined || body === undefined) {
    const rest = Buffer.concat([whole ?? first ?? Buffer.alloc(0), wire.rest()])
    if (rest.length > 0) said.push(inWordsOther(rest))
    said.push(CLOSED)
    return undefined
  }
  const type = String.fromCharCode(whole.readUInt8(0))
  said.push(inWords(type, body))
  return type
}

function inWords(type: string, body: Buffer): string {
  const strings = (from: number) => body.toString('latin1', from).split('\0').slice(0, -1)
  switch (type) {
    case 'R':
      return AUTHENTICATIONS[body.readInt32BE(0)] ?? `R ${body.toString('hex')}`
    case 'S':
      return `ParameterStatus ${strings(0).join('=')}`
    case 'K':
      return `BackendKeyData ${body.length}`
    case 'v': {
      const version = `${body.readUInt16BE(0)}.${body.readUInt16BE(2)}`
      return ['NegotiateProtocolVersion', version, body.readInt32BE(4), ...strings(8)].join(' ')
    }
    case 'Z':
      return `ReadyForQuery ${body.toString()}`
    case 'E':
    case 'N':
      return inWordsReport(body)
    default:
      return `${type} ${body.toString('hex')}`
  }
}

function inWordsReport(body: Buffer): string {
  const { S, V, C, M, D, H, F: _file, L: _line, R: _routine, ...others } = fields(body)
  const hint = H?.replace(/\n?request id: [0-9a-f]+$/, '')
  const more = [D && `DETAIL ${D}`, hint && `HINT ${hint}`, ...Object.entries(others).flat()]
  const severity = S === V ? S : `${S}/${V}`
  return [`${severity} ${C}: ${M}`, ...more.filter((each) => each)].join('; ')
}

/** What is no message: a TLS record, or an error as protocol 2 had it. */
function inWordsOther(bytes: Buffer): string {
  return RECORDS[bytes[0] ?? 0] ?? `bytes ${JSON.stringify(bytes.toString('latin1'))}`
}

/** The first bytes of a client that begins TLS. */
export async function clientHello(): Promise<Buffer> {
  const sent = new PassThrough()
  const socket = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => void sent.write(chunk, done),
  })
  const tls = connectTls({ socket, servername: 'localhost' }).on('error', () => undefined)
  const [bytes] = await once(sent, 'data')
  tls.destroy()
  return Buffer.from(bytes)
}

function listen(socket: Socket): Wire {
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
  const more = () =>
    new Promise<void>((resolve, reject) => {
      const silent = () => reject(new Error('neither an answer nor the end, in time'))
      const timer = setTimeout(silent, DEADLINE_MS)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  return {
    socket,
    async take(count) {
      while (received.length < count && !ended) await more()
      if (received.length < count) return undefined
      const taken = received.subarray(0, count)
      received = received.subarray(count)
      return taken
    },
    rest: () => received,
  }
}
