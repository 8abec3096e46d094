/**
 * How the command line speaks: results to stdout, everything else to stderr; errors as one sentence
 * with the program's name before it, then what to do. Output is plain where nobody looks at colours.
 */
import type { Readable } from 'node:stream'
import { asFailure } from '../failure.ts'
import type { ToPrimary, ToWorker } from '../peers/messages.ts'
import type { Channel, Link } from '../peers/processes.ts'

/** What a command may touch of the world; only main.ts has the real thing. */
export interface World {
  version: string
  /** What it runs on, with its version. */
  runtime?: string
  /** Of this machine. */
  hostName?: string
  env(name: string): string | undefined
  stdout: { write(text: string): unknown; isTTY?: boolean }
  stderr: { write(text: string): unknown }
  /** Standard input, for the commands that read it. */
  stdin(): Input
  /** The path of the program itself, for lines to paste. */
  program: string
  uid: number
  userName: string
  platform: string
  arch: string
  pid: number
  isAlive(pid: number): boolean
  temporaryDirectory: string
  workingDirectory: string
  /** Milliseconds since the epoch. */
  now(): number
  /** Aborted by the first SIGINT or SIGTERM. */
  stop: AbortSignal
  /** Calls back at each such signal; a SIGHUP that nobody hears is a SIGTERM. */
  onSignal(signal: 'SIGHUP' | 'SIGUSR2', heard: () => void): void
  /** Calls back at the second one, and leaves a moment; else the second one ends the process. */
  onHurry(heard: () => void): void
  /** The way to the primary, in a process that it started as a worker. */
  primary: Channel<ToPrimary, ToWorker> | undefined
  /** Starts a worker that inherits these sockets. */
  startWorker(sockets: readonly number[]): Link<ToWorker, ToPrimary>
  processors: number
}

/** A terminal's keys come one by one, and unseen, in raw mode. */
export type Input = Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown }

/** Prints a failure; returns the exit code. */
export function complain(world: World, thrown: unknown): number {
  const { message, row, hint, log, code } = asFailure(thrown)
  const text = code === 'internal_error' ? `${message}: ${log ?? ''}` : message
  world.stderr.write(code === 'config_invalid' ? `${text}\n` : `postern: ${text}\n`)
  if (hint !== undefined) world.stderr.write(`hint: ${hint}\n`)
  return row.exit ?? 1
}

export function bold(world: World, text: string): string {
  return world.stdout.isTTY && world.env('NO_COLOR') === undefined ? `\x1b[1m${text}\x1b[22m` : text
}

/**
 * Other people's names, for a terminal that must not obey them: without controls (line breaks are
 * some), turns of direction, and what is not seen at all.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

/** Resolves when the user, or the system, wants us to end. */
export function stopped(world: World): Promise<void> {
  if (world.stop.aborted) return Promise.resolve()
  return new Promise((resolve) =>
    world.stop.addEventListener('abort', () => resolve(), { once: true }),
  )
}
