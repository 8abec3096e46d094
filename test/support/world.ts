/** The world as a command line sees it, with what it says kept: for tests that run `postern …` in here. */
import { Readable } from 'node:stream'
import { expect } from 'vitest'
import { runCli } from '../../src/cli/cli.ts'
import type { World } from '../../src/cli/terminal.ts'

/** Runs a command in a directory. */
export async function runIn(dir: string, args: string[], more: Partial<World> = {}) {
  let [stdout, stderr] = ['', '']
  const world: World = {
    version: '1.2.3',
    env: () => undefined,
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: () => Readable.from([]),
    program: '/usr/bin/postern',
    uid: process.getuid?.() ?? 0,
    userName: 'somebody',
    platform: process.platform,
    arch: process.arch,
    pid: process.pid,
    isAlive: () => false,
    temporaryDirectory: dir,
    workingDirectory: dir,
    now: Date.now,
    stop: AbortSignal.abort(),
    onSignal: () => undefined,
    onHurry: () => undefined,
    primary: undefined,
    startWorker: () => expect.unreachable('no worker is started in here'),
    processors: 1,
    ...more,
  }
  const code = await runCli(args, world)
  return { code, stdout, stderr }
}
