/**
 * The proof of what a gate did: a sealed stream of a running gate, verified by the command; what a kill, a
 * rotation and a new start leave; and nobody comes in whose line is not durable.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { readFile, rename, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { freePort } from '../../src/dev/free_port.ts'
import type { AuditSink } from '../../src/telemetry/audit_file.ts'
import { startGate } from '../support/gate.ts'
import { type Served, startServe } from '../support/serve.ts'
import { expectNoToken, makeDirectory, pgConfig, startPostern } from '../support/tools.ts'
import { openTls, refusalOf, signIn } from '../support/wire_client.ts'
import { runIn } from '../support/world.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const USER = { user: 'carl', database: 'defaultdb' }
const KEY_TEXT = '0123456789abcdef0123456789abcdef'

const gates: Served[] = []
afterEach(async () => {
  for (const gate of gates.splice(0)) {
    gate.child.kill('SIGTERM')
    await gate.ended
  }
})

const files = { 'audit.key': KEY_TEXT }
const sealed = {
  to: 'audit.log',
  required: true,
  seal: { key_file: 'audit.key' },
  anchor: 'audit.heads',
}

async function open(more: Record<string, unknown> = {}) {
  const gate = await startServe({ node, files }, { audit: sealed, ...more })
  gates.push(gate)
  return gate
}

async function comeAndGo(gate: Served) {
  const client = new pg.Client(pgConfig(gate, 'carl', await gate.token('carl')))
  await client.connect()
  await client.end()
}

async function ended(gate: Served, signal: NodeJS.Signals = 'SIGTERM') {
  gate.child.kill(signal)
  return await gate.ended
}

const at = (gate: Served, name: string) => join(dirname(gate.configFile), name)

async function verify(gate: Served, names = ['audit.log'], heads = ['--head', 'audit.heads']) {
  const args = ['audit', 'verify', ...names, '--key-file', 'audit.key', ...heads]
  return await runIn(dirname(gate.configFile), args)
}

describe('a stream of two workers', () => {
  it('is whole to its last line; a removed line, a changed one and a cut end are found', async () => {
    const gate = await open({ workers: 2 })
    await Promise.all(Array.from({ length: 8 }, () => comeAndGo(gate)))
    expect((await ended(gate)).code).toBe(0)
    expect(await verify(gate)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^25 lines, 25 sealed, in 1 chain; \d+ heads? found\n✓ this is what the gate wrote, from 20/,
      ),
    })
    const text = await gate.auditText()
    expectNoToken(gate.minted, text, await readFile(at(gate, 'audit.heads'), 'utf8'))
    const lines = text.split(/(?<=\n)/)
    const changes: [string, string, string][] = [
      [
        'removed',
        lines.toSpliced(9, 1).join(''),
        '✗ removed: audit.log:10: Seq 9 is missing before this line',
      ],
      [
        'changed',
        text.replace('"Database":"defaultdb"', '"Database":"defaultdc"'),
        '✗ changed: audit.log:2: ',
      ],
      [
        'cut',
        lines.slice(0, 20).join(''),
        '✗ cut: audit.log:20: the end is missing behind Seq 19: ',
      ],
    ]
    for (const [, changed, says] of changes) {
      await writeFile(gate.auditFile, changed)
      const { code, stdout } = await verify(gate)
      expect([code, stdout]).toEqual([1, expect.stringContaining(says)])
    }
  })

  it('is read by explain as it ever was', async () => {
    const gate = await open()
    await comeAndGo(gate)
    await ended(gate)
    const events = (await gate.auditText())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events.map(({ EventType, Seq }) => [Seq, EventType])).toEqual([
      [0, 'seal_begin'],
      [1, 'login_decision'],
      [2, 'client_authentication_ok'],
      [3, 'client_session_end'],
    ])
    const id = events[1].SessionID
    const args = ['explain', '--request-id', id, '--audit', gate.auditFile]
    expect((await runIn('/', args)).stdout).toContain('signed in as carl')
  })
})

describe('a gate that is killed, and started again', () => {
  it('goes on in the same file: what was torn is told, and no line is lost in silence', async () => {
    const gate = await open()
    await comeAndGo(gate)
    await expect.poll(gate.auditText, { timeout: 5_000 }).toContain('client_session_end')
    await ended(gate, 'SIGKILL')
    const before = await gate.auditText()
    await truncate(gate.auditFile, before.length - 10)
    const again = startPostern(['serve', '--config', gate.configFile])
    await again.until('the audit stream ended in the middle of a line: it is left there')
    const opened = await again.until(/"the gate is open"/)
    const port = Number(/"listening":\[\{"host":"127\.0\.0\.1","port":(\d+)\}/.exec(opened)?.[1])
    await comeAndGo({ ...gate, port })
    again.child.kill('SIGTERM')
    await again.ended
    const { code, stdout } = await verify(gate)
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^· audit.log:4: this line is torn: /),
    ])
    expect(stdout).toMatch(/in 2 chains; \d+ heads? found/)
  })
})

describe('a stream that is rotated', () => {
  it('goes on in a new file at a SIGHUP, and both are one', async () => {
    const gate = await open({ workers: 2 })
    await comeAndGo(gate)
    await rename(gate.auditFile, at(gate, 'audit.log.1'))
    gate.child.kill('SIGHUP')
    await gate.until('the audit stream goes on in a new file')
    await comeAndGo(gate)
    await ended(gate)
    expect(await verify(gate, ['audit.log.1', 'audit.log'])).toMatchObject({ code: 0 })
    const { code, stdout } = await verify(gate, ['audit.log'])
    expect([code, stdout]).toEqual([
      1,
      expect.stringContaining('of chains from before these files'),
    ])
    const since = ['--since', new Date().toISOString(), '--head', 'audit.heads']
    expect(await verify(gate, ['audit.log'], since)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('was not given, and not looked at'),
    })
    expect(await verify(gate, ['audit.log.1'])).toMatchObject({ code: 1 })
  })
})

describe('required', () => {
  it('lets nobody in whose line is not durable, tells them, and goes on', async () => {
    let fails = true
    const lines: string[] = []
    const auditTo: AuditSink = {
      write: (line) => void lines.push(line),
      sync: async () => {
        if (fails) throw new Error('EIO: i/o error, fdatasync')
      },
    }
    const top = { audit: { to: 'audit.log', required: true } }
    const gate = await startGate({ node, auditTo, top })
    const come = async () => {
      const client = await openTls(gate.port, gate.caPem)
      const said = await signIn(client, USER, await gate.token('carl'))
      client.close()
      return refusalOf(said)
    }
    expect(await come()).toMatchObject({ C: 'XX000', M: 'internal error' })
    expect(gate.log.find(({ failure }) => failure === 'internal_error')?.msg).toContain('EIO')
    // It was granted, and then nothing came of it.
    const types = lines.map((line) => JSON.parse(line).EventType)
    expect(types).toEqual(['login_decision', 'client_authentication_failed'])
    fails = false
    expect(await come()).toBeUndefined()
    await gate.close()
  })

  it('lets nobody in while the syslog server is away', async () => {
    const to = `syslog+tcp://127.0.0.1:${await freePort()}`
    const gate = await open({ audit: { to, required: true } })
    await gate.until('the audit stream is not taken: connect ECONNREFUSED')
    await expect(comeAndGo(gate)).rejects.toThrow('internal error')
  })
})

describe('a proof that takes long', () => {
  it('is ended by a second signal, as one that reads and is not held by anything', async () => {
    const key = join(await makeDirectory(), 'audit.key')
    execFileSync('mkfifo', [key])
    const program = startPostern(['audit', 'verify', '/dev/zero', '--key-file', key])
    // It can be written when the key is about to be read.
    await writeFile(key, KEY_TEXT)
    const ask = setInterval(() => program.child.kill('SIGINT'), 1_100)
    const ended = await program.ended.finally(() => clearInterval(ask))
    expect(ended).toMatchObject({ code: 130, signal: null, stderr: '' })
  })
})

describe('a place for heads that hangs', () => {
  it('keeps no gate from its end, at the first signal or at a second one', async () => {
    const anchor = join(await makeDirectory(), 'heads')
    execFileSync('mkfifo', [anchor])
    const full = openSync(anchor, constants.O_RDWR | constants.O_NONBLOCK)
    expect(() => {
      for (;;) writeSync(full, Buffer.alloc(4_096))
    }).toThrow('EAGAIN')
    const audit = { ...sealed, required: false, anchor }
    const stopped = async (more: (gate: Served) => Promise<void>) => {
      const gate = await open({ audit })
      await comeAndGo(gate)
      gate.child.kill('SIGTERM')
      await gate.until('"the gate is closing')
      await more(gate)
      return await gate.ended
    }
    const again = async (gate: Served) => {
      const ask = setInterval(() => gate.child.kill('SIGTERM'), 1_100)
      await gate.ended.finally(() => clearInterval(ask))
    }
    const ends = await Promise.all([stopped(async () => undefined), stopped(again)])
    closeSync(full)
    const end = {
      signal: 'SIGKILL',
      stderr: expect.stringContaining('ended while a file or a name'),
    }
    expect(ends).toMatchObject([end, end])
    expect(ends[0]?.stderr).toContain('"the gate is closed"')
  })
})
