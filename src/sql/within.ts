/**
 * Work that others may wait for as well, so that nobody can cut it short (an issuer that takes its time),
 * waited for no longer than the login may last. It has a deadline of its own as well.
 */

/** @returns what the work does, or rejects with the signal's reason before that. */
export function within<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
