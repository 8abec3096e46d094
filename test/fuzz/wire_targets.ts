/**
 * What clients and proxies send before they are known, byte by byte: packets, messages, headers, the
 * phase of a session. Each decoder is fed the same bytes in other cuts, and held against a plain reading
 * of the specification where there is one that is short.
 */
import { isUtf8 } from 'node:buffer'
import { isIP } from 'node:net'
import fc from 'fast-check'
import { decodePassword, takePassword } from '../../src/wire/client_messages.ts'
import { Framing } from '../../src/wire/framing.ts'
import { Headers } from '../../src/wire/headers.ts'
import { startupMessage } from '../../src/wire/node_messages.ts'
import { Phase } from '../../src/wire/phase.ts'
import { decodeProxyHeader } from '../../src/wire/proxy_header.ts'
import { errorResponse, noticeResponse } from '../../src/wire/server_messages.ts'
import { decodeStartup, STARTUP_BYTES_MAX, type Startup } from '../../src/wire/startup.ts'
import { proxyV2, tlv } from '../support/proxy_header.ts'
import { message } from '../support/wire_client.ts'
import { bytes, cut, int32, nearly, nearlyText, oddText, type Places, places } from './made_up.ts'
import { must, mustEqual, type Outcome, outcome, type Target, target } from './target.ts'

/** What a decoder takes from the bytes as they arrive, and what is left when they all have. */
export function takenFrom<T>(
  whole: Buffer,
  at: Places,
  take: (framing: Framing) => T | undefined,
): { found: Outcome<T> | undefined; left: string } {
  const framing = new Framing()
  let found: Outcome<T> | undefined
  for (const chunk of cut(whole, at)) {
    framing.push(chunk)
    must(
      chunk.every((byte) => byte === 0),
      'a chunk that was taken over is not wiped',
    )
    if (found !== undefined) continue
    const taken = outcome(() => take(framing))
    if (!('value' in taken)) found = taken
    else if (taken.value !== undefined) found = { value: taken.value }
  }
  return { found, left: framing.rest().toString('hex') }
}

/** However the bytes are cut. */
export function taken<T>(
  whole: Buffer,
  at: Places,
  take: (framing: Framing) => T | undefined,
): Outcome<T> | undefined {
  const once = takenFrom(whole, [], take)
  mustEqual(takenFrom(whole, at, take), once, 'other cuts, another result')
  return once.found
}

const VERSIONS = [0x30000, 0x30002, 0x3270f, 0x20000, 80877102, 80877103, 80877104, 0x10000]
const NAMES = ['user', 'database', 'options', 'replication', 'application_name', '_pq_.x', 'USER']

const startupBytes = nearly(
  fc
    .tuple(
      fc.oneof(fc.constant(0x30000), fc.constantFrom(...VERSIONS), fc.nat(0xffffffff)),
      fc.array(fc.tuple(fc.oneof(fc.constantFrom(...NAMES), oddText), oddText), { maxLength: 6 }),
    )
    .map(([version, pairs]) => {
      const text = pairs.map(([name, value]) => `${name}\0${value}\0`).join('')
      const body = Buffer.concat([int32(version), Buffer.from(`${text}\0`)])
      return Buffer.concat([int32(body.length + 4), body])
    }),
)

/** By the documentation alone: the parameters in order, or undefined for what is refused. */
function readStartup(packet: Buffer): [string, string][] | undefined {
  const strings = packet.toString('latin1', 4).split('\0')
  const end = strings.findIndex((name, index) => index % 2 === 0 && name === '')
  // The empty name's NUL is the very last byte.
  if (end !== strings.length - 2 || strings[end + 1] !== '') return undefined
  const pairs: [string, string][] = []
  for (let at = 0; at < end; at += 2) {
    const two = [strings[at] ?? '', strings[at + 1] ?? ''].map((each) =>
      Buffer.from(each, 'latin1'),
    )
    if (!two.every(isUtf8)) return undefined
    pairs.push([String(two[0]), String(two[1])])
  }
  return pairs
}

