/** deploy/compose.yaml, as far as it can be looked at without an engine: a gate that may do little. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { file } from '../../src/config/schema.ts'

const text = readFileSync(new URL('../../deploy/compose.yaml', import.meta.url), 'utf8')
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

/** The keys that are used, as the Compose specification has them. */
const service = z.strictObject({
  image: z.literal(`postern:${version}`),
  build: z.strictObject({ context: z.literal('..') }),
  command: z.tuple([
    z.literal('serve'),
    z.literal('--config'),
    z.literal('/etc/postern/postern.yaml'),
  ]),
  ports: z.tuple([z.literal('26257:26257'), z.literal('127.0.0.1:8080:8080')]),
  volumes: z.tuple([
    z.strictObject({
      type: z.literal('bind'),
      source: z.string().startsWith('./'),
      target: z.literal('/etc/postern'),
      read_only: z.literal(true),
      bind: z.strictObject({ create_host_path: z.literal(false) }),
    }),
  ]),
  read_only: z.literal(true),
  cap_drop: z.tuple([z.literal('ALL')]),
  security_opt: z.tuple([z.literal('no-new-privileges:true')]),
  ulimits: z.strictObject({ core: z.literal(0), nofile: z.int().min(20_000) }),
  mem_limit: z.string(),
  pids_limit: z.int(),
  stop_grace_period: z.string().regex(/^\d+s$/),
  restart: z.literal('unless-stopped'),
})

it('has a service that may write nothing, and has the time to end its sessions', () => {
  const read = z
    .strictObject({ name: z.string(), services: z.strictObject({ gate: service }) })
    .parse(parse(text))
  const grace = file.shape.shutdown.parse({}).grace
  expect(Number.parseInt(read.services.gate.stop_grace_period, 10) * 1_000).toBeGreaterThan(grace)
})
