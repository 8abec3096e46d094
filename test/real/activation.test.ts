/**
 * A gate on a socket that somebody else opened (systemd's socket activation): it takes connections from it,
 * and those that come while one gate ends and the next one starts wait, and are served.
 * https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 */
import { join } from 'node:path'
import pg from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { writeConfig } from '../support/serve.ts'
import { goodClaims, mint } from '../support/tokens.ts'
import { describeWith, MAIN, PYTHON, pgConfig, start, startPostern } from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const FD = { listener: { address: 'fd:3' } }

/** Opens a socket as systemd does, then the program with it as fd 3; again for each line that it reads. */
const LAUNCHER = `
import os, socket, subprocess, sys
listening = socket.socket()
listening.bind(('127.0.0.1', 0))
listening.listen(128)
os.dup2(listening.fileno(), 3)
print('port', listening.getsockname()[1], flush=True)
for line in ['start'] + [0]:
    program = subprocess.Popen(sys.argv[1:], pass_fds=(3,))
    sys.stdin.readline()
    program.terminate()
    program.wait()
    print('ended', flush=True)
    sys.stdin.readline()
`

describeWith('psycopg2', 'a socket of another process', () => {
  it.each([1, 2])('is served, and by the next gate as well, with %i workers', async (workers) => {
    const { configFile, caPem, key } = await writeConfig({ node, ...FD }, { workers })
    const args = ['-c', LAUNCHER, process.execPath, MAIN, 'serve', '--config', configFile]
    const launcher = start(PYTHON, args)
    const port = Number(/port (\d+)/.exec(await launcher.until(/port \d+\n/))?.[1])
    const password = await mint(key, { claims: goodClaims('maxroach') })
    const ask = async () => {
      const client = new pg.Client(pgConfig({ port, caPem }, 'maxroach', password))
      client.on('error', () => undefined)
      await client.connect()
      const { rows } = await client.query('select current_user as me')
      await client.end()
      return rows
    }
    await launcher.until('the gate is open')
    expect(launcher.said()).toContain(`"listening":[{"host":"127.0.0.1","port":${port}}]`)
    expect(await ask()).toEqual([{ me: 'maxroach' }])
    launcher.child.stdin.write('stop\n')
    await launcher.until('ended')
    const waiting = Promise.all([ask(), ask(), ask()])
    launcher.child.stdin.write('start\n')
    expect(await waiting).toEqual(Array(3).fill([{ me: 'maxroach' }]))
    launcher.child.stdin.write('stop\n')
    await expect.poll(() => launcher.said().split('ended').length, { timeout: 10_000 }).toBe(3)
    launcher.child.stdin.write('over\n')
    expect((await launcher.ended).code).toBe(0)
  })
})

describe('a socket that is not there', () => {
  it('ends the gate with a word', async () => {
    const { configFile } = await writeConfig({ node, listener: { address: 'fd:97' } })
    const { code, stderr } = await startPostern(['serve', '--config', configFile]).ended
    expect([code, stderr]).toEqual([1, expect.stringContaining('cannot listen on fd:97')])
  })
})
