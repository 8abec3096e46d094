/** A name server on loopback that says what a test tells it to (RFC 1035, RFC 2782). */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

export type DnsRecord =
  | { type: 'A' | 'AAAA'; address: string; ttl: number }
  | { type: 'SRV'; host: string; port: number; priority: number; weight: number; ttl: number }

export interface DnsServer {
  /** As `host:port`. */
  address: string
  /** `name TYPE` of each question, in order. */
  asked: string[]
  /** Names with their records; `fails` for a server that can't say. A name that is not here is none. */
  zone: Map<string, DnsRecord[] | 'fails'>
  /** Waits for so many questions. */
  until(count: number): Promise<void>
  close(): void
}

const TYPES: Record<number, string> = { 1: 'A', 28: 'AAAA', 33: 'SRV' }
const NAME_ERROR = 3
const SERVER_FAILURE = 2

export async function startDnsServer(): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const server: Omit<DnsServer, 'address'> = {
    asked: [],
    zone: new Map(),
    async until(count) {
      while (server.asked.length < count) await once(socket, 'message')
    },
    close: () => socket.close(),
  }
  socket.on('message', (query, { port, address }) => {
    const { name, type, end } = question(query)
    server.asked.push(`${name} ${TYPES[type] ?? type}`)
    const found = server.zone.get(name)
    const records = Array.isArray(found) ? found.filter((each) => each.type === TYPES[type]) : []
    const header = Buffer.from(query.subarray(0, 12))
    header.writeUInt16BE(
      0x8580 | (found === undefined ? NAME_ERROR : found === 'fails' ? SERVER_FAILURE : 0),
      2,
    )
    header.writeUInt16BE(records.length, 6)
    header.writeUInt32BE(0, 8)
    const answer = Buffer.concat([
      header,
      query.subarray(12, end),
      ...records.map((each) => encode(each, type)),
    ])
    socket.send(answer, port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { ...server, address: `127.0.0.1:${socket.address().port}` }
}

function question(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let size = query[at] ?? 0; size > 0; size = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size))
    at += size + 1
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}

function encode(record: DnsRecord, type: number): Buffer {
  const data = record.type === 'SRV' ? service(record) : bytesOf(record.address)
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt32BE(record.ttl, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function service({ host, port, priority, weight }: Extract<DnsRecord, { type: 'SRV' }>): Buffer {
  const numbers = Buffer.alloc(6)
  numbers.writeUInt16BE(priority, 0)
  numbers.writeUInt16BE(weight, 2)
  numbers.writeUInt16BE(port, 4)
  const labels = host.split('.').filter((label) => label !== '')
  const name = labels.map((label) =>
    Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]),
  )
  return Buffer.concat([numbers, ...name, Buffer.alloc(1)])
}

/** IPv6 in full: eight groups. */
function bytesOf(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number))
  return Buffer.from(
    address
      .split(':')
      .map((group) => group.padStart(4, '0'))
      .join(''),
    'hex',
  )
}
