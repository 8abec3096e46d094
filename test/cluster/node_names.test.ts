/** Nodes under a DNS name, asked of a name server on loopback. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Answer,
  follow,
  type Names,
  openNames,
  type Place,
} from '../../src/cluster/node_names.ts'
import { type DnsRecord, type DnsServer, startDnsServer } from '../support/dns_server.ts'

let server: DnsServer
let names: Names
beforeEach(async () => {
  server = await startDnsServer()
  names = openNames([server.address])
})
afterEach(() => server.close())

const a = (address: string, ttl = 60): DnsRecord => ({ type: 'A', address, ttl })
const srv = (host: string, priority: number, weight: number): DnsRecord => {
  return { type: 'SRV', host, port: 5433, priority, weight, ttl: 60 }
}

describe('addresses', () => {
  it('are those of both kinds', async () => {
    server.zone.set('db.test', [
      a('127.0.0.1'),
      a('127.0.0.2'),
      { type: 'AAAA', address: '2001:db8:0:0:0:0:0:1', ttl: 90 },
    ])
    const { places, goodForMs } = await names.addresses('db.test', 5432)
    expect(places.map(({ host }) => host).sort()).toEqual(['127.0.0.1', '127.0.0.2', '2001:db8::1'])
    expect(
      places.every(({ port, weight, priority }) => port === 5432 && weight === 1 && priority === 0),
    ).toBe(true)
    expect(goodForMs).toBe(60_000)
    expect([...server.asked].sort()).toEqual(['db.test A', 'db.test AAAA'])
  })

  it.each([
    [0, 5_000],
    [6, 6_000],
    [86_400, 300_000],
  ])('with a TTL of %i s are good for %i ms', async (ttl, goodForMs) => {
    server.zone.set('db.test', [a('127.0.0.1', ttl)])
    expect(await names.addresses('db.test', 5432)).toMatchObject({ goodForMs })
  })

  it('that are there twice are one', async () => {
    server.zone.set('db.test', [a('127.0.0.1'), a('127.0.0.1')])
    expect((await names.addresses('db.test', 5432)).places).toHaveLength(1)
  })

  it.each<[string, DnsRecord[] | 'fails' | undefined, RegExp]>([
    ['a name that is none', undefined, /db\.test has no records/],
    ['a name without them', [], /db\.test has no records/],
    ['a server that fails', 'fails', /ESERVFAIL/],
  ])('%s is a failure', async (_name, records, why) => {
    if (records !== undefined) server.zone.set('db.test', records)
    await expect(names.addresses('db.test', 5432)).rejects.toThrow(why)
  })
})

describe('services', () => {
  it('have hosts, ports, priorities and weights', async () => {
    server.zone.set('_postgres._tcp.test', [srv('a.test', 0, 3), srv('b.test', 1, 0)])
    expect(await names.services('_postgres._tcp.test')).toEqual({
      goodForMs: 30_000,
      places: expect.arrayContaining([
        { host: 'a.test', port: 5433, weight: 3, priority: 0 },
        { host: 'b.test', port: 5433, weight: 1, priority: 1 },
      ]),
    })
  })

  it('that are none, says their record, are none', async () => {
    server.zone.set('_postgres._tcp.test', [srv('.', 0, 0)])
    await expect(names.services('_postgres._tcp.test')).rejects.toThrow('has no records')
  })
})

it('a name is asked for again, and what it said stays when it says no more', async () => {
  const place = (host: string): Place => ({ host, port: 1, weight: 1, priority: 0 })
  const answers: (Answer | Error)[] = [
    { places: [place('a')], goodForMs: 1 },
    new Error('gone'),
    { places: [place('b')], goodForMs: 60_000 },
  ]
  const told: unknown[] = []
  await new Promise<void>((done) => {
    const following = follow(
      async () => {
        const next = answers.shift()
        if (next instanceof Error || next === undefined) throw next
        return next
      },
      {
        found(places) {
          told.push(places.map(({ host }) => host))
          if (answers.length > 0) return
          following.stop()
          done()
        },
        failed: (why) => told.push(why),
      },
      1,
    )
  })
  expect(told).toEqual([['a'], 'gone', ['b']])
})
