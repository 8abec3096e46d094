/**
 * What a node says, from its first byte on: messages, rows, its answers to the gate's own questions, and a
 * whole sign-in. A node may lie, hang up and flood; the gate has one way to say so for each.
 */

import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import fc from 'fast-check'
import { Doubt, exactAnswer } from '../../src/cluster/exact_answer.ts'
import { query } from '../../src/cluster/query.ts'
import { NodeRefused, signIn } from '../../src/cluster/sign_in.ts'
import { Leg, LegEnded } from '../../src/leg.ts'
import { Secret } from '../../src/secret.ts'
import { Framing } from '../../src/wire/framing.ts'
import { decodeNodeMessage, passwordMessage } from '../../src/wire/node_messages.ts'
import { decodeParameterStatus, parameterStatuses } from '../../src/wire/parameter_status.ts'
import { decodeRowMessage } from '../../src/wire/rows.ts'
import { message } from '../support/wire_client.ts'
import { bytes, cut, int32, nearly, oddText, type Places, places } from './made_up.ts'
import { eventually, must, mustEqual, outcome, type Target, target } from './target.ts'

const LIMIT = 70_000

const cString = oddText.map((text) => Buffer.from(`${text.replaceAll('\0', '')}\0`))
const count = (number: number) => int32(number).subarray(2)

function row(values: (Buffer | null)[]): Buffer {
  const parts = values.map((value) =>
    value === null ? int32(-1) : Buffer.concat([int32(value.length), value]),
  )
  return message('D', Buffer.concat([count(values.length), ...parts]))
}

function columns(names: Buffer[]): Buffer {
  const parts = names.map((name) => Buffer.concat([name, Buffer.alloc(18, 1)]))
  return message('T', Buffer.concat([count(names.length), ...parts]))
}

const cells = fc.array(fc.option(bytes(12)), { maxLength: 6 })
const errorFields = fc
  .array(fc.tuple(fc.constantFrom(...'SVCMDHx'), cString), { maxLength: 4 })
  .map((fields) =>
    Buffer.concat([
      ...fields.map(([type, text]) => Buffer.concat([Buffer.from(type), text])),
      Buffer.from([0]),
    ]),
  )
const mechanisms = fc.constantFrom('SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS', 'OAUTHBEARER', 'x')
const authentication = fc.oneof(
  fc.constantFrom(0, 3, 5, 7, 8, 9, 13, -1).map(int32),
  fc
    .array(mechanisms, { maxLength: 3 })
    .map((all) =>
      Buffer.concat([int32(10), Buffer.from(`${all.map((each) => `${each}\0`).join('')}\0`)]),
    ),
  fc
    .tuple(fc.constantFrom(11, 12), bytes(20))
    .map(([kind, data]) => Buffer.concat([int32(kind), data])),
)
const parameter = fc.tuple(cString, cString).map((both) => Buffer.concat(both))

/** One message, right as it is. */
const said = fc.oneof(
  authentication.map((body) => message('R', body)),
  parameter.map((body) => message('S', body)),
  bytes(12).map((body) => message('K', body)),
  fc.constantFrom('I', 'T', 'E').map((status) => message('Z', status)),
  errorFields.map((body) => message('E', body)),
  errorFields.map((body) => message('N', body)),
  cells.map(row),
  fc.array(cString, { maxLength: 4 }).map(columns),
  fc.constantFrom('SELECT 1', 'SET', 'SELECT 0').map((tag) => message('C', `${tag}\0`)),
  fc
    .tuple(fc.constantFrom(...'IvGHWdctns12A'), bytes(12))
    .map(([type, body]) => message(type, body)),
)

function frameOf(whole: Buffer) {
  const framing = new Framing()
  framing.push(Buffer.from(whole))
  const asked = outcome(() => framing.message(LIMIT), ['message_too_large'])
  return 'value' in asked ? asked.value : undefined
}

