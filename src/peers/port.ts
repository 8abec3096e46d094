/** The seam between a worker and the primary: two ends, each sends what the other one hears. */
import type { ToPrimary, ToWorker } from './messages.ts'

export interface Port<Out, In> {
  send(message: Out): void
  /** One listener; what was sent before it is there is not kept. */
  hear(listener: (message: In) => void): void
}

/** Both ends in one process: the primary is its own worker, and a message is a call. */
export function localPorts(): {
  worker: Port<ToPrimary, ToWorker>
  primary: Port<ToWorker, ToPrimary>
} {
  const toPrimary = wire<ToPrimary>()
  const toWorker = wire<ToWorker>()
  return {
    worker: { send: toPrimary.send, hear: toWorker.hear },
    primary: { send: toWorker.send, hear: toPrimary.hear },
  }
}

function wire<T>() {
  let listener: (message: T) => void = () => undefined
  return {
    send: (message: T) => listener(message),
    hear: (to: (message: T) => void) => {
      listener = to
    },
  }
}
