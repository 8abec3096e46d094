/** Logins as a collector gets them, by OTLP over HTTP, from a running gate; and what it doesn't get. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import type { LoginTrace, Metric } from '../../src/peers/messages.ts'
import { openSpans } from '../../src/telemetry/spans.ts'
import { startGate } from '../support/gate.ts'
import { startScriptedNode } from '../support/scripted_node.ts'
import { startServe } from '../support/serve.ts'
import { tokensIn } from '../support/tokens.ts'
import { openTls, signIn } from '../support/wire_client.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes?: { key: string; value: { stringValue: string } }[]
  status?: { code?: number; message?: string }
}

/** Answers each request as it is told; keeps what came. */
async function openCollector(answer: (response: ServerResponse) => void) {
  const requests: { type: string | undefined; body: string }[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text) => {
      body += text
    })
    request.on('end', () => {
      requests.push({ type: request.headers['content-type'], body })
      answer(response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const endpoint = `http://127.0.0.1:${port}/v1/traces`
  const spans = () =>
    requests.flatMap(({ body }): Span[] => JSON.parse(body).resourceSpans[0].scopeSpans[0].spans)
  return { endpoint, requests, spans }
}

const attribute = (span: Span | undefined, name: string) =>
  span?.attributes?.find(({ key }) => key === `postern.${name}`)?.value.stringValue

it('a login is a trace, found by its request id, with a span for each wait', async () => {
  const collector = await openCollector((response) => response.end('{}'))
  const node = await startScriptedNode()
  closing.push(() => node.close())
  const gate = await startGate({
    node: node.address,
    top: { tracing: { otlp_endpoint: collector.endpoint } },
  })
  const token = await gate.token('maxroach')
  for (const user of ['maxroach', 'carl']) {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user }, token)
    client.close()
  }
  const good = await gate.event('client_authentication_ok')
  const bad = await gate.event('client_authentication_failed')
  // At its end it sends what it has.
  await gate.close()

  const all = collector.spans()
  const of = ({ SessionID }: Record<string, unknown>) =>
    all.filter(({ traceId }) => traceId === `${SessionID}`.padStart(32, '0'))
  const [login, ...waits] = of(good)
  expect(login).toMatchObject({ name: 'login', kind: 2, status: {} })
  expect(attribute(login, 'request_id')).toBe(good['SessionID'])
  expect(attribute(login, 'cluster')).toBe('test')
  expect(attribute(login, 'node')).toBe(node.address)
  expect(attribute(login, 'result')).toBe('ok')
  expect(waits[0]?.name).toBe('client')
  const names = waits.map(({ name }) => name)
  expect(names).toEqual(expect.arrayContaining(['client', 'gate', 'node']))
  // One after the other, from the beginning to the end.
  let at = login?.startTimeUnixNano
  for (const { parentSpanId, startTimeUnixNano, endTimeUnixNano } of waits) {
    expect([parentSpanId, startTimeUnixNano]).toEqual([login?.spanId, at])
    expect(startTimeUnixNano).toMatch(/^\d{19}$/)
    at = endTimeUnixNano
  }
  expect(at).toBe(login?.endTimeUnixNano)
  expect(new Set(all.map(({ spanId }) => spanId)).size).toBe(all.length)

  const [refused] = of(bad)
  expect(refused?.status).toEqual({ code: 2, message: 'invalid_principal' })
  expect(attribute(refused, 'node')).toBeUndefined()

  const [{ type, body } = { type: '', body: '' }] = collector.requests
  expect(type).toBe('application/json')
  expect(tokensIn(body)).toEqual([])
  expect(body).not.toMatch(/maxroach|carl/)
  expect(JSON.parse(body).resourceSpans[0].resource.attributes).toContainEqual({
    key: 'service.name',
    value: { stringValue: 'postern' },
  })
})

it('logins of worker processes are told by their primary', { timeout: 60_000 }, async () => {
  const collector = await openCollector((response) => response.end('{}'))
  const node = await startScriptedNode()
  closing.push(() => node.close())
  const tracing = { otlp_endpoint: collector.endpoint }
  const gate = await startServe({ node: node.address }, { workers: 2, tracing })
  for (let logins = 0; logins < 3; logins++) {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    client.close()
  }
  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
  const logins = collector.spans().filter(({ name }) => name === 'login')
  expect(logins.map((span) => attribute(span, 'result'))).toEqual(['ok', 'ok', 'ok'])
})

it('without tracing nothing is told', async () => {
  const node = await startScriptedNode()
  closing.push(() => node.close())
  const gate = await startGate({ node: node.address })
  closing.push(() => gate.close())
  const client = await openTls(gate.port, gate.caPem)
  await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
  client.close()
  await gate.event('client_session_end')
  const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
  expect(text).not.toMatch(/^postern_traces_total\{result="sent"\}/m)
})

const trace: LoginTrace = {
  name: 'login_trace',
  request: '1869a5c2d3f4e5b6',
  cluster: 'main',
  node: 'n1',
  result: 'ok',
  startMs: 1_790_000_000_000,
  laps: [['client', 0, 1.5]],
}

function open(endpoint: string) {
  const counted = { sent: 0, dropped: 0 }
  const warnings: string[] = []
  const spans = openSpans({
    endpoint,
    version: '1.2.3',
    count: (metric: Metric) => {
      if (metric.name === 'traces') counted[metric.result] += metric.logins
    },
    log: { warn: (what: unknown) => void warnings.push(String(what)) },
  })
  return { spans, counted, warnings }
}

it('what is more than a collector takes is dropped, and counted', async () => {
  const collector = await openCollector((response) => response.end('{}'))
  const { spans, counted, warnings } = open(collector.endpoint)
  for (let at = 0; at < 5_000; at++) spans.note(trace)
  await spans.close()
  expect([counted, warnings]).toEqual([{ sent: 4_096, dropped: 904 }, []])
  expect(collector.requests.length).toBe(8)
  expect(collector.spans()[1]).toMatchObject({
    startTimeUnixNano: '1790000000000000000',
    endTimeUnixNano: '1790000000001500000',
  })
})

it.each([
  ['answers with an error', 503, 'spans are dropped: the collector answers 503'],
  ['sends it elsewhere', 302, 'spans are dropped: fetch failed'],
])('a collector that %s is told of once', async (_what, status, said) => {
  const collector = await openCollector((response) =>
    response.writeHead(status, { location: '/elsewhere' }).end(),
  )
  const { spans, counted, warnings } = open(collector.endpoint)
  for (let at = 0; at < 600; at++) spans.note(trace)
  await spans.close()
  expect(counted).toEqual({ sent: 0, dropped: 600 })
  expect(warnings).toEqual([expect.stringContaining(said)])
  expect(collector.requests.length).toBe(2)
})

it('a collector that is not there costs its spans alone', async () => {
  const { spans, counted, warnings } = open(`http://127.0.0.1:${await freePort()}/v1/traces`)
  spans.note(trace)
  await spans.close()
  expect(counted).toEqual({ sent: 0, dropped: 1 })
  expect(warnings[0]).toContain('ECONNREFUSED')
})
