/** PROXY headers of version 2, as a test wants them: right or wrong. */

/** @param command - version and command; @param family - of addresses, and the transport. */
export function proxyV2(command: number, family: number, ...rest: Buffer[]): Buffer {
  const body = Buffer.concat(rest)
  const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n\0\0\0\0', 'latin1')
  head.writeUInt8(command, 12)
  head.writeUInt8(family, 13)
  head.writeUInt16BE(body.length, 14)
  return Buffer.concat([head, body])
}

export function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), value])
}

/** The header of a client at an IPv4 address. */
export function proxyFor(address: string, port = 40_000): Buffer {
  const ports = Buffer.from([port >> 8, port & 0xff, 0x14, 0xd4])
  const addresses = Buffer.from([...address.split('.').map(Number), 10, 0, 0, 1])
  return proxyV2(0x21, 0x11, addresses, ports)
}
