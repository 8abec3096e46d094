/**
 * The gates that are compared, each a `postern serve` of its own in front of one server: with every way in
 * which its bytes may go. Its clients come with the role's token.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../../src/dev/free_port.ts'
import { startServer } from '../bench/program.ts'
import { AUDIENCE, ISSUER } from '../support/tokens.ts'
import { openPlain, query, signIn } from '../support/wire_client.ts'
import { TERMINATE } from './frames.ts'
import { DATABASE, optionsFor, type Place, type Role } from './place.ts'
import type { Server } from './servers.ts'

export interface GateSpec {
  /** Words for the table. */
  name: string
  /** How it goes to the node: by its unix socket, or over TLS, begun in either way. */
  node: 'unix socket' | 'TLS' | 'direct TLS'
  /** Its top level, and its cluster's section, over the usual. */
  postern?: Record<string, unknown>
  cluster?: Record<string, unknown>
  /** Each client is its node session's second one. */
  warm?: true
}

export interface Gate {
  plain: Place
  tls: Place
  stop(): Promise<void>
}

export const GATES = {
  usual: { name: 'the gate', node: 'unix socket' },
  tlsNode: { name: 'the gate, TLS to the node', node: 'TLS' },
  directTlsNode: { name: 'the gate, direct TLS to the node', node: 'direct TLS' },
  pool: {
    name: 'the gate, kept sessions',
    node: 'unix socket',
    cluster: { pool: { mode: 'session' } },
    warm: true,
  },
  workers: { name: 'the gate, two workers', node: 'unix socket', postern: { workers: 2 } },
} satisfies Record<string, GateSpec>

const MAIN = join(import.meta.dirname, '../../src/main.ts')
const IDLE_MS = 5_000
let gates = 0

export async function startGate(spec: GateSpec, server: Server): Promise<Gate> {
  const { trust } = server
  gates++
  const dir = join(trust.dir, `gate-${gates}`)
  mkdirSync(dir)
  const [plain, tls, ops] = [await freePort(), await freePort(), await freePort()]
  const at = (name: string) => join(dir, name)
  const files = {
    'server.crt': trust.certPem,
    'server.key': trust.keyPem,
    'ca.crt': trust.ca.pem,
    'postern.yaml': JSON.stringify(configuration(spec, server, { plain, tls, ops })),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(at(name), text, { mode: 0o600 })
  const args = [MAIN, 'serve', '--config', at('postern.yaml')]
  const { stop } = await startServer(process.execPath, args, { port: tls, logFile: at('log') })
  const place = {
    isGate: true,
    tokens: trust.tokens,
    ...(spec.warm && { prepare: visitorsOf(ops, plain, trust.tokens) }),
  }
  return {
    plain: { ...place, name: spec.name, port: plain, tls: undefined },
    tls: { ...place, name: `${spec.name}, TLS to the client`, port: tls, tls: trust.ca },
    stop,
  }
}

type Ports = Record<'plain' | 'tls' | 'ops', number>

function configuration(spec: GateSpec, server: Server, { plain, tls, ops }: Ports) {
  const { key } = server.trust
  const node =
    spec.node === 'unix socket'
      ? { address: server.socket }
      : { address: `127.0.0.1:${server.port}`, tls: { ca_file: 'ca.crt', ...BEGINS[spec.node] } }
  return {
    listeners: [
      { address: `127.0.0.1:${plain}`, allow_plaintext: true },
      { address: `127.0.0.1:${tls}`, tls: { cert_file: 'server.crt', key_file: 'server.key' } },
    ],
    clusters: {
      test: {
        kind: 'postgresql',
        nodes: [node],
        sign_in: spec.node === 'unix socket' ? 'trust' : 'forward',
        replication_roles: ['replica'],
        'server.jwt_authentication.enabled': true,
        'server.jwt_authentication.issuers.configuration': ISSUER,
        'server.jwt_authentication.audience': AUDIENCE,
        'server.jwt_authentication.jwks': { keys: [key.jwk] },
        ...spec.cluster,
      },
    },
    ops: { listen: `127.0.0.1:${ops}` },
    audit: { to: 'audit.log' },
    ...spec.postern,
  }
}

const BEGINS = {
  TLS: { sslnegotiation: 'postgres' },
  'direct TLS': { sslnegotiation: 'direct' },
}

/** What somebody leaves behind in a session that the next one is to get. */
const TRACES = `SET TimeZone = 'Asia/Tokyo'; SET work_mem = '1MB'; SET my.own = 'left';
  PREPARE s1 AS SELECT 1; LISTEN news; CREATE TEMP TABLE items (left_behind int);
  DECLARE c CURSOR WITH HOLD FOR SELECT 1; SELECT pg_advisory_lock(1)`

/** Makes a session with the same beginning, leaves traces in it, and sees to it that the next one gets it. */
function visitorsOf(ops: number, port: number, tokens: Place['tokens']) {
  const count = (metric: string) => countOf(ops, metric)
  const idle = () => count('postern_pool_idle{cluster="test"}')
  const warm = () => count('postern_pool_sessions_total{cluster="test",how="warm"}')
  return async (role: Role, parameters: Record<string, string>) => {
    // Its sessions are never kept.
    if (role === 'replica') return async () => undefined
    const client = await openPlain({ host: '127.0.0.1', port })
    const options = optionsFor({ isGate: true }, parameters['options'])
    const asked = { user: role, database: DATABASE, ...parameters, options }
    await signIn(client, asked, tokens[role])
    client.write(query(TRACES))
    await client.until('Z')
    const before = await idle()
    client.write(TERMINATE)
    for (const until = Date.now() + IDLE_MS; (await idle()) === before; await delay(2))
      if (Date.now() > until) throw new Error('the session was not kept')
    client.close()
    const taken = await warm()
    return async () => {
      if ((await warm()) === taken) throw new Error('the session is a fresh one')
    }
  }
}

async function countOf(ops: number, metric: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${ops}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`${metric} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}