const messages = target('node/messages', nearly(said), (whole) => {
  const frame = frameOf(whole)
  if (frame === undefined) return
  const before = Buffer.from(frame.whole)
  const read = outcome(() => decodeNodeMessage(frame), ['node_protocol'])
  mustEqual(frame.whole, before, 'what is passed on was changed')
  if (!('value' in read)) return
  const kind = read.value?.kind
  if (kind === 'authenticationOk') mustEqual(before.subarray(5), int32(0), 'let in by')
  if (kind === 'readyForQuery') mustEqual(before.length, 6, 'ready by')
})

const rows = target(
  'node/rows',
  fc.tuple(cells, fc.array(cString, { maxLength: 5 })),
  ([values, names]) => {
    const asText = (value: Buffer | null) => value?.toString('utf8') ?? null
    for (const [whole, expected] of [
      [row(values), { kind: 'row', values: values.map(asText) }],
      [
        columns(names),
        { kind: 'columns', names: names.map((name) => name.toString('utf8', 0, name.length - 1)) },
      ],
    ] as const) {
      const frame = frameOf(whole)
      mustEqual(frame && decodeRowMessage(frame), expected, 'written and read')
    }
  },
)

const rowBytes = target(
  'node/row_bytes',
  nearly(fc.oneof(cells.map(row), fc.array(cString).map(columns))),
  (whole) => {
    const frame = frameOf(whole)
    if (frame !== undefined) outcome(() => decodeRowMessage(frame), ['node_protocol'])
  },
)

const statuses = fc.array(fc.tuple(cString, cString), { maxLength: 5 })
const parameters = target(
  'node/parameter_status',
  fc.tuple(statuses, errorFields, bytes(20)),
  ([all, notice, wild]) => {
    const own = all.map((pair) => message('S', Buffer.concat(pair)))
    const read = parameterStatuses(
      Buffer.concat(own.flatMap((each) => [message('N', notice), each])),
    )
    mustEqual(read.bytes, Buffer.concat(own), 'the messages')
    const text = (part: Buffer) => part.toString('utf8', 0, part.length - 1)
    mustEqual(
      [...read.values],
      [...new Map(all.map(([name, value]) => [text(name), text(value)]))],
      'the values',
    )
    outcome(() => decodeParameterStatus(wild), ['node_protocol'])
  },
)

/** A leg over memory, which says this in these pieces, then closes. */
function speaking(whole: Buffer, at: Places): { leg: Leg; close(): void } {
  const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
  const leg = new Leg(wire as unknown as Socket, 'node', new AbortController().signal)
  const say = async () => {
    for (const chunk of cut(whole, at)) {
      wire.push(chunk)
      await Promise.resolve()
    }
    wire.push(null)
  }
  void say()
  return { leg, close: () => void wire.destroy() }
}

/** What came of it: undefined for what a node may well do to us, in the words of `documented`. */
async function heard<T>(
  whole: Buffer,
  at: Places,
  documented: readonly (new (...all: never[]) => Error)[],
  ask: (leg: Leg) => Promise<T>,
): Promise<T | undefined> {
  const { leg, close } = speaking(whole, at)
  try {
    const found = await eventually(ask(leg), [
      'node_protocol',
      'node_signin_failed',
      'message_too_large',
    ])
    return 'value' in found ? found.value : undefined
  } catch (thrown) {
    if (![LegEnded, ...documented].some((each) => thrown instanceof each)) throw thrown
    return undefined
  } finally {
    close()
  }
}

const KNOWN = new Map([['application_name', 'x']])
const status = (name: string, value: string) => message('S', `${name}\0${value}\0`)
const answer = nearly(
  fc
    .record({
      told: fc.array(
        fc.constantFrom(status('application_name', 'x'), status('application_name', 'y')),
        { maxLength: 1 },
      ),
      head: fc.array(fc.constant(columns([Buffer.from('a\0')])), { maxLength: 2 }),
      row: fc.array(cells.map(row), { maxLength: 1 }),
      tag: fc.constantFrom('SELECT 1', 'SELECT 1', 'SELECT 0', 'SET'),
      more: fc.array(said, { maxLength: 1 }),
      status: fc.constantFrom('I', 'I', 'T'),
    })
    .map(({ told, head, row, tag, more, status }) =>
      Buffer.concat([
        ...head,
        ...told,
        ...row,
        message('C', `${tag}\0`),
        ...more,
        message('Z', status),
      ]),
    ),
)

