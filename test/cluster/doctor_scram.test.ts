/** The doctor where roles sign in by a secret of their own, before a real PostgreSQL. */
import { writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blocksOf, type FreshNode, follow, postern, startFreshNode } from '../support/fresh_node.ts'

const MANAGEMENT = 'postern_management'
const SECRET = 'a long random secret'

let dir: string
let node: FreshNode
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-doctor-'))
  await chmod(dir, 0o700)
  node = await startFreshNode(18)
  writeFileSync(join(dir, 'node-ca.crt'), node.nodeCa.certPem)
}, 60_000)
afterAll(async () => {
  await node.close()
  await rm(dir, { recursive: true, force: true })
})

function configure(secrets: Record<string, string>): void {
  const cluster = {
    kind: 'postgresql',
    nodes: [{ address: `127.0.0.1:${node.port}`, tls: { ca_file: 'node-ca.crt' } }],
    sign_in: 'scram',
    scram: { secrets },
    management: { role: MANAGEMENT },
  }
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  writeFileSync(
    join(dir, 'postern.yaml'),
    JSON.stringify({ listeners, clusters: { main: cluster } }),
  )
}

const run = (command: string, ...args: string[]) =>
  postern(['cluster', command, '--config', join(dir, 'postern.yaml'), ...args], dir)

const GOOD = { maxroach: SECRET, [MANAGEMENT]: SECRET }

it('is content where setup was followed, and the roles have their passwords', async () => {
  configure(GOOD)
  const printed = await run('setup')
  expect(printed.stdout).not.toContain(SECRET)
  await follow(blocksOf(printed.stdout), node, dir)
  await node.sql(`CREATE ROLE maxroach LOGIN IN ROLE postern_users PASSWORD '${SECRET}'`)
  await node.sql(`ALTER ROLE ${MANAGEMENT} PASSWORD '${SECRET}'`)
  const { code, stdout } = await run('doctor', '--role', 'maxroach')
  expect(stdout).toContain('✓ probe         signed in to postgres as maxroach')
  expect(stdout).toContain('✓ reserved      the gate has no secret for postgres')
  expect(stdout).toMatch(/✓ pg_hba\.conf {3}line \d+ \(.*scram-sha-256\) lets postern_users in/)
  expect(code).toBe(0)
})

describe('what is missing', () => {
  it.each<[string, Record<string, string>, string[]]>([
    [
      'a secret for the role',
      { [MANAGEMENT]: SECRET },
      [
        '✗ probe         as maxroach: the gate has no secret for it',
        'hint: add "maxroach" to scram.secrets: the password that it has on the node',
      ],
    ],
    [
      'the right secret',
      { ...GOOD, maxroach: 'another' },
      [
        "✗ probe         as maxroach: the secret is not the role's password",
        String.raw`hint: set it by psql's \password, and write the same into scram.secrets for "maxroach"`,
      ],
    ],
    [
      'the right secret of the management role',
      { ...GOOD, [MANAGEMENT]: 'another' },
      [`✗ management    as ${MANAGEMENT}: the secret is not the role's password`],
    ],
  ])('%s', async (_name, secrets, says) => {
    configure(secrets)
    const { code, stdout } = await run('doctor', '--role', 'maxroach')
    for (const line of says) expect(stdout).toContain(line)
    expect(stdout).not.toContain(SECRET)
    expect(code).toBe(1)
  })

  it('a line that asks', async () => {
    configure(GOOD)
    node.write('pg_hba.conf', `host all all 127.0.0.1/32 trust\n${node.read('pg_hba.conf')}`)
    await node.reload()
    const { code, stdout } = await run('doctor', '--role', 'maxroach')
    expect(stdout).toContain(
      `✗ management    as ${MANAGEMENT}: another line of the node's rules lets it in without asking`,
    )
    expect(stdout).toMatch(/hint: put "hostssl .* scram-sha-256" above that line in pg_hba\.conf/)
    expect(code).toBe(1)
  })
})
