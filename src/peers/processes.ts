/**
 * The gate's worker processes, and the channel to each (node:cluster). Every worker listens on the same
 * sockets, and the system gives a connection to one of them: none is lost when a worker comes or goes.
 * https://nodejs.org/docs/latest-v24.x/api/cluster.html
 */
import cluster, { type Worker } from 'node:cluster'

/** One end of a channel between the primary and a worker. */
export interface Link<Out, In> {
  /** How many of the messages have not been taken yet. */
  readonly waiting: number
  /** Of the worker's process, where it is known. */
  readonly pid: number | undefined
  send(message: Out): void
  /** One listener; set it before anything is sent. */
  onMessage(heard: (message: In) => void): void
  /** The process at the other end has gone, or this end let go. */
  onGone(heard: (how: string) => void): void
  /** Lets go: the worker's process can end. */
  close(): void
  /** Ends the process at the other end at once. */
  kill(): void
}

/** Starts another process with this program and its arguments. */
export function startWorker<Out, In>(): Link<Out, In> {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  cluster.setupPrimary({ serialization: 'advanced' })
  return linkOf(cluster.fork())
}

/** The channel to the primary, in a process that it started. */
export function ownLink<Out, In>(): Link<Out, In> | undefined {
  return cluster.worker === undefined ? undefined : linkOf(cluster.worker)
}

function linkOf<Out, In>(worker: Worker): Link<Out, In> {
  let waiting = 0
  const { process: child } = worker
  // Said by the process itself, or by the channel: without a listener it would end us.
  worker.on('error', () => undefined)
  return {
    get waiting() {
      return waiting
    },
    pid: child.pid,
    send(message) {
      if (!worker.isConnected()) return
      waiting++
      worker.send(message as object, undefined, () => {
        waiting--
      })
    },
    onMessage: (heard) => void worker.on('message', (message: In) => heard(message)),
    onGone(heard) {
      let told = false
      const tell = (how: string) => {
        if (told) return
        told = true
        heard(how)
      }
      worker.once('exit', (code: number, signal: string | null) =>
        tell(signal ?? `exit code ${code}`),
      )
      // One that could not be started has no end.
      child.once('error', (error) => {
        if (child.pid === undefined) tell(error.message)
      })
    },
    close: () => void worker.disconnect(),
    kill: () => void child.kill('SIGKILL'),
  }
}