/** The row of an answer that is exactly right, message by message; undefined for all else. */
function exactRow(whole: Buffer): (string | null)[] | undefined {
  let types = ''
  let found: (string | null)[] = []
  for (let at = 0; at + 5 <= whole.length && !types.endsWith('Z') && types.length < 100; ) {
    const type = String.fromCharCode(whole.readUInt8(at))
    const end = at + 1 + whole.readUInt32BE(at + 1)
    if (end < at + 5 || end > whole.length || end - at - 5 > 64 * 1024) return undefined
    const body = whole.subarray(at + 5, end)
    types += type
    if (type === 'S' && !body.equals(Buffer.from('application_name\0x\0'))) return undefined
    if (type === 'C' && !body.equals(Buffer.from('SELECT 1\0'))) return undefined
    if (type === 'Z' && !body.equals(Buffer.from('I'))) return undefined
    if (type === 'D') {
      const values = rowIn(body)
      if (values === undefined) return undefined
      found = values
    }
    at = end
  }
  return /^[ST]*D?[ST]*CS*Z$/.test(types) ? found : undefined
}

function rowIn(body: Buffer): (string | null)[] | undefined {
  const values: (string | null)[] = []
  if (body.length < 2) return undefined
  let at = 2
  for (let left = body.readUInt16BE(0); left > 0; left--) {
    if (at + 4 > body.length) return undefined
    const size = body.readInt32BE(at)
    if (size < -1 || at + 4 + size > body.length) return undefined
    values.push(size < 0 ? null : body.toString('utf8', at + 4, at + 4 + size))
    at += 4 + Math.max(size, 0)
  }
  return at === body.length ? values : undefined
}

const exact = target('node/exact_answer', fc.tuple(answer, places), async ([whole, at]) => {
  const found = await heard(whole, at, [Doubt], (leg) => exactAnswer(leg, ['SELECT 1'], KNOWN))
  mustEqual(found, exactRow(whole), 'the answer')
})

const talk = nearly(fc.array(said, { maxLength: 8 }).map((all) => Buffer.concat(all)))

const queries = target('node/query', fc.tuple(talk, places), async ([whole, at]) => {
  const once = await heard(whole, [], [NodeRefused], (leg) => query(leg, 'SELECT 1'))
  const again = await heard(whole, at, [NodeRefused], (leg) => query(leg, 'SELECT 1'))
  mustEqual(again, once, 'other cuts, another result')
})

const signIns = target(
  'node/sign_in',
  fc.tuple(talk, places, fc.boolean()),
  async ([whole, at, required]) => {
    const answers = {
      ...(required && { required }),
      password: (node: Leg) => node.send(passwordMessage(new Secret('secret'))),
    }
    const ask = (leg: Leg) => signIn(leg, [['user', 'ann']], answers)
    const once = await heard(whole, [], [NodeRefused], ask)
    mustEqual(await heard(whole, at, [NodeRefused], ask), once, 'other cuts, another result')
    if (once === undefined) return
    mustEqual(once.readyForQuery.subarray(0, 5), Buffer.from('Z\0\0\0\x05'), 'the end')
    for (let at = 0; at < once.messages.length; at += 1 + once.messages.readInt32BE(at + 1))
      must(
        'SN'.includes(String.fromCharCode(once.messages.readUInt8(at))),
        'something else is passed on',
      )
  },
)

export const nodeTargets: Target[] = [messages, rows, rowBytes, parameters, exact, queries, signIns]
