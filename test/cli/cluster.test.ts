/**
 * `postern cluster`: what is typed and what comes back, exit codes included; a CockroachDB, which
 * can't run here, is a scripted node that answers as it does.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { localCertificates, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES } from '../../src/failure.ts'
import {
  type Conversation,
  error,
  letIn,
  readyForQuery,
  type ScriptedNode,
  startScriptedNode,
} from '../support/scripted_node.ts'
import { message, uint32 } from '../support/wire_client.ts'
import { runIn } from '../support/world.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-cluster-'))
afterAll(() => rmSync(dir, { recursive: true }))
const file = join(dir, 'postern.yaml')
const stop = new AbortController().signal

let node: ScriptedNode | undefined
afterEach(async () => {
  await node?.close()
  node = undefined
})

const tls = { certPem: '', keyPem: '' }
beforeAll(async () => {
  const ca = await makeCa()
  Object.assign(tls, (await localCertificates(ca)).good)
  writeFileSync(join(dir, 'node-ca.crt'), ca.certPem)
})

function configure(cluster: Record<string, unknown>, address = node?.address): void {
  const main = { kind: 'cockroachdb', nodes: [{ address }], sign_in: 'trust', ...cluster }
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  writeFileSync(file, JSON.stringify({ listeners, clusters: { main } }))
}

async function cluster(...args: string[]) {
  return await runIn(dir, ['cluster', ...args], { stop })
}
const doctor = (...args: string[]) => cluster('doctor', '--config', file, ...args)

describe('what is typed', () => {
  it.each([
    [['doctor'], "required option '--config <file>' not specified"],
    [['setup', '--config', 'x', '--gate-address', '1.2.3.4/33'], 'write an IP address'],
    [['setup', '--config', 'x', '--gate-address', '1.2.3.4.5'], 'write an IP address'],
    [['setup', '--config', 'x', '--gate-address', 'a b'], 'write an IP address'],
    [['setup', '--config', 'x', '--gate-address', 'a\nhost all all all trust'], 'write an IP'],
    [['setup', '--config', 'x', '--os-user', 'a\nb'], 'write a name'],
    [['doctor', '--config', 'x', '--role', ''], 'write a name'],
    [['nonsense'], "unknown command 'nonsense'"],
  ])('%j: exit 64', async (args, says) => {
    const { code, stdout, stderr } = await cluster(...args)
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(says)
  })

  it('a file that is not there: exit 2', async () => {
    const { code, stderr } = await cluster('doctor', '--config', join(dir, 'none.yaml'))
    expect(code).toBe(2)
    expect(stderr).toMatch(/^postern: cannot read .*none\.yaml: ENOENT/)
  })

  it.each(['10.0.0.7', '10.0.0.0/24', 'fd00::/8', 'gate.internal', '.internal'])(
    '--gate-address %s',
    async (address) => {
      configure({ kind: 'postgresql' }, '127.0.0.1:5432')
      const { code, stdout } = await cluster('setup', '--config', file, '--gate-address', address)
      expect(code).toBe(0)
      expect(stdout).toMatch(/^=== pg_hba\.conf, above every other line ===$/m)
      expect(stdout).toContain(` ${address}`)
      expect(stdout).toContain(`=== shell, here ===\npostern cluster doctor --config ${file}\n`)
    },
  )
})

const SETTING = 'server.host_based_authentication.configuration'

/** Answers statements as a script says; a text is one row of one column. */
function answering(answers: [RegExp, string | Buffer][]) {
  return (chunk: Buffer, { send }: Conversation) => {
    if (chunk[0] !== 'Q'.charCodeAt(0)) return
    const sql = chunk.toString('utf8', 5, chunk.readUInt32BE(1))
    const answer = answers.find(([pattern]) => pattern.test(sql))?.[1] ?? error('42601', 'what?')
    if (typeof answer !== 'string') return send(answer, readyForQuery())
    const name = Buffer.concat([Buffer.from([0, 1]), Buffer.from('name\0'), Buffer.alloc(18)])
    const value = Buffer.concat([
      Buffer.from([0, 1]),
      uint32(Buffer.byteLength(answer)),
      Buffer.from(answer),
    ])
    send(message('T', name), message('D', value), message('C', 'SELECT 1\0'), readyForQuery())
  }
}

