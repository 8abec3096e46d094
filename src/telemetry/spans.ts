/**
 * Logins as OpenTelemetry spans, for those who follow one from service to service: a trace a login, in it
 * a span for each time that somebody was waited for. https://opentelemetry.io/docs/specs/otlp/#otlphttp
 * Rule: it costs no login anything. What a collector doesn't take in time is dropped, and counted; no user's
 * name is in it: the trace's id has the request id in it, which leads to the audit stream.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { LoginTrace, Metric } from '../peers/messages.ts'
import { openRandomBytes } from '../random.ts'
import type { Logger } from './log.ts'

export interface Spans {
  note(login: LoginTrace): void
  /** What was noted is sent, if that takes no longer than a moment. */
  close(): Promise<void>
}

export interface SpansParts {
  /** Where OTLP is taken in by HTTP, as JSON. */
  endpoint: string
  /** Postern's own. */
  version: string
  count(metric: Metric): void
  log: Pick<Logger, 'warn'>
}

/** Logins that wait to be sent. */
const WAITING_MAX = 4_096
const AT_ONCE_MAX = 512
const EVERY_MS = 2_000
const ANSWER_MS = 5_000

export function openSpans({ endpoint, version, count, log }: SpansParts): Spans {
  const waiting: LoginTrace[] = []
  const random = openRandomBytes()
  let sending: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let failing = false

  async function send(logins: readonly LoginTrace[]): Promise<void> {
    try {
      await post(endpoint, JSON.stringify(encode(logins, version, random)))
      count({ name: 'traces', result: 'sent', logins: logins.length })
      failing = false
    } catch (thrown) {
      count({ name: 'traces', result: 'dropped', logins: logins.length })
      // The same trouble is told once.
      if (!failing) log.warn(`spans are dropped: ${problemOf(thrown)}`)
      failing = true
    }
  }
  async function sendAll(): Promise<void> {
    while (waiting.length > 0) await send(waiting.splice(0, AT_ONCE_MAX))
  }
  /** One request at a time. */
  function flush(): void {
    timer = undefined
    sending = sending.then(sendAll)
  }
  return {
    note(login) {
      if (waiting.length < WAITING_MAX) waiting.push(login)
      else count({ name: 'traces', result: 'dropped', logins: 1 })
      timer ??= setTimeout(flush, EVERY_MS).unref()
    },
    async close() {
      clearTimeout(timer)
      flush()
      await Promise.race([sending, sleep(ANSWER_MS, undefined, { ref: false })])
    },
  }
}

async function post(endpoint: string, body: string): Promise<void> {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    redirect: 'error',
    signal: AbortSignal.timeout(ANSWER_MS),
  })
  await response.body?.cancel()
  if (!response.ok) throw new Error(`the collector answers ${response.status}`)
}

function problemOf(thrown: unknown): string {
  const { message, cause } = thrown as Error
  return cause instanceof Error ? `${message}: ${cause.message}` : message
}

/** An ExportTraceServiceRequest. Numbers of 64 bits are texts, and ids in hexadecimal, as OTLP's JSON has them. */
function encode(
  logins: readonly LoginTrace[],
  version: string,
  random: (count: number) => Buffer,
): unknown {
  const id = () => random(8).toString('hex')
  return {
    resourceSpans: [
      {
        resource: {
          attributes: attributes({ 'service.name': 'postern', 'service.version': version }),
        },
        scopeSpans: [
          {
            scope: { name: 'postern', version },
            spans: logins.flatMap((each) => spansOf(each, id)),
          },
        ],
      },
    ],
  }
}

/** SPAN_KIND_SERVER, SPAN_KIND_INTERNAL and STATUS_CODE_ERROR of the protocol. */
const SERVER = 2
const INTERNAL = 1
const ERROR = 2

function spansOf({ request, cluster, node, result, startMs, laps }: LoginTrace, id: () => string) {
  const traceId = request.padStart(32, '0')
  const root = id()
  const at = (ms: number) => `${Math.round((startMs + ms) * 1000)}000`
  const [, , endMs = 0] = laps.at(-1) ?? []
  const login = {
    traceId,
    spanId: root,
    name: 'login',
    kind: SERVER,
    startTimeUnixNano: at(0),
    endTimeUnixNano: at(endMs),
    attributes: attributes({
      'postern.request_id': request,
      'postern.cluster': cluster,
      'postern.node': node,
      'postern.result': result,
    }),
    status: result === 'ok' ? {} : { code: ERROR, message: result },
  }
  const waits = laps.map(([whom, fromMs, toMs]) => ({
    traceId,
    spanId: id(),
    parentSpanId: root,
    name: whom,
    kind: INTERNAL,
    startTimeUnixNano: at(fromMs),
    endTimeUnixNano: at(toMs),
  }))
  return [login, ...waits]
}

function attributes(texts: Record<string, string>) {
  return Object.entries(texts)
    .filter(([, text]) => text !== '')
    .map(([key, stringValue]) => ({ key, value: { stringValue } }))
}