function parametersOf({ user, database, options, replication, parameters }: Startup) {
  const own = Object.entries({ user, database, options, replication })
  return [...own, ...parameters].filter(([, value]) => value !== undefined) as [string, string][]
}

const startupPackets = target('wire/startup', fc.tuple(startupBytes, places), ([whole, at]) => {
  const found = taken(whole, at, (framing) => {
    const packet = framing.packet(STARTUP_BYTES_MAX)
    return packet && { read: decodeStartup(packet), packet: packet.toString('hex') }
  })
  if (found === undefined || !('value' in found)) return
  const { read, packet } = found.value
  if (read.kind !== 'startup') return
  const expected = readStartup(Buffer.from(packet, 'hex'))
  must(expected !== undefined, 'read what the documentation refuses', read)
  const said = new Map(expected)
  must(said.size === expected?.length, 'a parameter that is given twice was read')
  if (said.get('database') === '') said.delete('database')
  const parameters = parametersOf(read.startup)
  mustEqual([...parameters].sort(), [...said].sort(), 'the parameters')
  const again = decodeStartup(startupMessage(parameters).subarray(4))
  mustEqual(again, { kind: 'startup', startup: { ...read.startup, minor: 0 } }, 'written and read')
})

const LIMIT = 64

const anyMessage = fc
  .tuple(fc.constantFrom(...'pQSXdDZHTCEN'), bytes(LIMIT + 4))
  .map(([type, body]) => message(type, body))
const stream = nearly(
  fc.array(anyMessage, { maxLength: 6 }).map((messages) => Buffer.concat(messages)),
)

/** Every message or packet that the bytes hold, up to one that is refused. */
function gather(whole: Buffer, at: Places, tagged: boolean) {
  const framing = new Framing()
  const all: string[] = []
  let refused: string | undefined
  const next = (): boolean => {
    const one = outcome(() => takeOne(framing, tagged), ['message_too_large', 'not_postgres'])
    if (!('value' in one)) refused = one.code
    else if (one.value !== undefined) all.push(one.value)
    return 'value' in one && one.value !== undefined
  }
  for (const chunk of cut(whole, at)) {
    framing.push(chunk)
    while (refused === undefined && next());
  }
  return { all, refused, left: framing.rest().toString('hex') }
}

const framing = target(
  'wire/framing',
  fc.tuple(stream, places, fc.boolean()),
  ([whole, at, tagged]) => {
    const once = gather(whole, [], tagged)
    mustEqual(gather(whole, at, tagged), once, 'other cuts, another result')
    const length = once.all.join('').length / 2 + (tagged ? 0 : 4 * once.all.length)
    mustEqual(length + once.left.length / 2, whole.length, 'bytes are lost or made up')
  },
)

function takeOne(framing: Framing, tagged: boolean): string | undefined {
  const bytes = tagged ? framing.message(LIMIT)?.whole : framing.packet(LIMIT)
  return bytes?.toString('hex')
}

/** What is told of a stream, up to where it breaks. */
function walk(side: 'client' | 'node', chunks: Buffer[]) {
  const told: string[] = []
  const header = (type: number, status: number) => void told.push(`${type}:${status}`)
  const headers = new Headers(side, { header })
  let broken = false
  for (const chunk of chunks) {
    if (broken) continue
    const pushed = outcome(() => headers.push(chunk), ['protocol_violation'])
    broken = !('value' in pushed)
    if (!broken)
      must(headers.lastBoundary >= -1 && headers.lastBoundary <= chunk.length, 'a boundary outside')
  }
  return { told, broken, between: !broken && headers.atBoundary }
}

