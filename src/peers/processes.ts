/**
 * The gate's worker processes, and the channel to each. A worker inherits the sockets that the primary has
 * bound and listens on them itself: the system gives a connection to one of those that listen, and where
 * nobody does, it waits. https://nodejs.org/docs/latest-v24.x/api/child_process.html#optionsstdio
 */
import { type ChildProcess, fork } from 'node:child_process'

/** One end of a channel between the primary and a worker. */
export interface Channel<Out, In> {
  /** How many of the messages have not been taken yet. */
  readonly waiting: number
  send(message: Out): void
  /** One listener; set it before anything is sent. */
  onMessage(heard: (message: In) => void): void
  /** Lets go, when all that was sent has been taken: the worker's process can end. */
  close(): void
}

/** A worker as the primary has it. */
export interface Link<Out, In> extends Channel<Out, In> {
  /** Of the worker's process, where it is known. */
  readonly pid: number | undefined
  /** The process has gone, and all that it said was heard; or there was none. */
  onGone(heard: (how: string) => void): void
  /** Ends the process at once. */
  kill(): void
}

/** Set for a process that is a worker. */
const MARK = 'POSTERN_WORKER'
/** Behind standard input, output and error, and the channel. */
const FIRST_SOCKET = 4

/** In a worker: the descriptor of the socket that was the primary's `at`. */
export function inheritedSocket(at: number): number {
  return FIRST_SOCKET + at
}

/**
 * Starts another process with this program and its arguments.
 * @param sockets - descriptors for it to inherit
 * @throws Error of the system
 */
export function startWorker<Out, In>(
  { argv: [, program = '', ...args], env }: Pick<NodeJS.Process, 'argv' | 'env'>,
  sockets: readonly number[],
): Link<Out, In> {
  const child = fork(program, args, {
    env: { ...env, [MARK]: '1' },
    serialization: 'advanced',
    stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...sockets],
  })
  return Object.assign(channelOf<Out, In>(child), {
    pid: child.pid,
    onGone: (heard: (how: string) => void) => onGone(child, heard),
    kill: () => void child.kill('SIGKILL'),
  })
}

/** The channel to the primary, in a process that it started. */
export function ownChannel<Out, In>(self: NodeJS.Process): Channel<Out, In> | undefined {
  if (self.env[MARK] === undefined || self.send === undefined) return undefined
  // Alone a worker can do nothing: what it does could not be written down.
  self.once('disconnect', () => self.exit())
  return channelOf(self)
}

function channelOf<Out, In>(end: ChildProcess | NodeJS.Process): Channel<Out, In> {
  let waiting = 0
  let closing = false
  const closeWhenTaken = () => {
    if (closing && waiting === 0 && end.connected) end.disconnect?.()
  }
  return {
    get waiting() {
      return waiting
    },
    send(message) {
      if (!end.connected) return
      waiting++
      end.send?.(message as object, undefined, undefined, () => {
        waiting--
        closeWhenTaken()
      })
    },
    onMessage: (heard) => void end.on('message', (message) => heard(message as In)),
    close() {
      closing = true
      closeWhenTaken()
    },
  }
}

function onGone(child: ChildProcess, heard: (how: string) => void): void {
  child.once('exit', (code, signal) => {
    const tell = () => heard(signal ?? `exit code ${code}`)
    // Its last words may still be in the channel.
    if (child.connected) child.once('disconnect', tell)
    else tell()
  })
  child.on('error', (error) => {
    // One that could not be started has no end; other errors are followed by one.
    if (child.pid === undefined) heard(error.message)
  })
}
