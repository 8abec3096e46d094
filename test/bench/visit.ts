/**
 * One sign-in by hand, as cheap as we can make it: connect, sign in by password, token or SCRAM, ask for one
 * row, leave. What a client of SCRAM remembers (libpq doesn't) is remembered: its share of the machine is the
 * same whoever it talks to. https://www.postgresql.org/docs/18/protocol-flow.html
 */
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls'
import {
  clientFirstBare,
  parseServerFirst,
  prove,
  SCRAM_SHA_256,
  type ScramKeys,
  scramKeys,
  verifyServerFinal,
} from '../../src/wire/scram.ts'
import { message, query, sslRequest, startup, uint32 } from '../support/wire_client.ts'
import type { Environment } from './program.ts'

/** What of a visit is the same each time. */
export interface Host {
  port: number
  startup: Buffer
  tls: SecureContext | undefined
  /** By password and salt. */
  keys: Map<string, ScramKeys>
}

const DEADLINE_MS = 30_000
const TYPE = { authentication: 0x52, error: 0x45, ready: 0x5a }
const SELECT = query('SELECT 1')
/** The quiet node answers it with one row of 300 KB. */
export const WIDE = 'SELECT wide'
const READY = message('Z', 'I')
const TERMINATE = message('X', '')
const CHOICE = { mechanism: SCRAM_SHA_256, header: 'n,,', binding: Buffer.alloc(0) }

/** @param client - for libpq; TLS is verified, and the address is 127.0.0.1. */
export function hostOf(client: Environment): Host {
  const { PGPORT, PGUSER = '', PGDATABASE = '', PGOPTIONS, PGSSLROOTCERT } = client
  const parameters = { user: PGUSER, database: PGDATABASE }
  return {
    port: Number(PGPORT),
    startup: startup({ ...parameters, ...(PGOPTIONS && { options: PGOPTIONS }) }),
    tls: PGSSLROOTCERT ? contextOf(PGSSLROOTCERT) : undefined,
    keys: new Map(),
  }
}

/** With the key exchange that everybody here knows, or who knows more (ML-KEM) would have more to do. */
function contextOf(caFile: string): SecureContext {
  return createSecureContext({ ca: readFileSync(caFile), ecdhCurve: 'X25519' })
}

/** All of it. Rejects with what the other side said. */
export async function visit(host: Host, password: string): Promise<void> {
  const socket = await open(host)
  await talk(socket, host, password, SELECT)
  socket.end(TERMINATE)
}

/** Up to a session that stays. */
export async function move(host: Host, password: string): Promise<Socket> {
  const socket = await open(host)
  await talk(socket, host, password, undefined)
  return socket
}

/** Asks, in a session that stays, for a wide row and then for a small one. */
export async function work(socket: Socket): Promise<void> {
  await ask(socket, query(WIDE))
  await ask(socket, SELECT)
}

/** Only the end of what is answered is looked at. */
function ask(socket: Socket, question: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let tail: Buffer = Buffer.alloc(0)
    const done = (thrown?: Error) => {
      socket.setTimeout(0)
      socket.off('data', take).off('error', done).off('close', early)
      if (thrown === undefined) resolve()
      else reject(thrown)
    }
    const early = () => done(new Error('closed before all was said'))
    const take = (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk.subarray(-READY.length)]).subarray(-READY.length)
      if (tail.equals(READY)) done()
    }
    socket.on('data', take).once('error', done).once('close', early)
    socket.setTimeout(DEADLINE_MS, () => done(new Error('nothing was said in time')))
    socket.write(question)
  })
}

function open({ port, tls }: Host): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const plain = connectTcp({ port, host: '127.0.0.1', noDelay: true })
    plain.once('error', reject)
    if (tls === undefined) {
      plain.once('connect', () => resolve(plain))
      return
    }
    plain.write(sslRequest())
    plain.once('data', (answer) => {
      if (answer.toString('latin1') !== 'S') return reject(new Error('there is no TLS'))
      const socket = connectTls({ socket: plain, secureContext: tls, host: '127.0.0.1' })
      socket.once('error', reject)
      socket.once('secureConnect', () => resolve(socket))
    })
  })
}

/** Signs in; and asks, where there is something to ask. */
function talk(
  socket: Socket,
  host: Host,
  password: string,
  ask: Buffer | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const authenticate = authentication(socket, host.keys, password)
    let toAsk = ask
    let held: Buffer = Buffer.alloc(0)
    const done = (thrown?: unknown) => {
      socket.setTimeout(0)
      socket.removeAllListeners('data')
      socket.on('data', () => undefined)
      if (thrown === undefined) return resolve()
      socket.destroy()
      reject(thrown)
    }
    const take = (type: number, body: Buffer) => {
      if (type === TYPE.error) throw new Error(body.toString().replaceAll('\0', ' '))
      if (type === TYPE.authentication) authenticate(body)
      if (type !== TYPE.ready) return
      if (toAsk === undefined) return done()
      socket.write(toAsk)
      toAsk = undefined
    }
    socket.on('data', (chunk: Buffer) => {
      try {
        const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
        let at = 0
        while (bytes.length - at > 4 && bytes.length - at > bytes.readUInt32BE(at + 1)) {
          const end = at + 1 + bytes.readUInt32BE(at + 1)
          take(bytes.readUInt8(at), bytes.subarray(at + 5, end))
          at = end
        }
        held = bytes.subarray(at)
      } catch (thrown) {
        done(thrown)
      }
    })
    const early = () => done(new Error('closed before all was said'))
    socket.once('error', done).once('close', early)
    socket.setTimeout(DEADLINE_MS, () => done(new Error('nothing was said in time')))
    socket.write(host.startup)
  })
}

/** Answers AuthenticationRequests. https://www.postgresql.org/docs/18/sasl-authentication.html */
function authentication(socket: Socket, remembered: Map<string, ScramKeys>, password: string) {
  const first = clientFirstBare(randomBytes(18).toString('base64'))
  let expected: Buffer = Buffer.alloc(0)
  return (body: Buffer) => {
    const text = body.toString('latin1', 4)
    switch (body.readUInt32BE(0)) {
      case 0:
        return
      case 3:
        return socket.write(message('p', `${password}\0`))
      case 10: {
        const said = Buffer.from(`${CHOICE.header}${first}`)
        const name = Buffer.from(`${SCRAM_SHA_256}\0`)
        return socket.write(message('p', Buffer.concat([name, uint32(said.length), said])))
      }
      case 11: {
        const server = parseServerFirst(text, first.slice('n=,r='.length))
        const known = `${password} ${server.salt.toString('base64')} ${server.iterations}`
        const keys = remembered.get(known) ?? stretched(password, server)
        remembered.set(known, keys)
        const { clientFinal, signature } = prove(CHOICE, first, server, keys)
        expected = signature
        return socket.write(message('p', clientFinal))
      }
      case 12:
        return verifyServerFinal(text, expected)
      default:
        throw new Error(`a way to sign in that was not expected: ${body.readUInt32BE(0)}`)
    }
  }
}

function stretched(
  password: string,
  { salt, iterations }: { salt: Buffer; iterations: number },
): ScramKeys {
  return scramKeys(pbkdf2Sync(password, salt, iterations, 32, 'sha256'))
}
