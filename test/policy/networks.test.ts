/** Networks and who is in them: as net.BlockList finds it, one after the other, for each family by itself. */
import { BlockList, SocketAddress } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Network,
  networkText,
  openNetworks,
  openNetworkTable,
  readNetwork,
} from '../../src/policy/networks.ts'

function read(text: string): Network {
  const network = readNetwork(text)
  if (network === undefined) throw new Error(`no network: ${text}`)
  return network
}

/** Near to each other, so that networks overlap and many addresses are in one. */
const byte = fc.constantFrom(0, 1, 10, 127, 128, 192, 255)
const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'))
const group = fc.constantFrom(0, 1, 0x20, 0x8000, 0xfd00, 0xffff)
const ipv6 = fc
  .array(group, { minLength: 8, maxLength: 8 })
  // ::ffff:0:0/96 is IPv4.
  .filter((groups) => groups.slice(0, 5).some((each) => each !== 0) || groups[5] !== 0xffff)
  .map((groups) => groups.map((each) => each.toString(16)).join(':'))
const networks = fc.array(
  fc.oneof(
    fc.tuple(ipv4, fc.nat(32)).map(([address, bits]) => `${address}/${bits}`),
    fc.tuple(ipv6, fc.nat(128)).map(([address, bits]) => `${address}/${bits}`),
  ),
  { maxLength: 12 },
)
const client = fc.oneof(
  ipv4.map((address) => ({ address, shown: address, family: 'ipv4' as const })),
  ipv4.map((address) => ({ address, shown: `::ffff:${address}`, family: 'ipv4' as const })),
  ipv6.map((address) => ({ address, shown: address, family: 'ipv6' as const })),
  ipv6.map((address) => {
    const short = new SocketAddress({ address, family: 'ipv6' }).address
    return { address, shown: `${short}%eth0`, family: 'ipv6' as const }
  }),
)

/** Each family in a list of its own: in one list ::/0 would be IPv4 as well. */
function oracle(all: readonly Network[]) {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const { address, bits, family } of all) lists[family].addSubnet(address, bits, family)
  return (address: string, family: 'ipv4' | 'ipv6') => lists[family].check(address, family)
}

describe('an address', () => {
  it('is in a network where a list of all of them says so', () => {
    fc.assert(
      fc.property(networks, fc.array(client, { minLength: 1 }), (texts, clients) => {
        const all = texts.map(read)
        const [found, expected] = [openNetworks(all), oracle(all)]
        for (const { address, shown, family } of clients)
          expect(found.include(shown), `${shown} in ${texts}`).toBe(expected(address, family))
      }),
      { numRuns: 300 },
    )
  })

  it('is in what is left of them, and is told of the smallest first', () => {
    fc.assert(
      fc.property(
        networks,
        fc.array(fc.nat()),
        client,
        (texts, out, { address, shown, family }) => {
          const all = texts.map(read)
          const table = openNetworkTable<Network>()
          for (const each of all) table.put(each, each)
          const left = [...all]
          for (const at of out) {
            const [gone] = left.length > 0 ? left.splice(at % left.length, 1) : []
            if (gone !== undefined) table.remove(gone, (each) => each === gone)
          }
          const around = left.filter((each) => oracle([each])(address, family))
          const smallest = Math.max(...around.map(({ bits }) => bits))
          expect(table.find(shown, () => true)?.bits).toBe(around.length > 0 ? smallest : undefined)
          const seen: Network[] = []
          table.find(shown, (each) => seen.push(each) < 0)
          expect(new Set(seen)).toEqual(new Set(around))
        },
      ),
      { numRuns: 300 },
    )
  })

  it.each<[string, string, boolean]>([
    ['::/0', '10.1.2.3', false],
    ['::/0', '::ffff:10.1.2.3', false],
    ['::/0', '2001:db8::1', true],
    ['0.0.0.0/0', '10.1.2.3', true],
    ['0.0.0.0/0', '::ffff:10.1.2.3', true],
    ['0.0.0.0/0', '::ffff:a01:203', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['0.0.0.0/0', '::10.1.2.3', false],
    ['::ffff:10.0.0.0/104', '10.1.2.3', true],
    ['::ffff:10.0.0.0/104', '11.1.2.3', false],
    ['::ffff:0:0/95', '10.1.2.3', false],
    ['::ffff:10.1.2.3', '10.1.2.3', true],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['10.0.0.0/8', 'somewhere', false],
  ])('%s has %s: %s', (network, address, isIn) => {
    expect(openNetworks([read(network)]).include(address)).toBe(isIn)
  })
})

describe('a network', () => {
  it.each<[string, string]>([
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3'],
    ['10.1.2.3/32', '10.1.2.3'],
    ['10.1.2.3/31', '10.1.2.2/31'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['FD00:0::1/8', 'fd00::/8'],
    ['fd00:0:0:0:0:0:0:66', 'fd00::66'],
    ['2001:db8::ffff/121', '2001:db8::ff80/121'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
    ['::/0', '::/0'],
  ])('%s has one spelling: %s', (text, spelled) => {
    expect(networkText(read(text))).toBe(spelled)
    expect(networkText(read(spelled))).toBe(spelled)
  })

  it.each([
    '',
    '10.0.0.0/33',
    'fd00::/129',
    '10.0.0/8',
    '010.0.0.1',
    'fe80::1%eth0',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '/8',
    ' 10.0.0.1',
  ])('%j is none', (text) => {
    expect(readNetwork(text)).toBeUndefined()
  })
})
