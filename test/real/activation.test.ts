/**
 * A gate on a socket that somebody else opened (systemd's socket activation): it takes connections from it,
 * and those that come while one gate ends and the next one starts wait, and are served.
 * https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 */
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { pidsOf } from '../support/on_workers.ts'
import { writeConfig } from '../support/serve.ts'
import { goodClaims, mint } from '../support/tokens.ts'
import {
  describeWith,
  MAIN,
  type Program,
  PYTHON,
  pgConfig,
  start,
  startPostern,
} from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const FD = { listener: { address: 'fd:3' } }

/** Opens a socket as systemd does, starts the program with it as fd 3, and stops it, when it is told to. */
const LAUNCHER = `
import os, socket, subprocess, sys
path, *program = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
listening.bind(path or ('127.0.0.1', 0))
listening.listen(128)
os.dup2(listening.fileno(), 3)
print('port', None if path else listening.getsockname()[1], flush=True)
activate = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
for line in sys.stdin:
    if line == 'start\\n':
        running = subprocess.Popen(['sh', '-c', activate, 'sh', *program], pass_fds=(3,))
    else:
        if line == 'stop\\n':
            running.terminate()
        print('ended with', running.wait(), flush=True)
`

let launcher: Program

async function launch(workers: number, path = '') {
  const { configFile, caPem, key } = await writeConfig({ node, ...FD }, { workers })
  const program = [process.execPath, MAIN, 'serve', '--config', configFile]
  launcher = start(PYTHON, ['-c', LAUNCHER, path, ...program])
  const [, port] = /port (\w+)/.exec(await launcher.until(/port \w+\n/)) ?? []
  const password = await mint(key, { claims: goodClaims('maxroach') })
  const begin = () => launcher.child.stdin.write('start\n')
  const end = async (how = 'stop') => {
    const ends = times('ended with')
    launcher.child.stdin.write(`${how}\n`)
    await expect.poll(() => times('ended with'), { timeout: 15_000 }).toBe(ends + 1)
  }
  const ask = async () => {
    const client = new pg.Client(pgConfig({ port: Number(port), caPem }, 'maxroach', password))
    client.on('error', () => undefined)
    await client.connect()
    const { rows } = await client.query('select current_user as me')
    await client.end()
    return rows
  }
  return { port, begin, end, ask }
}

const times = (text: string) => launcher.said().split(text).length - 1
const ME = [{ me: 'maxroach' }]

describeWith('psycopg2', 'a socket of another process', () => {
  afterEach(async () => {
    launcher.child.stdin.end()
    expect((await launcher.ended).code).toBe(0)
  })

  it.each([1, 2])(
    'is served, and by the next gate as well, with %i workers',
    {
      timeout: 60_000,
    },
    async (workers) => {
      const { port, begin, end, ask } = await launch(workers)
      begin()
      await launcher.until('the gate is open')
      expect(launcher.said()).toContain(`"listening":[{"host":"127.0.0.1","port":${port}}]`)
      expect(await ask()).toEqual(ME)
      await end()
      const waiting = Promise.all([ask(), ask(), ask()])
      begin()
      expect(await waiting).toEqual(Array(3).fill(ME))
      await end()
      expect(times('ended with 0')).toBe(2)
    },
  )

  it('stays when every worker is killed', { timeout: 60_000 }, async () => {
    const { begin, end, ask } = await launch(2)
    begin()
    await launcher.until('the gate is open')
    for (const pid of pidsOf(launcher).values()) process.kill(pid, 'SIGKILL')
    await expect.poll(() => times('a worker was lost'), { interval: 10 }).toBe(2)
    expect(await ask()).toEqual(ME)
    await end()
    expect(times('ended with 0')).toBe(1)
  })

  it('is passed from gate to gate under a load of connects: nobody is reset', {
    timeout: 60_000,
  }, async () => {
    const { begin, end, ask } = await launch(2)
    begin()
    await launcher.until('the gate is open')
    const troubles: unknown[] = []
    let [logins, stopped] = [0, false]
    const load = async () => {
      while (!stopped)
        await ask().then(
          () => logins++,
          // What is said to who is there when a gate ends, and to who comes at that moment.
          ({ code, message }) => ['57P01', '57P03'].includes(code) || troubles.push(message),
        )
    }
    const loads = Array.from({ length: 4 }, load)
    for (let round = 0; round < 3; round++) {
      const before = logins
      await expect.poll(() => logins, { timeout: 15_000 }).toBeGreaterThan(before + 20)
      await end()
      begin()
    }
    const before = logins
    await expect.poll(() => logins, { timeout: 15_000 }).toBeGreaterThan(before + 20)
    stopped = true
    await Promise.all(loads)
    expect(troubles).toEqual([])
    await end()
    expect(times('ended with 0')).toBe(4)
  })

  it.each([1, 2])('is refused where it is a unix socket: it takes no TLS (%i)', async (workers) => {
    const { configFile } = await writeConfig({ node })
    const { begin, end } = await launch(workers, `${configFile}.socket`)
    begin()
    const said = await launcher.until('let systemd listen on a port')
    expect(said).toContain('cannot listen on fd:3: it is a unix socket, which takes no TLS')
    await end('wait')
    expect(times('ended with 1')).toBe(1)
  })
})

describe('a descriptor', () => {
  it.each([1, 2])('that is not there ends the gate with a word (%i)', async (workers) => {
    const { configFile } = await writeConfig({ node, listener: { address: 'fd:97' } }, { workers })
    const { code, stderr } = await startPostern(['serve', '--config', configFile]).ended
    expect([code, stderr]).toEqual([1, expect.stringContaining('cannot listen on fd:97')])
  })

  it('that is a file ends the gate with a word', async () => {
    const { configFile } = await writeConfig(
      { node, listener: { address: 'fd:3' } },
      { workers: 2 },
    )
    const script = '"$@" 3</dev/null'
    const serve = [process.execPath, MAIN, 'serve', '--config', configFile]
    const { code, stderr } = await start('sh', ['-c', script, 'sh', ...serve]).ended
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining('cannot listen on fd:3: it is no socket'),
    ])
  })
})
