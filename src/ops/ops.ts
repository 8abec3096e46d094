/**
 * DOOR. HTTP for operators: the status page, /metrics, /livez, /readyz. It shows no user's data and takes no
 * command; it listens on loopback unless told otherwise.
 * Rule: the page is for people, so it is the one thing here that a browser must not give to other sites.
 */
import { type FastifyInstance, fastify } from 'fastify'
import { FAILURES, Failure } from '../failure.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Status } from '../telemetry/status.ts'
import { isKnownHost } from './host.ts'
import { PAGE_POLICY, page } from './page.ts'

export interface OpsDoor {
  port: number
  close(): Promise<void>
}

export interface OpsParts {
  metrics: Metrics
  /** Undefined when sign-ins are taken, else why not. */
  notReady(): string | undefined
  /** What the page shows. */
  status(): Status
  /** Names that the page goes by, beside those that it has anyway; in small letters. */
  hosts(): readonly string[]
}

type Address = { host: string; port: number }

/** @throws Failure `cannot_listen` */
export async function openOps(address: Address, parts: OpsParts): Promise<OpsDoor> {
  const server = fastify({ logger: false, forceCloseConnections: true, connectionTimeout: 10_000 })
  server.get('/livez', async () => 'ok\n')
  server.get('/readyz', async (_request, reply) => {
    const why = parts.notReady()
    return why === undefined ? 'ok\n' : reply.code(FAILURES.not_ready.http).send(`${why}\n`)
  })
  server.get('/metrics', async (_request, reply) => {
    const { type, text } = await parts.metrics.render()
    return reply.header('content-type', type).send(text)
  })
  servePage(server, address, parts)
  try {
    // A copy: fastify writes into what it is given.
    await server.listen({ ...address })
  } catch (thrown) {
    const problem = thrown instanceof Error ? thrown.message : String(thrown)
    throw new Failure('cannot_listen', {
      values: { address: `${address.host}:${address.port}`, problem },
      cause: thrown,
    })
  }
  const bound = server.server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
  return { port, close: () => server.close() }
}

/** Nobody else frames it, keeps it, or learns where a link of it was followed from. */
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': PAGE_POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
}

function servePage(server: FastifyInstance, { host }: Address, { status, hosts }: OpsParts): void {
  server.get<{ Querystring: { refresh?: unknown } }>('/', async ({ headers, query }, reply) => {
    if (!isKnownHost(headers.host, [host.toLowerCase(), ...hosts()])) {
      const { http, say } = FAILURES.unknown_host
      return reply.code(http).header('x-content-type-options', 'nosniff').send(`${say}\n`)
    }
    return reply.headers(PAGE_HEADERS).send(page(status(), query.refresh !== undefined))
  })
}
