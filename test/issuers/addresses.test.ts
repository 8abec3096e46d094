import { describe, expect, it } from 'vitest'
import { isLoopback, isRefusedAddress, isRefusedHost } from '../../src/issuers/addresses.ts'

const REFUSED = {
  'AWS, Google, Azure metadata': '169.254.169.254',
  'the tasks of ECS': '169.254.170.2',
  'the first link-local one': '169.254.0.0',
  'the last link-local one': '169.254.255.255',
  'AWS by IPv6': 'fd00:ec2::254',
  'EKS pod identity by IPv6': 'fd00:ec2::23',
  'Google by IPv6': 'fd20:ce::254',
  Alibaba: '100.100.100.200',
  'the wire server of Azure': '168.63.129.16',
  Oracle: '192.0.0.192',
  'this host': '0.0.0.0',
  'this network': '0.1.2.3',
  'unspecified IPv6': '::',
  multicast: '224.0.0.251',
  'the last multicast one': '239.255.255.255',
  broadcast: '255.255.255.255',
  'link-local IPv6': 'fe80::1',
  'the last link-local IPv6': 'febf:ffff::1',
  'link-local IPv6 with a zone': 'fe80::1%eth0',
  'multicast IPv6': 'ff02::1',
  'IPv4-mapped': '::ffff:169.254.169.254',
  'IPv4-mapped in hexadecimal': '::ffff:a9fe:a9fe',
  'IPv4-mapped, written out': '0:0:0:0:0:FFFF:A9FE:A9FE',
  'IPv4-mapped this host': '::ffff:0:0',
  'IPv4-compatible': '::169.254.169.254',
  'IPv4-compatible Alibaba': '::6464:64c8',
  NAT64: '64:ff9b::a9fe:a9fe',
  'NAT64, dotted': '64:ff9b::168.63.129.16',
  'NAT64 of a local network': '64:ff9b:1::a9fe:a9fe',
  'NAT64 of a local network, elsewhere in it': '64:ff9b:1:1::a9fe:a9fe',
  'IPv4-translated': '::ffff:0:a9fe:a9fe',
  Teredo: '2001::a9fe:a9fe',
  '6to4': '2002:a9fe:a9fe::1',
  '6to4 this network': '2002::1',
  '6to4 Alibaba': '2002:6464:64c8:1::',
  'what is no address': 'localhost',
  nothing: '',
}

const ALLOWED = [
  '127.0.0.1',
  '127.1.2.3',
  '::1',
  '::ffff:127.0.0.1',
  '10.0.0.1',
  '172.16.0.1',
  '192.168.1.1',
  '100.100.100.201',
  '168.63.129.17',
  '169.253.255.255',
  '169.255.0.0',
  '1.0.0.0',
  '223.255.255.255',
  '8.8.8.8',
  'fd12:3456::1',
  'fec0::1',
  '2001:4860:4860::8888',
  '::ffff:10.0.0.1',
  '64:ff9b::808:808',
  '2002:808:808::1',
]

describe('addresses that are never fetched from', () => {
  it.each(Object.entries(REFUSED))('%s: %s', (_, address) => {
    expect(isRefusedAddress(address)).toBe(true)
  })
  it.each(ALLOWED)('but %s may be', (address) => {
    expect(isRefusedAddress(address)).toBe(false)
    expect(isRefusedHost(address)).toBe(false)
  })
})

it.each([
  ['169.254.169.254', true],
  ['fe80::1', true],
  ['metadata.google.internal', true],
  ['metadata.google.internal.', true],
  ['metadata.goog', true],
  ['instance-data.ec2.internal', true],
  ['metadata.google.internal.example', false],
  ['issuer.example', false],
  ['localhost', false],
])('judges the host %s: %s', (host, refused) => {
  expect(isRefusedHost(host)).toBe(refused)
})

it.each([
  ['127.0.0.1', true],
  ['127.255.255.254', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['128.0.0.1', false],
  ['::2', false],
  ['0.0.0.0', false],
  ['localhost', false],
])('knows whether %s is this machine: %s', (address, here) => {
  expect(isLoopback(address)).toBe(here)
})
