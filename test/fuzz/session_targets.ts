/**
 * Whole sessions, by real sockets: a client that says anything at any stage of its sign-in, and a node that
 * does. Whatever is said, the gate answers in messages, ends the connection, blames nobody else, and
 * writes no internal error and no token into its log; and the next client comes in.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { parseConfig } from '../../src/config/config.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES, Failure } from '../../src/failure.ts'
import { openGate } from '../../src/gate.ts'
import { ec, forge, jwk } from '../support/forge.ts'
import { proxyFor } from '../support/proxy_header.ts'
import { letIn, readyForQuery, startScriptedNode } from '../support/scripted_node.ts'
import {
  cancelRequest,
  gssencRequest,
  JWT_OPTION,
  message,
  password,
  query,
  sslRequest,
  startup,
} from '../support/wire_client.ts'
import { bytes, cut, int32, nearly, oddText, type Places, places } from './made_up.ts'
import { HEAVY, must, sharing, type Target } from './target.ts'

const ISSUER = 'https://issuer.test'
const DEADLINE_MS = 8_000
const SQLSTATES = new Set<string>(Object.values(FAILURES).map(({ sqlstate }) => sqlstate))

interface Stage {
  /** In the order of the listeners: TLS and loopback, behind a proxy, a unix socket. */
  doors: NetConnectOpts[]
  token: string
  /** What the node says to a session of this application_name, in the place of letting it in. */
  nodeSays: Map<string, Buffer[]>
  /** Lines of the log and the audit stream that are wrong, so far. */
  wrong: string[]
  /** What the nodes keep of those who have left. */
  forget(): void
  close(): Promise<void>
}

const KEY = ec('P-256')
const claims = { iss: ISSUER, aud: 'postern', sub: 'ann', exp: 4_000_000_000 }
const TOKEN = forge({ alg: 'ES256', kid: 'k' }, claims, 'ES256', KEY)

async function openStage(): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-fuzz-'))
  const nodeSays = new Map<string, Buffer[]>()
  const ca = await makeCa()
  const made = await issue(ca, { cn: 'localhost', sans: ['127.0.0.1'] })
  const tls = { certPem: made.certPem, keyPem: made.keyPem }
  // Where clients bring a password of the database, it asks for one.
  const asking = await startScriptedNode({
    tls,
    greet: (conversation) => conversation.askPassword(() => letIn(conversation)),
    session: (_chunk, { send }) => send(message('C', 'SELECT 1\0'), readyForQuery()),
  })
  const node = await startScriptedNode({
    greet(conversation) {
      const says = nodeSays.get(conversation.parameters.application_name ?? '')
      if (says === undefined) return letIn(conversation)
      for (const chunk of says) conversation.socket.write(chunk)
      conversation.socket.end()
    },
    session: (_chunk, { send }) => send(message('C', 'SELECT 1\0'), readyForQuery()),
  })
  const wrong: string[] = []
  const gate = await openGate(
    configuration(dir, node.address, asking.address, { ...tls, caPem: ca.certPem }),
    {
      version: '0.0.0-fuzz',
      now: Date.now,
      watch: () => () => undefined,
      logTo: { write: (line) => void look(line, wrong) },
      auditTo: { write: (line) => void look(line, wrong) },
    },
  )
  const doors = gate.addresses.map((bound): NetConnectOpts => {
    if ('port' in bound) return { host: '127.0.0.1', port: bound.port }
    return { path: 'path' in bound ? bound.path : '' }
  })
  return {
    doors,
    token: TOKEN,
    nodeSays,
    wrong,
    forget() {
      for (const { startups, passwords, cancels, sockets } of [node, asking]) {
        for (const kept of [startups, passwords, cancels]) kept.length = 0
        sockets.splice(0, sockets.length, ...sockets.filter(({ destroyed }) => !destroyed))
      }
    },
    async close() {
      await gate.close(new Failure('shutting_down'))
      await Promise.all([node.close(), asking.close()])
      await rm(dir, { recursive: true, force: true })
    },
  }
}

function look(line: string, wrong: string[]): void {
  JSON.parse(line)
  if (/internal error|internal_error|without a word/.test(line)) wrong.push(line)
  if (line.includes(TOKEN.slice(TOKEN.lastIndexOf('.')))) wrong.push(`a token: ${line}`)
}

type Files = { certPem: string; keyPem: string; caPem: string }

