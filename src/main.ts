#!/usr/bin/env node
/** argv, signals, the exit code. The only file that touches `process`; everybody else is handed a World. */
import { readFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { runCli } from './cli/cli.ts'

const stop = new AbortController()
let signals = 0
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    stop.abort()
    // Who asks twice doesn't want to wait.
    if (++signals > 1) process.exit(130)
  })

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

process.exitCode = await runCli(process.argv.slice(2), {
  version,
  env: (name) => process.env[name],
  stdout: process.stdout,
  stderr: process.stderr,
  program: process.argv[1] ?? 'postern',
  uid: process.getuid?.() ?? 0,
  userName: userName(),
  platform: process.platform,
  arch: process.arch,
  pid: process.pid,
  temporaryDirectory: tmpdir(),
  workingDirectory: process.cwd(),
  now: Date.now,
  stop: stop.signal,
})

/** A container may run us as a user that has no name. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return ''
  }
}
