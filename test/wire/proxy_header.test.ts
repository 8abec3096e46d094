/** The PROXY header: what a proxy may say, and everything that looks like it and isn't. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Framing } from '../../src/wire/framing.ts'
import { decodeProxyHeader, PROXY_HEADER_BYTES_MAX } from '../../src/wire/proxy_header.ts'
import { outcome, taken } from '../support/decoding.ts'
import { proxyV2, tlv } from '../support/proxy_header.ts'

const refused = { silent: 'proxy_header' }
const nobody = 'the socket'

/** `address port`, and what is left for the client. */
const take = (framing: Framing): string | undefined => {
  const found = framing.leading(decodeProxyHeader)
  if (found === undefined) return undefined
  const [client] = found
  return client === undefined ? nobody : `${client.address} ${client.port}`
}

const ipv4 = (source: string, port: number) =>
  Buffer.from([...source.split('.').map(Number), 10, 0, 0, 1, port >> 8, port & 0xff, 0x14, 0xd4])
const CLIENT = ipv4('192.0.2.7', 40_000)
const ipv6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from('20010db8000000000000000000000002', 'hex'),
  Buffer.from([0x9c, 0x40, 0x14, 0xd4]),
])

describe('version 1', () => {
  test.each<[line: string, client: string]>([
    ['PROXY TCP4 192.0.2.7 10.0.0.1 40000 5432\r\n', '192.0.2.7 40000'],
    ['PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n', '255.255.255.255 65535'],
    ['PROXY TCP4 0.0.0.0 10.0.0.1 0 0\r\n', '0.0.0.0 0'],
    ['PROXY TCP6 2001:db8::1 2001:db8::2 40000 5432\r\n', '2001:db8::1 40000'],
    ['PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::1 40000 5432\r\n', '2001:db8::1 40000'],
    [
      `PROXY TCP6 ${Array(8).fill('ffff').join(':')} ::1 65535 65535\r\n`,
      `${Array(8).fill('ffff').join(':')} 65535`,
    ],
    ['PROXY UNKNOWN\r\n', nobody],
    [`PROXY UNKNOWN ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`, nobody],
    ['PROXY UNKNOWN whatever this may be\r\n', nobody],
  ])('%j', (line, client) => {
    expect(taken(Buffer.from(line), take)).toBe(client)
    expect(decodeProxyHeader(Buffer.from(`${line}more`))?.size).toBe(line.length)
  })

  test.each([
    'PROXY TCP4 192.0.2.7 10.0.0.1 40000 5432\n\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 40000 5432 \r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 40000 5432 1\r\n',
    'PROXY TCP4 192.0.2.7  10.0.0.1 40000 5432\r\n',
    'PROXY  TCP4 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'PROXY TCP4 192.0.2.07 10.0.0.1 40000 5432\r\n',
    'PROXY TCP4 192.0.2.256 10.0.0.1 40000 5432\r\n',
    'PROXY TCP4 192.0.2 10.0.0.1 40000 5432\r\n',
    'PROXY TCP4 192.0.2.7 ::1 40000 5432\r\n',
    'PROXY TCP4 2001:db8::1 2001:db8::2 40000 5432\r\n',
    'PROXY TCP6 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'PROXY TCP6 fe80::1%lo fe80::2 40000 5432\r\n',
    'PROXY TCP4 localhost 10.0.0.1 40000 5432\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 65536 5432\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 040000 5432\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 -1 5432\r\n',
    'PROXY TCP4 192.0.2.7 10.0.0.1 4e4 5432\r\n',
    'PROXY TCP5 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'PROXY UDP4 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'PROXY tcp4 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'PROXY UNKNOWNS\r\n',
    'PROXY \r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    'proxy TCP4 192.0.2.7 10.0.0.1 40000 5432\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'PROXYTCP4',
  ])('refuses %j', (line) => {
    expect(taken(Buffer.from(line), take)).toEqual(refused)
  })

  test('waits for the end of the line, and for no more than 107 bytes', () => {
    const line = Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`)
    expect(line).toHaveLength(107)
    for (let size = 0; size < 107; size++)
      expect(decodeProxyHeader(line.subarray(0, size))).toBeUndefined()
    expect(decodeProxyHeader(line)).toEqual({ size: 107, value: undefined })
  })
})

describe('version 2', () => {
  test.each<[string, Buffer, string]>([
    ['TCP over IPv4', proxyV2(0x21, 0x11, CLIENT), '192.0.2.7 40000'],
    ['TCP over IPv6', proxyV2(0x21, 0x21, ipv6), '2001:db8::1 40000'],
    ['a proxy that speaks for itself', proxyV2(0x20, 0x00), nobody],
    ['one that says something of addresses all the same', proxyV2(0x20, 0x11, CLIENT), nobody],
    ['one with bytes of any kind', proxyV2(0x20, 0xff, Buffer.alloc(50, 0xff)), nobody],
    ['an unspecified family', proxyV2(0x21, 0x00), nobody],
    ['one with bytes of any kind', proxyV2(0x21, 0x00, Buffer.alloc(50, 0xff)), nobody],
    ['UDP', proxyV2(0x21, 0x12, CLIENT), nobody],
    ['a unix socket', proxyV2(0x21, 0x31, Buffer.alloc(216, '/')), nobody],
    [
      'TLVs that we do not know',
      proxyV2(0x21, 0x11, CLIENT, tlv(0x04, Buffer.alloc(0)), tlv(0xea, Buffer.from('vpce-1'))),
      '192.0.2.7 40000',
    ],
    [
      'as many as may be',
      proxyV2(0x21, 0x11, CLIENT, tlv(0x04, Buffer.alloc(4_096 - 15))),
      '192.0.2.7 40000',
    ],
  ])('%s', (_name, header, client) => {
    expect(taken(header, take)).toBe(client)
    const glued = Buffer.concat([header, Buffer.from('\r\n\r\n')])
    expect(decodeProxyHeader(glued)?.size).toBe(header.length)
  })

  const tampered = (at: number, byte: number, header = proxyV2(0x21, 0x11, CLIENT)) => {
    header[at] = byte
    return header
  }
  test.each<[string, Buffer]>([
    ['another signature', tampered(11, 0x0d)],
    ['version 1 in binary', tampered(12, 0x11)],
    ['version 3', tampered(12, 0x31)],
    ['an unknown command', tampered(12, 0x22)],
    ['an unknown family', tampered(13, 0x41)],
    ['an unknown transport', tampered(13, 0x13)],
    ['more bytes than the bound', tampered(14, 0x10, proxyV2(0x21, 0x11, Buffer.alloc(1)))],
    ['less than two addresses', proxyV2(0x21, 0x11, CLIENT.subarray(1))],
    ['addresses of IPv4 as those of IPv6', proxyV2(0x21, 0x21, CLIENT)],
    ['a TLV without its length', proxyV2(0x21, 0x11, CLIENT, Buffer.from([4, 0]))],
    ['a TLV that is longer than the header', proxyV2(0x21, 0x11, CLIENT, Buffer.from([4, 0, 1]))],
  ])('refuses %s', (_name, header) => {
    expect(taken(header, take)).toEqual(refused)
  })

  describe('a checksum', () => {
    const sum = tlv(0x03, Buffer.alloc(4))
    // Of another implementation; a real haproxy sends one in test/real/proxy_protocol.test.ts.
    const right = proxyV2(0x21, 0x11, CLIENT, tlv(0x03, Buffer.from('1ef0ac21', 'hex')))

    test('that is right', () => {
      expect(taken(right, take)).toBe('192.0.2.7 40000')
    })

    const [addresses, checksum] = [16, 31]
    test.each([addresses, addresses + 11, checksum, checksum + 3])('that byte %i breaks', (at) => {
      for (let bit = 0; bit < 8; bit++) {
        const wrong = Buffer.from(right)
        wrong[at] = (wrong[at] ?? 0) ^ (1 << bit)
        expect(taken(wrong, take)).toEqual(refused)
      }
    })

    test.each([
      ['twice', proxyV2(0x21, 0x11, CLIENT, sum, sum)],
      ['of three bytes', proxyV2(0x21, 0x11, CLIENT, tlv(0x03, Buffer.alloc(3)))],
    ])('%s', (_name, header) => {
      expect(taken(header, take)).toEqual(refused)
    })
  })
})

test('whatever comes is a header, the beginning of one, or refused, in bounded space', () => {
  const start = fc.constantFrom(
    '',
    'PROXY ',
    'PROXY TCP4 ',
    '\r\n\r\n\0\r\nQUIT\n',
    '\r\n\r\n\0\r\nQUIT\n!\x11',
  )
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 200 }), (text, bytes) => {
      const all = Buffer.concat([Buffer.from(text, 'latin1'), bytes])
      const found = outcome(() => decodeProxyHeader(all))
      if (found === undefined) expect(all.length).toBeLessThan(PROXY_HEADER_BYTES_MAX)
      else if ('size' in found) expect(found.size).toBeLessThanOrEqual(all.length)
      else expect(found).toEqual(refused)
    }),
    { numRuns: 2_000 },
  )
})

test('every address and port comes out as it went in, in both versions', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(65_535), (address, port) => {
      const v1 = Buffer.from(`PROXY TCP4 ${address} 10.0.0.1 ${port} 5432\r\n`)
      const v2 = proxyV2(0x21, 0x11, ipv4(address, port))
      for (const header of [v1, v2])
        expect(decodeProxyHeader(header)?.value).toEqual({ address, port })
    }),
  )
})
