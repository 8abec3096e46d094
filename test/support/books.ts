/**
 * A gate's books, read from outside when everybody has left: its open descriptors, its memory and its
 * counters, held against what its clients say they did. It must be Linux, for /proc.
 */
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Done } from './churn.ts'

/** What is there to begin with. */
export interface Start {
  descriptors: number
  metrics: Metrics
}

/** By name and labels, as they are written. */
export type Metrics = Map<string, number>

/** The gate's first process and its workers. */
export async function processesOf(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}

/** Sockets and files that are open, in all of its processes. */
export async function descriptorsOf(pid: number): Promise<number> {
  const counts = (await processesOf(pid)).map(
    async (each) => (await readdir(`/proc/${each}/fd`)).length,
  )
  return sum(await Promise.all(counts))
}

/** Over a connection that is closed with the answer, so that it is not counted among the gate's. */
export async function metricsOf(opsPort: number): Promise<Metrics> {
  const request = get({ host: '127.0.0.1', port: opsPort, path: '/metrics', agent: false })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const lines = (await text(response)).split('\n').filter((line) => /^\w/.test(line))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** Over all labels, or those that are told. */
export function total(metrics: Metrics, name: string, labels = ''): number {
  const found = [...metrics].filter(
    ([key]) => (key === name || key.startsWith(`${name}{`)) && key.includes(labels),
  )
  return sum(found.map(([, value]) => value))
}

/** All there were, and those that are open. Workers tell of theirs a little later. */
export async function connectionsOf(opsPort: number): Promise<[all: number, open: number]> {
  const metrics = await metricsOf(opsPort)
  return [total(metrics, 'postern_connections_total'), total(metrics, 'postern_connections')]
}

/** Everything that is opened once must be open, and nobody be connected. */
export async function startOf(pid: number, opsPort: number): Promise<Start> {
  return { metrics: await metricsOf(opsPort), descriptors: await descriptorsOf(pid) }
}

/** What of the books is wrong, once everybody has left; it may take a moment to be nothing. */
export async function wrongIn(
  { pid, opsPort }: { pid: number; opsPort: number },
  start: Start,
  done: Done,
): Promise<string[]> {
  const metrics = await metricsOf(opsPort)
  const since = (name: string, labels?: string) =>
    total(metrics, name, labels) - total(start.metrics, name, labels)
  const admitted = since('postern_logins_total', 'result="ok"')
  // Of what those left behind who vanished, the gate sends its own.
  const cancels = since('postern_cancels_total') - since('postern_cancels_total', 'result="own"')
  const books: [what: string, found: number, expected: number][] = [
    ['connections open', total(metrics, 'postern_connections'), 0],
    ['sessions open', total(metrics, 'postern_sessions'), 0],
    ['connections turned away', since('postern_connections_refused_total'), 0],
    ['connections', since('postern_connections_total'), done.connections],
    ['logins and cancels', since('postern_logins_total') + cancels, done.connections],
    ['cancels sent', since('postern_cancels_total', 'result="sent"'), done.cancels],
    ['cancels', cancels, done.cancels],
    ['sessions ended', since('postern_sessions_ended_total'), admitted],
    ['tries on other nodes', since('postern_node_failures_total'), 0],
  ]
  const wrong = books
    .filter(([, found, expected]) => found !== expected)
    .map(([what, found, expected]) => `${what}: ${found} instead of ${expected}`)
  if (admitted < done.sessions) wrong.push(`sessions: ${admitted}, but ${done.sessions} were seen`)
  const descriptors = await descriptorsOf(pid)
  if (descriptors > start.descriptors)
    wrong.push(`descriptors: ${descriptors} instead of ${start.descriptors}`)
  return wrong
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}