/** The same of all bytes at once. */
function walkWhole(side: 'client' | 'node', whole: Buffer): ReturnType<typeof walk> {
  const told: string[] = []
  const broke = { told, broken: true, between: false }
  let at = 0
  while (at + 5 <= whole.length) {
    const type = String.fromCharCode(whole.readUInt8(at))
    const length = whole.readInt32BE(at + 1)
    if (length < 4) return broke
    const ready = side === 'node' && type === 'Z'
    const fixed = ready ? 5 : side === 'client' && 'SH'.includes(type) ? 4 : length
    if (length !== fixed) return broke
    if (ready && at + 5 === whole.length) return { told, broken: false, between: false }
    const silent = type === 'd' || (side === 'node' && type === 'D')
    if (!silent) told.push(`${type.charCodeAt(0)}:${ready ? whole[at + 5] : 0}`)
    at += 1 + length
  }
  return { told, broken: false, between: at === whole.length }
}

const headers = target(
  'wire/headers',
  fc.tuple(stream, places, fc.constantFrom('client' as const, 'node' as const)),
  ([whole, at, side]) => {
    const expected = walkWhole(side, whole)
    for (const chunks of [cut(whole, []), cut(whole, at)])
      mustEqual(walk(side, chunks), expected, 'what is told')
  },
)

const turn = fc.record({
  client: fc.boolean(),
  type: fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...'QFPBDECHSdcfXZTGHW12nNAKR') },
    { weight: 1, arbitrary: fc.nat(255).map((code) => String.fromCharCode(code)) },
  ),
  status: fc.constantFrom('I', 'T', 'E', 'x', '\0'),
})
/** One statement and its answer, as a client that waits sees them. */
const exchange = fc.record({
  asks: fc.constantFrom('Q', 'F', 'S', 'PBDES', 'PS', 'PBESH', 'CS'),
  answers: fc.constantFrom('TDDC', 'C', 'E', 'NTC', 'SE', 'A', '12nC', ''),
  status: fc.constantFrom('I', 'T', 'E'),
})
const STATES = ['quiet', 'transaction', 'failed', 'busy', 'copying']

const phase = target(
  'wire/phase',
  fc.record({
    orderly: fc.array(exchange, { maxLength: 5 }),
    wild: fc.array(turn, { maxLength: 60 }),
  }),
  ({ orderly, wild }) => {
    const phase = new Phase()
    const names: Record<string, string> = { I: 'quiet', T: 'transaction', E: 'failed' }
    for (const { asks, answers, status } of orderly) {
      const quietly = answers.replace(/[^NSA]/g, '')
      // A Query is never answered by ReadyForQuery alone, and a lone Sync by nothing else.
      const answered =
        asks === 'S' ? quietly : /[QF]/.test(asks) && answers === quietly ? 'C' : answers
      for (const type of asks) phase.fromClient(type.charCodeAt(0))
      mustEqual(phase.state, 'busy', 'while the node owes an answer')
      for (const type of answered) phase.fromNode(type.charCodeAt(0), 0)
      phase.fromNode('Z'.charCodeAt(0), status.charCodeAt(0))
      mustEqual([phase.state, phase.owed], [names[status], 0], 'after the answer')
    }
    let over = false
    for (const [at, { client, type, status }] of wild.entries()) {
      if (client) phase.fromClient(type.charCodeAt(0))
      else phase.fromNode(type.charCodeAt(0), status.charCodeAt(0))
      over ||= client && !'QFPBDECHSdcf'.includes(type)
      must(STATES.includes(phase.state), 'no state', phase.state)
      must(
        !over || phase.state === 'busy',
        'a client that left, or broke the protocol, is not over',
      )
      must(phase.owed >= 0 && phase.owed <= at + 2, 'more is kept than was sent', phase.owed)
    }
  },
)

const peer = fc.record({
  address: fc.oneof(fc.ipV4(), fc.ipV6()),
  port: fc.nat(65_535),
})

function v1({ address, port }: { address: string; port: number }): Buffer {
  const family = isIP(address) === 4 ? 'TCP4' : 'TCP6'
  const to = family === 'TCP4' ? '10.0.0.1' : '::1'
  return Buffer.from(`PROXY ${family} ${address} ${to} ${port} 5432\r\n`)
}