function configuration(dir: string, node: string, asking: string, files: Files) {
  const cluster = {
    kind: 'postgresql',
    nodes: [{ address: node }],
    sign_in: 'trust',
    // A node that says anything is not left alone for it.
    health: { down_after: 100 },
    connect_timeout: '60ms',
    'server.jwt_authentication.enabled': true,
    'server.jwt_authentication.issuers.configuration': ISSUER,
    'server.jwt_authentication.audience': 'postern',
    'server.jwt_authentication.jwks': { keys: [jwk(KEY, { kid: 'k' })] },
  }
  const tls = { cert_file: 'gate.crt', key_file: 'gate.key' }
  const file = {
    listeners: [
      { address: '127.0.0.1:0', tls, allow_plaintext: true },
      {
        address: '127.0.0.1:0',
        tls,
        allow_plaintext: true,
        proxy_protocol: { from: ['127.0.0.0/8'] },
      },
      { directory: dir },
    ],
    clusters: {
      bearer: { ...cluster, 'server.oauthbearer_authentication.enabled': true },
      cockroach: { ...cluster, kind: 'cockroachdb', non_jwt_logins: 'detect' },
      pooled: { ...cluster, pool: { mode: 'session', size: 4 } },
      passing: {
        ...cluster,
        nodes: [{ address: asking, tls: { ca_file: 'ca.pem' } }],
        non_jwt_logins: 'passthrough',
        passthrough_scram: 'no_channel_binding',
        connect_timeout: '1s',
      },
    },
    // Who guesses wrong all the time would soon only hear that he has to wait: policy/throttle is about that.
    limits: { failed_login_delay: '0s' },
    log: { level: 'debug' },
  }
  return parseConfig('/etc/postern/postern.yaml', JSON.stringify(file), {
    env: () => undefined,
    fileMode: () => 0o600,
    now: Date.now,
    readFile(path) {
      if (path.endsWith('.pem')) return files.caPem
      return path.endsWith('.crt') ? files.certPem : files.keyPem
    },
  })
}

/** All that the gate says until it closes; the client's own end comes behind its last byte. */
async function converse(door: NetConnectOpts, chunks: Buffer[]): Promise<Buffer> {
  const socket = connect({ ...door, allowHalfOpen: true })
  const said: Buffer[] = []
  socket.on('data', (chunk: Buffer) => void said.push(chunk)).on('error', () => undefined)
  await once(socket, 'connect')
  for (const chunk of chunks) {
    if (!socket.writable) break
    socket.write(chunk)
    // In packets of their own.
    if (chunks.length < 40) await new Promise(setImmediate)
  }
  socket.end()
  await closed(socket)
  return Buffer.concat(said)
}