describe('a CockroachDB', () => {
  const management = { role: 'postern_management' }
  const version: [RegExp, string] = [/version\(\)/, 'CockroachDB CCL v25.1.0 (scripted)']
  const rules: [RegExp, string] = [new RegExp(SETTING), 'host all all all cert-password\n']
  const itself: [RegExp, string] = [/current_user/, 'maxroach']
  const noRoot = (conversation: Conversation) => {
    if (conversation.parameters['user'] !== 'root') return letIn(conversation)
    conversation.send(error('28000', 'authentication rejected by configuration'))
  }

  it('that is well: exit 0', async () => {
    const session = answering([version, rules, itself])
    node = await startScriptedNode({ greet: noRoot, session })
    configure({ management })
    const { code, stdout, stderr } = await doctor('--role', 'maxroach')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toBe(`✓ reach         ${node.address} takes connections
– TLS           none: the node is on this machine
✓ management    signed in as postern_management
✓ version       CockroachDB CCL v25.1.0 (scripted)
✓ rules         host all all all cert-password
✓ probe         signed in to defaultdb as maxroach
✓ reserved      the node refuses root too
`)
    expect(node.startups.map(({ user, database }) => [user, database])).toEqual([
      ['postern_management', 'defaultdb'],
      ['maxroach', 'defaultdb'],
      ['root', 'defaultdb'],
    ])
  })

  it.each<[string, [RegExp, string | Buffer][], string]>([
    [
      'a right that is missing',
      [
        version,
        [new RegExp(SETTING), error('42501', 'only users with VIEWCLUSTERSETTING')],
        itself,
      ],
      '– rules         not shown (42501: only users with VIEWCLUSTERSETTING); postern cluster setup prints the GRANT',
    ],
    [
      'a pooler between',
      [version, rules, [/current_user/, 'pooler']],
      '✗ probe         signed in as maxroach, but the node says pooler\n  hint: something between the gate and the node signs in for it: is there a pooler?',
    ],
    [
      'nothing set',
      [version, [new RegExp(SETTING), ''], itself],
      '✓ rules         unset: a certificate is enough',
    ],
    [
      'an answer that is none',
      [[/version/, message('G', 'x')]],
      '✗ management    as postern_management: message type 71 as an answer\n  hint: ',
    ],
  ])('%s', async (_name, answers, says) => {
    node = await startScriptedNode({ greet: noRoot, session: answering(answers) })
    configure({ management })
    const { stdout } = await doctor('--role', 'maxroach')
    expect(stdout).toContain(says)
  })

  it('that lets root in: a warning, exit 0', async () => {
    node = await startScriptedNode({ session: answering([itself]) })
    configure({})
    const { code, stdout } = await doctor('--role', 'maxroach')
    expect(code).toBe(0)
    expect(stdout).toContain(
      "! reserved      the node would let this gate be root; only the gate's own rules",
    )
  })

  it('by forward: the node asks for what the token answers', async () => {
    node = await startScriptedNode({
      tls,
      greet: ({ askPassword }) => askPassword(() => undefined),
    })
    configure({
      nodes: [{ address: node.address, tls: { ca_file: 'node-ca.crt' } }],
      sign_in: 'forward',
      management,
    })
    const { code, stdout } = await doctor('--role', 'maxroach')
    expect(code).toBe(0)
    expect(stdout).toContain("– management    sign_in: forward needs a user's token")
    expect(stdout).toContain(
      '✓ probe         the node asks maxroach for a password: the token will be it',
    )
    expect(stdout).toContain('– reserved      only a token could show whether root gets in')
    expect(node.startups[0]?.['options']).toBe('--crdb:jwt_auth_enabled=true')
    expect(node.passwords).toEqual([])
  })
})

