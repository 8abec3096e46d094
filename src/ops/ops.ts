/**
 * DOOR. HTTP for operators: /metrics, /livez, /readyz. It shows no user's data and takes no command;
 * it listens on loopback unless told otherwise.
 */
import { fastify } from 'fastify'
import { FAILURES, Failure } from '../failure.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface OpsDoor {
  port: number
  close(): Promise<void>
}

export interface OpsParts {
  metrics: Metrics
  /** Undefined when sign-ins are taken, else why not. */
  notReady(): string | undefined
}

/** @throws Failure `cannot_listen` */
export async function openOps(
  address: { host: string; port: number },
  parts: OpsParts,
): Promise<OpsDoor> {
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
  try {
    await server.listen(address)
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
