/**
 * Programs that the comparison runs: servers, which write to a file and are ended by us, and clients,
 * which are waited for. None outlives the run.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

export type Environment = Record<string, string>

export interface User {
  uid: number
  gid: number
}

export interface Server {
  pid: number
  stop(): Promise<void>
}

const READY_MS = 20_000
const STOP_MS = 10_000
const CLIENT_MS = 180_000
const TAIL_BYTES = 2_000

/** Nothing of the user's own: no ~/.pgpass, no PGHOST. */
export const ENVIRONMENT = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  LC_ALL: 'C.UTF-8',
  PGCONNECT_TIMEOUT: '10',
  PGGSSENCMODE: 'disable',
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

function keep(child: ChildProcess): void {
  running.add(child)
  child.once('close', () => running.delete(child))
}

/** Starts a server and waits until its TCP port takes connections. */
export async function startServer(
  program: string,
  args: string[],
  at: { port: number; logFile: string; as?: User | undefined },
): Promise<Server> {
  const log = openSync(at.logFile, 'a')
  const child = spawn(program, args, {
    env: ENVIRONMENT,
    stdio: ['ignore', log, log],
    cwd: '/',
    ...at.as,
  })
  closeSync(log)
  keep(child)
  let ended = false
  const closed = new Promise<void>((resolve) => {
    child.once('error', () => resolve())
    child.once('close', () => resolve())
  }).then(() => {
    ended = true
  })
  const deadline = Date.now() + READY_MS
  while (!(await takes(at.port))) {
    if (ended || Date.now() > deadline) {
      child.kill('SIGKILL')
      const tail = readFileSync(at.logFile, 'utf8').slice(-TAIL_BYTES)
      throw new Error(`${program} ${args.join(' ')} did not start:\n${tail}`)
    }
    await delay(50)
  }
  return {
    pid: child.pid ?? 0,
    async stop() {
      child.kill('SIGTERM')
      const late = delay(STOP_MS, 'late' as const, { ref: false })
      if ((await Promise.race([closed, late])) === 'late') child.kill('SIGKILL')
      await closed
    },
  }
}

async function takes(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** A client that runs; whoever started it reads its stdout, or has it thrown away. */
export function startClient(
  program: string,
  args: string[],
  env: Environment,
  stdio: { stdin?: number | 'ignore' | 'pipe'; stdout?: number | 'ignore' | 'pipe' } = {},
): ChildProcess {
  const { stdin = 'ignore', stdout = 'pipe' } = stdio
  const child = spawn(program, args, {
    env: { ...ENVIRONMENT, ...env },
    stdio: [stdin, stdout, 'pipe'],
    timeout: CLIENT_MS,
    killSignal: 'SIGKILL',
  })
  keep(child)
  return child
}

/** Waits for its end, which must be a good one. */
export async function endOf(child: ChildProcess): Promise<void> {
  const said = child.stderr === null ? '' : text(child.stderr)
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  if (child.exitCode === 0) return
  const how = child.exitCode ?? child.signalCode
  throw new Error(`${child.spawnargs.join(' ')} ended with ${how}:\n${await said}`)
}

/** Runs a client to its end. @returns what it wrote to stdout; nothing where that went elsewhere. */
export async function runClient(
  program: string,
  args: string[],
  env: Environment,
  stdio: { stdin?: number | 'ignore'; stdout?: number | 'ignore' | 'pipe' } = {},
): Promise<string> {
  const child = startClient(program, args, env, stdio)
  const [said] = await Promise.all([child.stdout === null ? '' : text(child.stdout), endOf(child)])
  return said
}
