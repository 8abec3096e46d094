/** Sessions on each worker of a gate in processes of its own, and what the gate says of its workers. */
import { expect } from 'vitest'
import type { Served } from './serve.ts'
import { openTls, query, refusalOf, signIn, type WireClient } from './wire_client.ts'

export interface OnWorker {
  client: WireClient
  key: Buffer
}

export const APPLICATION = 'worked'
const USER = { user: 'maxroach', database: 'defaultdb', application_name: APPLICATION }

/** Somebody who comes in; `clients` has everybody, to be closed at the end. */
export async function comeIn(
  gate: Served,
  clients: WireClient[],
  token?: string,
): Promise<OnWorker> {
  const client = await openTls(gate.port, gate.caPem)
  clients.push(client)
  const said = await signIn(client, USER, token ?? (await gate.token('maxroach')))
  expect(refusalOf(said)).toBeUndefined()
  return { client, key: said.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0) }
}

/** A session on each worker, by the worker's number, which a cancel key has in its first twelve bits. */
export async function onEachWorker(
  gate: Served,
  clients: WireClient[],
  workers: number,
  token?: string,
): Promise<Map<number, OnWorker>> {
  const sessions = new Map<number, OnWorker>()
  // The system gives a connection to whom it likes: several at a time find several workers.
  for (let tries = 0; sessions.size < workers; tries++) {
    expect(tries, 'all connections come to one worker').toBeLessThan(20)
    const some = await Promise.all(Array.from({ length: 8 }, () => comeIn(gate, clients, token)))
    for (const session of some) sessions.set(session.key.readUInt16BE(0) >>> 4, session)
  }
  return sessions
}

/** Of the workers that were opened so far, by their numbers; those that have gone stay in it. */
export function pidsOf({ said }: Pick<Served, 'said'>): Map<number, number> {
  const opened = said().matchAll(/"worker":(\d+),"pid":(\d+),"msg":"a worker is open"/g)
  return new Map([...opened].map(([, worker, pid]) => [Number(worker), Number(pid)]))
}

export async function ask(client: WireClient): Promise<void> {
  client.write(query('select 1'))
  expect((await client.until('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z'])
}

export async function metric(gate: Served, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gate.opsPort}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? 0)
}

export async function audited(gate: Served, type: string): Promise<Record<string, unknown>[]> {
  // Whole lines: who was refused hears of it before the last one is written.
  const lines = (await gate.auditText()).split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line)).filter(({ EventType }) => EventType === type)
}