const oneTlv = fc.tuple(fc.constantFrom(1, 2, 3, 4, 0x20, 0x30, 0xea), bytes(8))
const v2 = fc
  .tuple(
    fc.constantFrom(0x20, 0x21, 0x21, 0x21, 0x22, 0x11),
    fc.constantFrom(0x00, 0x11, 0x11, 0x21, 0x12, 0x31, 0x42),
    fc.oneof(
      bytes(40),
      fc.constantFrom(12, 36, 216).map((size) => Buffer.alloc(size, 7)),
    ),
    fc.array(oneTlv, { maxLength: 3 }),
  )
  .map(([command, family, addresses, tlvs]) =>
    proxyV2(command, family, addresses, ...tlvs.map(([type, value]) => tlv(type, value))),
  )
const proxyBytes = fc
  .tuple(nearly(fc.oneof(peer.map(v1), v2)), bytes(12))
  .map((both) => Buffer.concat(both))

const proxyHeader = target('wire/proxy_header', fc.tuple(proxyBytes, places), ([whole, at]) => {
  const found = taken(whole, at, (framing) => {
    const header = framing.leading(decodeProxyHeader)
    return header && { client: header[0] }
  })
  if (found === undefined || !('value' in found)) {
    must(found === undefined || found.code === 'proxy_header', 'another failure', found)
    return
  }
  const { client } = found.value
  if (client === undefined) return
  must(isIP(client.address) > 0 && client.port >= 0 && client.port <= 65_535, 'no peer', client)
  // One address has one spelling, whichever version it came by.
  const again = decodeProxyHeader(v1(client))
  mustEqual(again?.value, client, 'told by version 1 again')
})

const passwordFrames = fc.tuple(
  nearly(oddText.map((text) => message('p', `${text}\0`))),
  fc.boolean(),
)

const password = target('wire/password', passwordFrames, ([whole, take]) => {
  const framing = new Framing()
  framing.push(Buffer.from(whole))
  const asked = outcome(() => framing.message(1_000), ['message_too_large'])
  const frame = 'value' in asked ? asked.value : undefined
  if (frame === undefined) return
  const before = Buffer.from(frame.body)
  const read = outcome(
    () => (take ? takePassword(frame).toString('hex') : decodePassword(frame).reveal()),
    ['client_gone', 'password_expected', 'invalid_password_message'],
  )
  must(
    frame.body.every((byte) => byte === 0),
    'the frame is not wiped',
  )
  const right = frame.type === 0x70 && before.indexOf(0) === before.length - 1 && before.length > 0
  mustEqual('value' in read, right, 'one string and its NUL are a password, and nothing else')
  if (!('value' in read)) return
  const text = before.toString('utf8', 0, before.length - 1)
  mustEqual(read.value, take ? whole.subarray(0, before.length + 5).toString('hex') : text, 'it')
})

const report = fc.record({
  severity: fc.constantFrom('FATAL' as const, 'ERROR' as const),
  sqlstate: fc.constantFrom('28000', '08P01'),
  message: nearlyText(oddText),
  detail: fc.option(oddText, { nil: undefined }),
  hint: fc.option(oddText, { nil: undefined }),
})

const reports = target('wire/error_response', report, (said) => {
  for (const bytes of [errorResponse(said), noticeResponse(said)]) {
    mustEqual(bytes.readUInt32BE(1), bytes.length - 1, 'the length')
    const fields = bytes.toString('utf8', 5).split('\0')
    const shown = (text: string) => Buffer.from(text.replaceAll('\0', '\ufffd')).toString()
    const expected = [
      ...[`S${said.severity}`, `V${said.severity}`, `C${said.sqlstate}`, `M${shown(said.message)}`],
      ...(said.detail === undefined ? [] : [`D${shown(said.detail)}`]),
      ...(said.hint === undefined ? [] : [`H${shown(said.hint)}`]),
    ]
    mustEqual(fields, [...expected, '', ''], 'the fields')
  }
})

export const wireTargets: Target[] = [
  startupPackets,
  framing,
  headers,
  phase,
  proxyHeader,
  password,
  reports,
]