describe('what nodes say', () => {
  const refusing =
    (sqlstate: string, text: string) =>
    ({ send }: Conversation) =>
      send(error(sqlstate, text))
  it.each<[string, (conversation: Conversation) => void, string, string]>([
    [
      'another language',
      refusing('28000', 'kein pg_hba.conf-Eintrag für Host »10.0.0.7«'),
      "as maxroach: the node's rules keep it out (28000: kein pg_hba.conf-Eintrag",
      'compare its pg_hba.conf and pg_ident.conf with what postern cluster setup prints',
    ],
    [
      'a certificate that is missing',
      refusing('28000', 'connection requires a valid client certificate'),
      'the node asks for a certificate that it was not shown',
      'set sign_in: certificate',
    ],
    [
      'starting up',
      refusing('57P03', 'the database system is starting up'),
      'the node is not open yet',
      'ask again in a moment',
    ],
    [
      'something new',
      refusing('XX000', 'what?'),
      'as maxroach: XX000: what?',
      "the node's own log",
    ],
    [
      'control characters',
      refusing('XX000', 'a\x1b[2Jb\u202ec\n✓ d'),
      'as maxroach: XX000: a\ufffd[2Jb\ufffdc\ufffd✓ d',
      "the node's own log",
    ],
    [
      'rules of CockroachDB',
      refusing('28000', `no ${SETTING} entry for host "10.0.0.7", user "maxroach"`),
      `${SETTING} keeps it out`,
      'put the line that postern cluster setup prints at the top of the setting',
    ],
    [
      'a password',
      ({ send }) => send(message('R', Buffer.concat([uint32(5), uint32(7)]))),
      'the node asks for something else than this sign-in has (the node asks for MD5Password',
      'put "host    all      +postern_users     <gate> trust" above the line that asks for it',
    ],
    [
      'nothing, and closes',
      ({ socket }) => socket.end(),
      'as maxroach: the node closed the connection',
      "the node's own log",
    ],
  ])('%s', async (_name, greet, says, todo) => {
    node = await startScriptedNode({ greet })
    configure({ kind: 'postgresql' })
    const { code, stdout, stderr } = await doctor('--role', 'maxroach')
    expect([code, FAILURES.doctor_found.exit]).toEqual([1, 1])
    expect(stderr).toBe('postern: the doctor found a problem\n')
    expect(stdout).toContain(`✗ probe         `)
    expect(stdout).toContain(says)
    expect(stdout).toContain(`  hint: ${todo}`.trimEnd())
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })

  it('no TLS: the doctor says how to switch it on', async () => {
    node = await startScriptedNode({})
    configure({ nodes: [{ address: node.address, tls: { ca_file: 'node-ca.crt' } }] })
    const { code, stdout } = await doctor()
    expect(code).toBe(1)
    expect(stdout).toContain(
      '✗ TLS           the node has TLS switched off\n  hint: start the nodes with --certs-dir',
    )
  })

  it('nothing at all, until somebody ends it', async () => {
    node = await startScriptedNode({ greet: () => undefined })
    const ending = AbortSignal.timeout(300)
    configure({ kind: 'postgresql' })
    const ended = await runIn(dir, ['cluster', 'doctor', '--config', file, '--role', 'a'], {
      stop: ending,
    })
    expect(ended.code).toBe(1)
    expect(ended.stdout).toContain('✓ reach ')
    expect(ended.stderr).toBe('postern: the doctor was stopped before it was done\n')
  })
})

it('prints no key', async () => {
  await runIn(dir, ['ca', 'init', '--dir', 'ca'], { stop })
  configure(
    {
      kind: 'postgresql',
      nodes: [{ address: 'db.internal:5432', tls: { ca_file: 'node-ca.crt' } }],
      sign_in: 'certificate',
      certificate: { ca_cert: 'ca/ca.crt', ca_key: 'ca/ca.key' },
    },
    '',
  )
  const { code, stdout } = await cluster('setup', '--config', file)
  expect(code).toBe(0)
  expect(stdout).toContain('install -m 0644 trusted.crt')
  expect(stdout).not.toMatch(/-----BEGIN/)
})
