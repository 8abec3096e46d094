/** The command line: usage, help, and what `serve` says when it can't: text and exit code. */
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { World } from '../../src/cli/terminal.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { FAILURES, type FailureCode } from '../../src/failure.ts'
import { runIn } from '../support/world.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-cli-'))
})
afterAll(() => rm(dir, { recursive: true }))

const cli = (args: string[], more: Partial<World> = {}) => runIn(dir, args, more)

describe('what it is asked', () => {
  it.each<[FailureCode, number]>([
    ['usage', 64],
    ['config_invalid', 2],
    ['config_unreadable', 2],
    ['cannot_listen', 1],
    ['cannot_write', 1],
    ['dev_failed', 1],
  ])('ends a %s with exit code %i', (code, exit) => {
    expect(FAILURES[code]).toMatchObject({ exit })
  })

  it.each([
    { args: [], says: 'Usage: postern' },
    { args: ['nonsense'], says: "error: unknown command 'nonsense'" },
    { args: ['serve'], says: "error: required option '--config <file>' not specified" },
    { args: ['serve', '--config'], says: "'--config <file>' argument missing" },
    { args: ['serve', '--config', 'a', '--fast'], says: "error: unknown option '--fast'" },
    { args: ['serve', '--config', 'a', 'b'], says: "too many arguments for 'serve'" },
    { args: ['dev', '--port', '99999'], says: "'99999' is invalid. write a port" },
    { args: ['dev', '--port', '0'], says: "'0' is invalid. write a port" },
    { args: ['dev', '--port', '0x10'], says: "'0x10' is invalid. write a port" },
    { args: ['token'], says: "error: required option '--sub <name>' not specified" },
    {
      args: ['token', '--sub', 'a', '--ttl', '86401'],
      says: "'86401' is invalid. write a number of seconds up to a day",
    },
    { args: ['version', 'please'], says: "too many arguments for 'version'" },
  ])('postern $args: exit 64, and why', async ({ args, says }) => {
    const { code, stdout, stderr } = await cli(args)
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(says)
    expect(stderr).toMatch(/postern help shows what there is|Usage: postern/)
  })

  it.each([
    { args: ['help'], says: ['Examples:\n  $ postern dev', '$ postern serve --config'] },
    { args: ['--help'], says: ['Examples:\n  $ postern dev'] },
    { args: ['help', 'serve'], says: ['Example:\n  $ postern serve --config'] },
    { args: ['dev', '--help'], says: ['Example:\n  $ postern dev --data', '(default: 26257)'] },
    { args: ['help', 'token'], says: ['Example:\n  $ PGPASSWORD=$(postern token'] },
    { args: ['version'], says: ['1.2.3\n'] },
    { args: ['--version'], says: ['1.2.3\n'] },
  ])('postern $args', async ({ args, says }) => {
    const { code, stdout, stderr } = await cli(args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const text of says) expect(stdout).toContain(text)
  })
})

const CLUSTER = `clusters:
  main:
    kind: postgresql
    nodes: [{ address: /run/postgresql/.s.PGSQL.5432 }]
    sign_in: peer
`

describe('serve', () => {
  beforeAll(async () => {
    const ca = await makeCa()
    const { certPem, keyPem } = await issue(ca, { cn: 'localhost', sans: ['localhost'] })
    await writeFile(join(dir, 'server.crt'), certPem)
    await writeFile(join(dir, 'server.key'), keyPem)
    await mkdir(join(dir, 'sockets'))
    await chmod(join(dir, 'sockets'), 0o755)
  })

  const TLS = 'tls: { cert_file: server.crt, key_file: server.key }'
  const listening = (address: string, more = '') =>
    `listeners:\n  - address: ${address}\n    ${TLS}\n${CLUSTER}audit: { to: audit.log }\n${more}`

  async function serve(yaml: string, more: Partial<World> = {}) {
    await writeFile(join(dir, 'postern.yaml'), yaml)
    const ended = await cli(['serve', '--config', join(dir, 'postern.yaml')], more)
    return { ...ended, stderr: ended.stderr.replaceAll(`${dir}/`, '') }
  }

  it('tells every mistake with its place: exit 2', async () => {
    const yaml = `listeners:
  - address: 0.0.0.0:26257
    allow_plaintext: true
${CLUSTER.replace('peer', 'magic')}    timeout: 3s
limits:
  connections: none
`
    const { code, stdout, stderr } = await serve(yaml)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^postern\.yaml:3:22: a token must not cross a network in clear/),
      expect.stringMatching(/^postern\.yaml:8:14: .*peer/),
      expect.stringMatching(/^postern\.yaml:9:5: unknown key "timeout"/),
      expect.stringMatching(/^postern\.yaml:11:16: /),
    ])
  })

  it('says which file it cannot read: exit 2', async () => {
    const { code, stderr } = await cli(['serve', '--config', 'missing.yaml'])
    expect({ code, stderr: stderr.replace(dir, 'DIR') }).toEqual({
      code: 2,
      stderr:
        "postern: cannot read missing.yaml: ENOENT: no such file or directory, open 'DIR/missing.yaml'\n",
    })
  })

  it('says which file it cannot write: exit 1', async () => {
    const { code, stderr } = await serve(
      listening('127.0.0.1:0').replace('audit.log', 'no/audit.log'),
    )
    expect(code).toBe(1)
    expect(stderr).toMatch(/^postern: cannot write to .*no\/audit\.log: ENOENT/)
  })

  it.each([
    { who: 'a listener', yaml: (port: number) => listening(`127.0.0.1:${port}`) },
    {
      who: 'ops',
      yaml: (port: number) => listening('127.0.0.1:0', `ops: { listen: 127.0.0.1:${port} }\n`),
    },
  ])('says that the port of $who is taken: exit 1', async ({ yaml }) => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const bound = other.address()
    const port = typeof bound === 'object' && bound !== null ? bound.port : 0
    const { code, stderr } = await serve(yaml(port))
    other.close()
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `postern: cannot listen on 127.0.0.1:${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
    })
  })

  it('says that a unix socket has no place to be, or is taken: exit 1', async () => {
    const unix = (directory: string) => `listeners: [{ directory: ${directory} }]\n${CLUSTER}`
    const path = join(dir, 'sockets', '.s.PGSQL.26257')
    const other = createServer().listen(path)
    await once(other, 'listening')
    const missing = await serve(unix(join(dir, 'nowhere')))
    const taken = await serve(unix(join(dir, 'sockets')))
    other.close()
    expect(missing.stderr).toMatch(
      /^postern: cannot listen on .*nowhere\/\.s\.PGSQL\.26257: listen E/,
    )
    expect(taken.stderr).toMatch(/^postern: cannot listen on .*: listen EADDRINUSE/)
    expect([missing.code, taken.code]).toEqual([1, 1])
  })
})