async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return
  const late = new Error('the gate did not end the connection in time')
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(reject, DEADLINE_MS, late)
  try {
    await Promise.race([new Promise((resolve) => socket.once('close', resolve)), promise])
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

/** Answers to requests for encryption, then messages; an ErrorResponse of ours is the last. */
function readAnswers(said: Buffer): string[] {
  const types: string[] = []
  let at = 0
  for (let answers = 0; answers < 2 && isAlone(said, at); answers++) at += 1
  // TLS from here on.
  if (said[0] === 0x15 || said[at - 1] === 0x53) return types
  while (at + 5 <= said.length) {
    const type = String.fromCharCode(said.readUInt8(at))
    const end = at + 1 + said.readUInt32BE(at + 1)
    if (end > said.length) break
    types.push(type)
    if (type === 'E') {
      const sqlstate = /\0C(\w{5})\0/.exec(said.toString('latin1', at, end))?.[1] ?? ''
      must(sqlstate !== 'XX000', 'an internal error', said.toString('latin1', at, end))
      must(SQLSTATES.has(sqlstate) || sqlstate === '', 'a SQLSTATE that is not ours', sqlstate)
    }
    at = end
  }
  return types
}

/** `S` or `N`, which is no message. */
function isAlone(said: Buffer, at: number): boolean {
  if (said[at] !== 0x53 && said[at] !== 0x4e) return false
  return said.length < at + 5 || said.readUInt32BE(at + 1) > 100_000
}

const known = { user: 'ann', database: 'bearer.shop', application_name: 'fuzz' }
const parameters = fc.record(
  {
    user: fc.oneof(fc.constant('ann'), oddText),
    database: fc.constantFrom(
      'bearer.shop',
      'cockroach.shop',
      'pooled.shop',
      'passing.shop',
      'shop',
      'nobody.shop',
    ),
    options: fc.constantFrom(JWT_OPTION.options, '-c a=b', '--cluster=pooled', '-c'),
    replication: fc.constantFrom('true', 'x'),
    application_name: oddText,
    '_pq_.x': fc.constant('1'),
  },
  { requiredKeys: ['user', 'database'] },
)
const start = fc
  .tuple(parameters, fc.constantFrom(0x30000, 0x30002, 0x3270f, 0x20000))
  .map(([all, version]) => startup(all, version))
const goodStart = fc
  .constantFrom('bearer', 'cockroach', 'pooled')
  .map((name) => startup({ ...known, ...JWT_OPTION, database: `${name}.shop` }))
const bearerStart = fc
  .constantFrom('bearer', 'passing', 'cockroach')
  .map((name) => startup({ ...known, database: `${name}.shop` }))
const cancel = bytes(40).map(cancelRequest)
const saslResponse = fc.constantFrom(
  `n,,\x01auth=Bearer ${TOKEN}\x01\x01`,
  'n,,\x01auth=\x01\x01',
  '',
)
const sasl = saslResponse.map((text) => {
  const response = Buffer.from(text)
  return message(
    'p',
    Buffer.concat([Buffer.from('OAUTHBEARER\0'), int32(response.length), response]),
  )
})
const session = fc.constantFrom(
  query('SELECT 1'),
  message('S', ''),
  message('X', ''),
  message('P', '\0SELECT 1\0\0\0'),
  message('d', 'x'),
  message('F', ''),
)

/** What is said at each stage, right or nearly; more may follow than was asked for. */
const script = fc
  .tuple(
    fc.array(fc.constantFrom(sslRequest(), gssencRequest()), { maxLength: 2 }),
    fc.oneof(start, goodStart, goodStart, bearerStart, cancel),
    fc.oneof(fc.constant(password(TOKEN)), sasl, fc.constant(password('hunter2'))),
    fc.array(session, { maxLength: 4 }),
  )
  .map(([first, start, proof, rest]) => [...first, start, proof, ...rest])
const broken = fc
  .tuple(script, fc.nat(6), bytes(40))
  .map(([messages, stage, wild]) => [...messages.slice(0, stage), wild])
const talk = fc.oneof(
  { weight: 3, arbitrary: broken.map((messages) => Buffer.concat(messages)) },
  { weight: 4, arbitrary: nearly(script.map((messages) => Buffer.concat(messages))) },
  { weight: 1, arbitrary: bytes(300) },
  {
    weight: 1,
    arbitrary: bytes(60).map((wild) => Buffer.concat([Buffer.from([0x16, 3, 1]), wild])),
  },
)
const proxied = nearly(fc.constant(proxyFor('192.0.2.7')))

let turn = 0

const clients = sharing(
  'session/client',
  async () => {
    const stage = await openStage()
    return {
      cases: fc.record({ door: fc.nat(2), header: proxied, talk, at: places }),
      async judge({ door, header, talk, at }) {
        const address = stage.doors[door]
        if (address === undefined) throw new Error('no such door')
        const said = door === 1 ? Buffer.concat([header, talk]) : talk
        readAnswers(await converse(address, pieces(said, at)))
        await isWell(stage)
      },
      close: stage.close,
    }
  },
  HEAVY,
)

/** Byte by byte takes long. */
function pieces(said: Buffer, at: Places): Buffer[] {
  return cut(said, at === 'each' ? [1, 2, 3, 4, 5, 8, 9, 40] : at)
}

/** Now and then somebody who does all right comes in. */
async function isWell({ doors, wrong, forget }: Stage): Promise<void> {
  must(wrong.length === 0, 'the log', wrong.splice(0))
  turn += 1
  if (turn % 50 !== 0) return
  forget()
  const good = [
    startup({ ...known, ...JWT_OPTION }),
    password(TOKEN),
    query('SELECT 1'),
    message('X', ''),
  ]
  const said = await converse(doors[2] ?? ({} as NetConnectOpts), good)
  must(readAnswers(said).includes('Z'), 'nobody comes in any more', said.toString('latin1'))
}

const nodeMessage = fc.oneof(
  fc.constantFrom(
    message('R', int32(0)),
    message('R', int32(3)),
    message('R', int32(5)),
    readyForQuery(),
    readyForQuery('T'),
  ),
  fc.constantFrom(
    message('S', 'a\0b\0'),
    message('N', 'SNOTICE\0\0'),
    message('K', Buffer.alloc(8, 7)),
    message('v', Buffer.alloc(8)),
  ),
  fc
    .constantFrom('28000', '57P03', '3D000', '53300')
    .map((code) => message('E', `SFATAL\0C${code}\0Mno\0\0`)),
  fc
    .tuple(fc.constantFrom(...'RSKZENTDCdHGW1'), bytes(12))
    .map(([type, body]) => message(type, body)),
)
const greeting = fc.oneof(
  {
    weight: 4,
    arbitrary: nearly(fc.array(nodeMessage, { maxLength: 6 }).map((all) => Buffer.concat(all))),
  },
  {
    weight: 3,
    arbitrary: nearly(
      fc
        .array(nodeMessage, { maxLength: 3 })
        .map((all) =>
          Buffer.concat([
            message('R', int32(0)),
            message('K', Buffer.alloc(8, 7)),
            readyForQuery(),
            ...all,
          ]),
        ),
    ),
  },
  { weight: 1, arbitrary: bytes(100) },
)

const nodes = sharing(
  'session/node',
  async () => {
    const stage = await openStage()
    return {
      cases: fc.record({
        says: greeting,
        at: places,
        cluster: fc.constantFrom('bearer', 'cockroach', 'pooled'),
      }),
      async judge({ says, at, cluster }) {
        const name = `node ${turn}`
        stage.nodeSays.set(name, pieces(says, at))
        const hello = startup({
          ...known,
          ...JWT_OPTION,
          application_name: name,
          database: `${cluster}.shop`,
        })
        await converse(stage.doors[2] ?? ({} as NetConnectOpts), [hello, password(TOKEN)])
        stage.nodeSays.delete(name)
        await isWell(stage)
      },
      close: stage.close,
    }
  },
  HEAVY,
)

export const sessionTargets: Target[] = [clients, nodes]
