#!/usr/bin/env node
/** argv, signals, the exit code. The only file that touches `process`; everybody else is handed a World. */
import { readFileSync } from 'node:fs'
import { availableParallelism, hostname, tmpdir, userInfo } from 'node:os'
import { runCli } from './cli/cli.ts'
import type { ToPrimary, ToWorker } from './peers/messages.ts'
import { ownChannel, startWorker } from './peers/processes.ts'

// Names are resolved by threads, of which a dead name takes one for long; Node's four are soon gone.
process.env.UV_THREADPOOL_SIZE ??= '16'

const stop = new AbortController()
const TWICE_MS = 1_000
/** For what is to be told to clusters before the end, from the second signal on. */
const HURRY_MS = 2_000
const HURRIED = 130
/** What is under way when all is said and done has as long to end by itself. */
const HELD_MS = 2_000
/** What is waited for all of this time hangs; a file that is merely read has come on meanwhile. */
const HANGS_MS = 200
let askedMs = 0
let exitCode: typeof HURRIED | undefined
const exit = () => endHeld(() => process.exit(HURRIED))
let hurry: () => void = exit
const end = () => {
  // npm passes a signal on that the terminal has sent us already: only a later one is another one.
  if (stop.signal.aborted && Date.now() - askedMs <= TWICE_MS) return
  askedMs = Date.now()
  if (stop.signal.aborted) hurry()
  else stop.abort()
}
const primary = ownChannel<ToPrimary, ToWorker>(process)
// A worker is told by its primary what to do: signals that reach the whole group are not for it.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => primary === undefined && end())
process.on('SIGHUP', () => {
  if (primary === undefined && process.listenerCount('SIGHUP') === 1) end()
})
// It is for a gate that is open, and ends nobody else.
process.on('SIGUSR2', () => undefined)

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

const ended = await runCli(process.argv.slice(2), {
  version,
  runtime: `Node.js ${process.versions.node}`,
  hostName: hostname(),
  env: (name) => process.env[name],
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: () => process.stdin,
  program: process.argv[1] ?? 'postern',
  uid: process.getuid?.() ?? 0,
  userName: userName(),
  platform: process.platform,
  arch: process.arch,
  pid: process.pid,
  isAlive,
  temporaryDirectory: tmpdir(),
  workingDirectory: process.cwd(),
  now: Date.now,
  stop: stop.signal,
  onSignal(signal, heard) {
    process.on(signal, heard)
  },
  onHurry(heard) {
    hurry = () => {
      hurry = exit
      exitCode = HURRIED
      setTimeout(exit, HURRY_MS).unref()
      heard()
    }
  },
  primary,
  startWorker: (sockets) => startWorker(process, sockets),
  processors: availableParallelism(),
})
process.exitCode = exitCode ?? ended
setTimeout(endHeld, HELD_MS, () => undefined).unref()

/**
 * A file system or a name server that hangs holds one of Node's threads, and neither the end of all work nor
 * `process.exit` comes before that thread is back.
 * @param otherwise - where none does
 */
function endHeld(otherwise: () => void): void {
  const before = requestsOfThreads()
  const look = () => {
    if (!requestsOfThreads().some((request) => before.includes(request))) return otherwise()
    process.stderr.write('postern: ended while a file or a name was waited for\n')
    process.kill(process.pid, 'SIGKILL')
  }
  if (before.length === 0) otherwise()
  else setTimeout(look, HANGS_MS)
}

/** Node documents a list of their kinds alone, by which a request that hangs is like one that was made since. */
function requestsOfThreads(): object[] {
  const { _getActiveRequests } = process as unknown as { _getActiveRequests?(): object[] }
  const isOfThread = /^(?:FSReq|GetAddrInfo|GetNameInfo)/
  const requests = _getActiveRequests?.() ?? []
  return requests.filter((request) => isOfThread.test(request.constructor.name))
}

/** A container may run us as a user that has no name. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return ''
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM'
  }
}
