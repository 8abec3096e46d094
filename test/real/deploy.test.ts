/**
 * docs/sidecar.md and docs/load-balancer.md: their files have no mistake, and what they say to do is done on a
 * real PostgreSQL and a real haproxy, with other addresses.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { parse } from 'yaml'
import { inspectConfig } from '../../src/config/config.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { certify } from '../support/certify.ts'
import { exampleFiles, exampleText, outsideWith } from '../support/example.ts'
import { blocksOf, type FreshNode, follow, postern, startFreshNode } from '../support/fresh_node.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { describeWith, HAPROXY, keepFile, pgConfig, psql, start, url } from '../support/tools.ts'

const text = ['sidecar', 'load-balancer']
  .map((name) => readFileSync(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8'))
  .join('\n')
const blocks = (language: string) =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, it]) => it ?? '',
  )
const [sidecar = '', beside = '', many = ''] = blocks('yaml')

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

it.each<[string, string, RegExp[]]>([
  ['on the node', sidecar, []],
  ['beside the application', beside, []],
  [
    'behind a balancer',
    many,
    [/^0\.0\.0\.0 is not loopback, .* let only your monitoring reach it$/],
  ],
])('the file of a gate %s has no mistake', async (_where, yaml, warnings) => {
  const [files, authority] = [await exampleFiles(), await certify({})]
  files['/etc/postern/gates-ca/trusted.crt'] = authority.certPem
  files['/etc/postern/gates-ca/ca.key'] = authority.keyPem
  const outside = outsideWith(files)
  const config = parse(yaml)
  // Whom it believes is an example's.
  const [believed] = Object.values<object>(parse(exampleText('custom-issuer.yaml')).clusters)
  for (const [key, value] of Object.entries(believed ?? {}))
    if (key.startsWith('server.')) config.clusters.main[key] = value
  const inspected = inspectConfig('/etc/postern/postern.yaml', JSON.stringify(config), outside)
  expect(warningsOf(inspected, outside).map(({ what }) => what)).toEqual(
    warnings.map((warning) => expect.stringMatching(warning)),
  )
})

describe('on the node', () => {
  let dir: string
  let node: FreshNode
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'postern-deploy-'))
    await chmod(dir, 0o700)
    node = await startFreshNode(18)
  }, 60_000)
  afterAll(async () => {
    await node.close()
    await rm(dir, { recursive: true, force: true })
  })

  it('what setup prints is all that it takes', async () => {
    const userName = userInfo().username
    const socket = `${node.socketDir}/.s.PGSQL.${node.port}`
    const { main } = parse(sidecar).clusters
    expect(main.nodes).toEqual([{ address: '/var/run/postgresql/.s.PGSQL.5432' }])
    const cluster = { ...main, nodes: [{ address: socket }] }
    const file = join(dir, 'postern.yaml')
    const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
    writeFileSync(file, JSON.stringify({ listeners, clusters: { main: cluster } }))
    const run = (...args: string[]) =>
      postern(['cluster', ...args, '--config', file, '--os-user', userName], dir)
    const printed = (await run('setup')).stdout
    for (const line of [
      'local   all      +postern_users     peer map=postern',
      `postern  ${userName}  +postern_users`,
    ])
      expect(printed).toContain(line)
    await follow(blocksOf(printed), node, dir)
    await node.sql('CREATE ROLE maxroach LOGIN IN ROLE postern_users')
    expect(await run('doctor')).toMatchObject({
      code: 0,
      stdout: expect.not.stringMatching(/^[✗!]/m),
    })
    const gate = await startGate({ node: socket, cluster: { management: cluster.management } })
    closing.push(() => gate.close())
    const token = await gate.token('maxroach')
    const client = new pg.Client(pgConfig(gate, 'maxroach', token, { database: 'postgres' }))
    await client.connect()
    closing.push(() => client.end())
    expect((await client.query('select current_user as me')).rows).toEqual([{ me: 'maxroach' }])
  })
})

describeWith('haproxy', 'behind a balancer', () => {
  it('sessions go to the gates that are ready', async () => {
    const { host, port } = inject('postgres')
    const own = { node: `${host}:${port}`, listener: { proxy_protocol: { from: ['127.0.0.9'] } } }
    const gates: TestGate[] = []
    for (const _ of [1, 2]) gates.push(await startGate(own))
    const [one, two] = gates as [TestGate, TestGate]
    const front = await freePort()
    let [config = ''] = blocks('haproxy')
    config = config
      .replace('0.0.0.0:26257', `127.0.0.1:${front}`)
      .replace('check port 8080 inter 1s', 'source 127.0.0.9 check inter 50ms')
    for (const [at, { port, opsUrl }] of gates.entries())
      config = config.replace(
        `10.0.0.1${at + 1}:26257`,
        `127.0.0.1:${port} port ${new URL(opsUrl).port}`,
      )
    const haproxy = start(HAPROXY, ['-db', '-f', await keepFile('haproxy.cfg', config)])
    closing.push(() => {
      haproxy.child.kill('SIGTERM')
      return haproxy.ended
    })
    closing.push(() => two.close())
    // Either gate's certificate, and a token that both believe.
    const ca = await keepFile('ca.crt', one.caPem + two.caPem)
    const target = url(front, 'maxroach', { database: 'trustdb', sslrootcert: ca })
    const ask = async (gate: TestGate) => {
      const env = { PGPASSWORD: await gate.token('maxroach') }
      return (await psql([target, '-c', 'select 1'], { env })).stdout
    }
    for (const gate of gates) await expect.poll(() => ask(gate), { timeout: 20_000 }).toBe('1\n')
    await one.close()
    await expect.poll(() => haproxy.said()).toMatch(/gate-1 is DOWN/)
    for (let at = 0; at < 4; at++) expect(await ask(two)).toBe('1\n')
  })
})
