/**
 * A wire script, played at a place: what is sent is fixed, and every message that comes back is kept, the
 * sign-in's as well. Two places are alike where all bytes are, but for what differences.ts names.
 */
import {
  cancelRequest,
  type Message,
  openPlain,
  openTls,
  signIn,
  type WireClient,
} from '../support/wire_client.ts'
import { type Difference, type DifferenceName, permitted } from './differences.ts'
import { TERMINATE } from './frames.ts'
import { DATABASE, optionsFor, type Place, type Role } from './place.ts'

export interface WireCase {
  name: string
  steps: Step[]
  /** maxroach unless told. */
  role?: Role
  parameters?: Record<string, string>
  /** Of the protocol, as major << 16 | minor; 3.0 unless told. */
  version?: number
  /** What may differ in this case alone. */
  differs?: DifferenceName[]
  /**
   * Never cut: the server closes before it has read all, and who writes on to it then may lose its last words,
   * with a gate and without.
   */
  atOnce?: true
}

/**
 * What to wait for, then what to send before. Types of messages, each waited for in turn (`w` is CopyData with
 * something of the server's log in it); `closed`, the end of the connection; or nothing. In front of a colon the
 * connection's name (`a` unless told); `cancel` in the place of bytes sends a CancelRequest with that connection's
 * key, and `end` ends the client's side.
 */
export type Step = [until: string, ...send: (Buffer | 'cancel' | 'end')[]]

/** What one connection said. */
export interface Heard {
  messages: Message[]
  closed: boolean
}

/** By the connections' names, in the order in which they were opened. */
export type Transcript = Map<string, Heard>

interface Open extends Heard {
  client: WireClient
}

/** @param cut - writes so many bytes at a time at most */
export async function play(place: Place, wireCase: WireCase, cut?: number): Promise<Transcript> {
  const open = new Map<string, Open>()
  try {
    for (const [until, ...send] of wireCase.steps) {
      const [what = '', name = 'a'] = until.split(':').reverse()
      const connection = open.get(name) ?? (await comeIn(place, wireCase))
      open.set(name, connection)
      for (const bytes of send)
        if (bytes === 'cancel') await cancel(place, connection)
        else if (bytes === 'end') connection.client.socket.end()
        else await write(connection.client, bytes, wireCase.atOnce ? undefined : cut)
      await hear(connection, what)
    }
    for (const connection of open.values())
      if (!connection.closed) {
        connection.client.write(TERMINATE)
        await hear(connection, 'closed')
      }
    return new Map([...open].map(([name, { messages, closed }]) => [name, { messages, closed }]))
  } finally {
    for (const { client } of open.values()) client.close()
  }
}

/** @returns where they differ, in words; undefined where they don't. */
export function difference(
  wireCase: WireCase,
  direct: Transcript,
  through: Transcript,
  version: number,
): string | undefined {
  const rules = permitted(wireCase.differs ?? [], version)
  for (const [name, one] of direct) {
    const said = differenceOf(one, through.get(name), rules)
    if (said !== undefined) return `${wireCase.name}, connection ${name}: ${said}`
  }
  return undefined
}

/** How many bytes were compared. */
export function sizeOf(transcript: Transcript): number {
  const all = [...transcript.values()].flatMap(({ messages }) => messages)
  return all.reduce((size, { body }) => size + body.length + 5, 0)
}

function differenceOf(
  one: Heard,
  other: Heard | undefined,
  rules: Difference[],
): string | undefined {
  if (other === undefined) return 'it was not opened'
  const masked = ({ messages }: Heard) =>
    rules.reduce((all, { mask }) => mask(all), messages).map(show)
  const [here, there] = [masked(one), masked(other)]
  for (let at = 0; at < Math.max(here.length, there.length); at++)
    if (here[at] !== there[at])
      return `message ${at + 1} is ${short(here[at])} directly and ${short(there[at])} through the gate`
  if (one.closed === other.closed) return undefined
  return `directly it ${one.closed ? 'was' : 'was not'} closed`
}

async function comeIn(place: Place, wireCase: WireCase): Promise<Open> {
  const { role = 'maxroach', parameters = {}, version } = wireCase
  const opened = await place.prepare?.(role, parameters)
  const { port, tls } = place
  const client =
    tls === undefined ? await openPlain({ host: '127.0.0.1', port }) : await openTls(port, tls.pem)
  client.socket.setNoDelay(true)
  const options = optionsFor(place, parameters['options'])
  const asked = { user: role, database: DATABASE, ...parameters, options }
  const messages = await signIn(client, asked, place.tokens[role], version)
  await opened?.()
  return { client, messages, closed: false }
}

async function cancel({ port }: Place, { messages }: Heard): Promise<void> {
  const key = messages.find(({ type }) => type === 'K')?.body
  if (key === undefined) throw new Error('no key to cancel with')
  const client = await openPlain({ host: '127.0.0.1', port })
  client.write(cancelRequest(key))
  if ((await client.bytes(1)).length > 0) throw new Error('a CancelRequest was answered')
  client.close()
}

async function write(client: WireClient, bytes: Buffer, cut = bytes.length): Promise<void> {
  for (let at = 0; at < bytes.length; at += cut) {
    const piece = bytes.subarray(at, at + cut)
    await new Promise((done) => client.socket.write(piece, done))
  }
}

async function hear(connection: Open, what: string): Promise<void> {
  const { client, messages } = connection
  if (what !== 'closed') {
    for (const type of what)
      do messages.push(...(await client.until(type === LOGGED ? 'd' : type)))
      while (type === LOGGED && messages.at(-1)?.body.toString('latin1', 0, 1) !== LOGGED)
    return
  }
  for (;;) {
    const message = await client.next()
    if (message === undefined) break
    messages.push(message)
  }
  connection.closed = true
}

/** XLogData, as its first byte is. */
const LOGGED = 'w'

function show({ type, body }: Message): string {
  return `${type} of ${body.length} bytes: ${body.toString('latin1')}`
}

const SHOWN = 160

function short(shown = 'nothing'): string {
  return JSON.stringify(shown.length > SHOWN ? `${shown.slice(0, SHOWN)}…` : shown)
}
